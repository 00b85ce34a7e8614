"""Compaction by itself: where much was uploaded or deleted since a generation, `segsearch index compact` is run.

Where it stands: `serve` starts it beside the library, of which it knows the view. The work is a process of its own,
with less claim to the processor than searches have; the server switches to what it publishes as to any generation, and
goes on as it is where it fails. Over all servers of an index there is one at a time, and none beside a reindex that one
of them started: see `taking_turns`.
"""

import json
import logging
import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from segsearch.core.cli import own_process
from segsearch.core.errors import SegsearchError
from segsearch.service.events import log
from segsearch.service.index.format import GENERATIONS_KEPT
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.view import View
from segsearch.service.jobs.taking_turns import turn

_LOOK_EVERY_S: Final = 1.0
_RETRY_S: Final = 300.0  # after one that failed or found nothing to do
_NICENESS: Final = 15  # what scores uploads has 10


@dataclass(frozen=True, slots=True)
class CompactAt:
    """When it is worth while."""

    rows: int  # segments uploaded since; 0: however many
    deleted: float  # share of the generation's videos that were replaced or deleted since; 0: however large
    least_deleted: int = 1_000  # videos: fewer cost a search nothing, whatever share they are

    def reached(self, view: View) -> bool:
        """Whether a library has come so far."""
        hidden = int(view.hidden.sum())
        share = hidden / max(len(view.hidden), 1)
        many_hidden = bool(self.deleted) and hidden >= self.least_deleted and share >= self.deleted
        return many_hidden or 0 < self.rows <= len(view.delta.starts)


class BackgroundCompaction:
    """Looks after one index while its block lasts; a compaction under way at the end is given up."""

    def __init__(
        self,
        index: IndexDirectory,
        view: Callable[[], View],
        compact_at: CompactAt,
        *,
        keep_generations: int = GENERATIONS_KEPT,
        look_every_s: float = _LOOK_EVERY_S,
        retry_s: float = _RETRY_S,
    ):
        """view: what is served now. keep_generations: see `compaction.compact`."""
        self._index, self._view, self._compact_at = index, view, compact_at
        self._keep_generations = keep_generations
        self._look_every_s, self._retry_s = look_every_s, retry_s
        self._stopped = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._told = ""  # the reason that was logged last
        self._thread = threading.Thread(target=self._run, name="compaction")

    def __enter__(self) -> "BackgroundCompaction":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._end(self._process)
        self._thread.join()

    def _run(self) -> None:
        pause_s = self._look_every_s
        while not self._stopped.wait(pause_s):
            pause_s = self._look_every_s
            view = self._due()
            if view is not None and not self._compact(view):
                pause_s = self._retry_s

    def _due(self) -> View | None:
        """What is served, where it is time to compact it. What keeps it from being served, searches tell."""
        with suppress(SegsearchError, OSError):
            view = self._view()
            # Where another generation is current already, a switch is under way and there may be nothing to do.
            if self._compact_at.reached(view) and self._index.current() == view.number:
                return view
        return None

    def _compact(self, view: View) -> bool:
        """Whether a generation was published."""
        log("compaction_started", generation=view.number, live_segments=len(view.delta.starts),
            hidden_videos=int(view.hidden.sum()))  # fmt: skip
        try:
            with turn(self._index) as lock:
                code, told, errors = self._ran(lock)
        except (SegsearchError, OSError) as error:
            code, told, errors = 1, "", str(error)
        if self._stopped.is_set() and code != 0:
            log("compaction_given_up", generation=view.number)
            return False
        if code != 0:
            self._failed((errors.splitlines() or [f"exit code {code}"])[-1])
            return False
        done = json.loads(told.splitlines()[-1])
        del done["index"]
        log("compaction_ended", **done)
        self._told = ""
        return bool(done["changed"])

    def _ran(self, lock: int) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of the process, which takes the lock over."""
        arguments = ["index", "compact", str(self._index.root), "--keep-generations", str(self._keep_generations)]
        with subprocess.Popen(
            own_process(*arguments),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=[lock],
        ) as process:  # fmt: skip
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
            self._process = process
            if self._stopped.is_set():  # before anybody could see the process
                self._end(process)
            told, errors = process.communicate()
            return process.returncode, told, errors

    def _failed(self, reason: str) -> None:
        """Says so, once for each reason: a reindex under way, or scores that are lacking, may last."""
        if reason != self._told:
            log("compaction_failed", level=logging.WARNING, reason=reason, again_in_s=self._retry_s)
        self._told = reason

    @staticmethod
    def _end(process: subprocess.Popen[str] | None) -> None:
        """Whatever it has not published yet is removed by the next one that writes to the directory."""
        if process is not None:
            process.terminate()
