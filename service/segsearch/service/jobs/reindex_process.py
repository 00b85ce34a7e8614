"""Reindexes that a server starts: each in a process of its own, one at a time over all servers of an index directory.

Where it stands: the API asks here; the process is `segsearch reindex`, which knows nothing of this. What is known of a
job lies in `jobs/<id>/` of the index directory: what was asked, what the process says, whether it was to end. The
process holds the lock of `jobs/<id>/.lock` for as long as it lives, whatever becomes of the server that started it: so
every server can tell how every job is, also one that was started later. It has its turn as long, see `taking_turns`.
"""

import fcntl
import glob
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from segsearch.core.bundle import Bundle
from segsearch.core.cli import own_process
from segsearch.core.errors import (
    ConfigError,
    GenerationCorrupt,
    InvalidInput,
    NoFiles,
    NoGeneration,
    NotConfigured,
    UnknownJob,
)
from segsearch.core.files import matching_files, write_atomically
from segsearch.service.confined import below, is_below
from segsearch.service.index.index_directory import IndexDirectory, refused
from segsearch.service.jobs.taking_turns import JOBS, LOCK, turn
from segsearch.service.scoring.bundle_folder import BundleFolder

KEPT: Final = 50  # finished jobs that are remembered
_ASKED, _OUT, _ERRORS, _PROCESS, _CANCELLED = "job.json", "stdout", "stderr", "process", "cancelled"
_ID: Final = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
_PROGRESS: Final = re.compile(r"([a-z: ]+): (\d+)/(\d+) (\w+), [^\n]*?(?:, (\d+) s left)?(?:,[^\n]*)?")
_FOLDERS: Final = re.compile(r"(?<![\w.])/(?:[^\s/:]+/)*")
_TAIL_BYTES: Final = 16 << 10
_MARK: Final = "SEGSEARCH_JOB"  # a variable by which a process is known again
_NICENESS: Final = 15  # whoever searches or uploads goes first: what scores uploads has 10
_END_S: Final = 10.0
_SHOWN_S: Final = 1.0  # within which a process shows what it was started for
_PAUSE_S: Final = 0.02


class State(StrEnum):
    """How a job is."""

    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"


@dataclass(frozen=True, slots=True)
class Wish:
    """What to reindex."""

    shards: tuple[str, ...]  # patterns below the folder of shards
    bundle: str | None = None  # below the folder of bundles; None: the one that the server uses
    skip_bad: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job is, as it said last."""

    doing: str
    done: int
    total: int
    unit: str
    left_s: int | None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now."""

    id: str
    state: State
    created_at: str
    wish: Wish
    progress: Progress | None  # the last that was said
    result: dict[str, Any] | None  # what `segsearch reindex` answers, once it is done
    error: str | None  # why it failed


class ReindexJobs:
    """The jobs of one index directory. Methods may be called from any number of threads."""

    def __init__(
        self, index: IndexDirectory, data: Path, bundles: BundleFolder | None = None, options: Sequence[str] = ()
    ):
        """data: the folder below which shards may lie. options: of `segsearch reindex`, for every job.

        Raises ConfigError where there is no such folder.
        """
        if not data.is_dir():
            raise ConfigError("data", str(data), "a folder")
        self._index, self._data, self._bundles, self._options = index, data, bundles, tuple(options)
        self._folder = index.root / JOBS

    def start(self, wish: Wish, in_use: Bundle) -> Job:
        """Starts a reindex. It keeps what the current generation keeps of each class, and goes on where one stopped.

        in_use: the server's bundle. Raises InvalidInput, NotConfigured, ModelNotLoaded, ModelUnfit, IndexBusy, or
        StorageFull or StorageFailed where the disk refuses what is noted of a job.
        """
        patterns, bundle = self._patterns(wish.shards), self._bundle(wish, in_use)
        arguments = ["reindex", "--bundle", str(bundle.directory), "--index", str(self._index.root)]
        arguments += [part for pattern in patterns for part in ("--data", pattern)]
        arguments += ["--on-error", "skip" if wish.skip_bad else "stop", *self._as_before(), *self._options]
        try:
            return self.job(self._started(wish, arguments))
        except OSError as error:
            raise refused(self._index.root, error) from error

    def _started(self, wish: Wish, arguments: Sequence[str]) -> str:
        """The id of a job that runs from now on."""
        with turn(self._index) as lock:
            self._index.check_idle()
            folder = self._new_folder()
            with (folder / LOCK).open("w") as own:
                fcntl.flock(own, fcntl.LOCK_EX)
                asked = {"created_at": datetime.now(UTC).isoformat(timespec="seconds"), "wish": asdict(wish)}
                write_atomically(folder / _ASKED, json.dumps(asked))  # from now on others know of it
                _run(arguments, folder, [lock, own.fileno()])
        return folder.name

    def job(self, job_id: str) -> Job:
        """A job as it is now; raises UnknownJob."""
        folder = self._folder_of(job_id)
        running = _is_running(folder)  # first: what is said later is said by a job that has ended
        asked = json.loads((folder / _ASKED).read_bytes())
        wish = Wish(**{**asked["wish"], "shards": tuple(asked["wish"]["shards"])})
        result, told = _result(folder / _OUT), _tail(folder / _ERRORS)
        if running:
            state = State.running
        elif result is not None:
            state = State.done
        else:
            state = State.cancelled if (folder / _CANCELLED).exists() else State.failed
        error = _reason(told) if state is State.failed else None
        return Job(job_id, state, asked["created_at"], wish, _progress(told), result, error)

    def cancel(self, job_id: str) -> Job:
        """Ends a job that runs; what it has finished stays for the next one. Raises UnknownJob or InvalidInput."""
        folder = self._folder_of(job_id)
        process = _process_of(folder, job_id)
        if process is not None:
            (folder / _CANCELLED).touch()
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGTERM)
            end_s = time.monotonic() + _END_S
            while _is_running(folder) and time.monotonic() < end_s:
                time.sleep(_PAUSE_S)
        return self.job(job_id)

    def _patterns(self, shards: Sequence[str]) -> list[str]:
        """The patterns as `segsearch reindex` takes them; raises InvalidInput unless each matches files below."""
        found = []
        for pattern in shards:
            below(self._data, pattern, "shards")
            found.append(f"{glob.escape(str(self._data))}{os.sep}{pattern}")
            try:
                files = matching_files(found[-1:])
            except NoFiles:
                raise InvalidInput("shards", repr(pattern[:80]), "a pattern that files match") from None
            if not all(is_below(self._data, file) for file in files):
                raise InvalidInput("shards", repr(pattern[:80]), "files that lie in the folder of shards") from None
        return found

    def _bundle(self, wish: Wish, in_use: Bundle) -> Bundle:
        if wish.bundle is None:
            return in_use
        if self._bundles is None:
            raise NotConfigured("bundles")
        return self._bundles.fitting(wish.bundle, in_use)

    def _as_before(self) -> list[str]:
        """Options that keep of each class what the current generation keeps."""
        try:
            generation = self._index.open_current()
        except (NoGeneration, GenerationCorrupt):
            return []
        kept = ["--scores"] if generation.scores is not None else []
        kept += ["--embeddings"] if generation.neighbours is not None else []
        return ["--keep", str(generation.manifest.limit), *kept]

    def _folder_of(self, job_id: str) -> Path:
        if not _ID.fullmatch(job_id) or not (self._folder / job_id / _ASKED).exists():
            raise UnknownJob(job_id)
        return self._folder / job_id

    def _new_folder(self) -> Path:
        """Its name is behind all others, also where the clock was set back: those with the first names go first."""
        there = sorted(folder for folder in self._folder.iterdir() if _ID.fullmatch(folder.name))
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        folder = self._folder / (max(name, _behind(there[-1].name)) if there else name)
        for old in there[: 1 - KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        folder.mkdir()
        return folder


def _behind(job_id: str) -> str:
    """The id that comes next in the same second."""
    second, _, number = job_id.rpartition("-")
    return f"{second}-{int(number, 16) + 1:08x}"


def _is_running(folder: Path) -> bool:
    """Whether a process has the job's lock."""
    try:
        with (folder / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _run(arguments: Sequence[str], folder: Path, locks: list[int]) -> None:
    """Starts the process, which takes the locks over."""
    with (folder / _OUT).open("wb") as out, (folder / _ERRORS).open("wb") as errors:
        process = subprocess.Popen(
            own_process(*arguments), stdin=subprocess.DEVNULL, stdout=out, stderr=errors, pass_fds=locks,
            process_group=0, env={**os.environ, _MARK: folder.name},
        )  # fmt: skip
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
    (folder / _PROCESS).write_text(str(process.pid))
    threading.Thread(target=process.wait, name="job", daemon=True).start()  # or it would stay as a zombie


def _process_of(folder: Path, job_id: str) -> int | None:
    """The process that does a job, None where it has ended; raises InvalidInput where it is none of this machine's.

    One that was started this moment may not be noted yet, and has no environment to be seen.
    """
    end_s = time.monotonic() + _SHOWN_S
    while _is_running(folder):
        with suppress(OSError, ValueError):
            number = int((folder / _PROCESS).read_text())
            if f"{_MARK}={job_id}".encode() in Path(f"/proc/{number}/environ").read_bytes().split(b"\0"):
                return number
        if time.monotonic() >= end_s:
            raise InvalidInput("job", "runs on another machine", "one that was started here")
        time.sleep(_PAUSE_S)
    return None


def _tail(file: Path) -> str:
    """The end of what a process said."""
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return opened.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _reason(told: str) -> str:
    """The error that a process named as it failed, without the folders of this machine."""
    errors = [line.removeprefix("error: ") for line in told.splitlines() if line.startswith("error: ")]
    return _FOLDERS.sub("", errors[-1]) if errors else "the process ended early; another job goes on where it stopped"


def _result(file: Path) -> dict[str, Any] | None:
    """The JSON line of a process that went well."""
    try:
        answer = json.loads(_tail(file).splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return answer if isinstance(answer, dict) and "generation" in answer else None


def _progress(told: str) -> Progress | None:
    found = [match for line in told.splitlines() if (match := _PROGRESS.fullmatch(line))]
    if not found:
        return None
    doing, done, total, unit, left = found[-1].groups()
    return Progress(doing, int(done), int(total), unit, None if left is None else int(left))
