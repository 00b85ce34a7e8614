"""YouTube-8M's public shards, fetched so that a cut line, a kill or a damaged file costs only what it spoiled.

Where it stands: `segsearch download` calls `fetch_part`; what lies in the folder then is what `folder` opens. Nothing
here looks into a shard: it is whole when its md5 is the one that Google publishes.

The protocol is that of Google's script, http://data.yt8m.org/download.py, to which
https://research.google.com/youtube8m/download.html sends people (read in copies that public repositories keep of it):
- The plan, http://data.yt8m.org/<release>/download_plans/<level>_<split>.json, is `{"files": {name: md5 in hex}}`. It
  holds no sizes: those come with the files.
- A file lies at http://<mirror>.data.yt8m.org/<release>/<level>/<split>/<name>.
- Shard i of n is the names whose own md5, as a number, leaves i - 1 when divided by n.
- Names end in two of a-z, A-Z, 0-9 and differ in case alone, which not every file system can hold: on disk the two are
  counted instead, trainaa to train0000 and train99 to train3843. A file that lies there under either name is taken.
Google's script starts a file again from its first byte; going on by Range is ours, and where a server knows no Range
we do as the script does.
"""

import fcntl
import json
import re
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from segsearch.core.errors import ConfigError
from segsearch.core.files import write_atomically
from segsearch.core.progress import progress, say
from segsearch.training.download.transfer import Transfer, md5_of, md5_of_file
from segsearch.training.errors import DownloadDamaged, DownloadFailed, DownloadRefused

MIRRORS = ("us", "eu", "asia")
RECORD, LOCK = ".yt8m.jsonl", ".yt8m.lock"
PLAN_LIMIT_BYTES = 16 << 20  # a real one has 0.2 MB

_PART = re.compile(r"\d+/(video|frame|video_level|frame_level)/(train|validate|test)", re.ASCII)
_NAME = re.compile(r"([a-z]+)([a-zA-Z0-9]{2})\.tfrecord")
_MD5 = re.compile(r"[0-9a-f]{32}")
_DIGITS = string.ascii_letters + string.digits  # in Google's order of counting


@dataclass(frozen=True, slots=True)
class Shard:
    """The `index`-th of `count` slices of a part, `index` from 1."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ConfigError("--shard", str(self), "i,n with 1 <= i <= n")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Reads `1,100`."""
        match = re.fullmatch(r"(\d{1,9}),(\d{1,9})", text, re.ASCII)
        if match is None:
            raise ConfigError("--shard", text, "i,n with 1 <= i <= n")
        return cls(int(match[1]), int(match[2]))

    def holds(self, name: str) -> bool:
        return int(md5_of(name.encode()).hexdigest(), 16) % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index},{self.count}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which files to fetch, and from where."""

    part: str  # release/level/split, as 2/frame/train
    mirror: str = "us"
    shard: Shard = Shard()
    base_url: str | None = None  # a server that has plans and files at the paths where Google's have them

    def __post_init__(self) -> None:
        if _PART.fullmatch(self.part) is None:
            raise ConfigError("--part", self.part, "release/level/split, as 2/frame/train or 3/frame/validate")
        if self.mirror not in MIRRORS:
            raise ConfigError("--mirror", self.mirror, f"one of {', '.join(MIRRORS)}")
        if self.base_url is not None:
            address = urlsplit(self.base_url)
            if address.scheme not in ("http", "https") or not address.netloc or address.query or address.fragment:
                raise ConfigError("--base-url", self.base_url, "http://host/path or https://host/path")

    @property
    def split(self) -> str:
        return self.part.rpartition("/")[2]

    @property
    def plan_url(self) -> str:
        release, level, split = self.part.split("/")
        return f"{self._server('data.yt8m.org')}/{release}/download_plans/{level}_{split}.json"

    def url(self, name: str) -> str:
        return f"{self._server(f'{self.mirror}.data.yt8m.org')}/{self.part}/{name}"

    def _server(self, host: str) -> str:
        return f"http://{host}" if self.base_url is None else self.base_url.rstrip("/")


@dataclass(slots=True)
class Fetched:
    """What a download did; `failures` holds one error for each file that is still missing, as far as it came."""

    files: int  # in this shard of the part
    fetched: int = 0
    skipped: int = 0  # lay there whole already
    received_bytes: int = 0
    failures: list[DownloadFailed] = field(default_factory=list)


def fetch_part(source: Source, folder: Path, transfer: Transfer) -> Fetched:
    """Brings every file of `source` into `folder`, each appearing there whole or not at all.

    A file that is refused or damaged is reported and the others go on; when the server is gone, the rest waits for
    the next call, which continues where this one stopped.

    Raises DownloadFailed when the plan cannot be had, ConfigError for a folder that holds another part's files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder), progress(f"download {source.part}", None, "bytes") as advance:
        record = Record.open(folder, source)
        plan = plan_of(source.plan_url, transfer.document(source.plan_url, PLAN_LIMIT_BYTES))
        wanted = {name: md5 for name, md5 in plan.items() if source.shard.holds(name)}
        result = Fetched(files=len(wanted))

        def received(count: int) -> None:
            result.received_bytes += count
            advance(count, f"file {1 + result.fetched + result.skipped + len(result.failures)} of {len(wanted)}")

        for name, md5 in wanted.items():
            if record.whole(local_name(name), md5) or record.whole(name, md5):
                result.skipped += 1
                continue
            try:
                transfer.file(source.url(name), md5, folder / local_name(name), received)
            except (DownloadRefused, DownloadDamaged) as error:  # this file's trouble alone
                say(f"{error}; going on with the other files")
                result.failures.append(error)
            except DownloadFailed as error:
                result.failures.append(error)
                break
            else:
                record.add(local_name(name), md5)
                result.fetched += 1
    return result


def plan_of(url: str, content: bytes) -> dict[str, str]:
    """The md5 of every file that a download plan names, in name order; raises DownloadFailed for what is no plan."""
    try:
        files = json.loads(content)["files"]
        plan = {name: files[name] for name in sorted(files)}
    except (ValueError, KeyError, TypeError):
        raise DownloadFailed(url, f"{content[:40]!r}", 'a plan, {"files": {name: md5}}') from None
    for name, md5 in plan.items():
        # Names become paths here, so nothing but the shape that Google's have may pass.
        if _NAME.fullmatch(name) is None or not isinstance(md5, str) or _MD5.fullmatch(md5) is None:
            raise DownloadFailed(url, f"{name!r}: {md5!r}", "a name as trainaZ.tfrecord and an md5 of 32 hex digits")
    return plan


def local_name(name: str) -> str:
    """What a mirror's file is called on disk: `trainaA.tfrecord` is `train0026.tfrecord`."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no shard's name")
    first, second = (_DIGITS.index(digit) for digit in match[2])
    return f"{match[1]}{first * len(_DIGITS) + second:04}.tfrecord"


class Record:
    """Which files of a folder had which md5 when they were last read through, so that a rerun need not read them.

    One JSON line a file. A line that is lost, or whose file has changed in size or time since, costs a read.
    """

    def __init__(self, folder: Path, part: str, entries: dict[str, dict[str, object]]):
        self._folder, self._part, self._entries = folder, part, entries

    @classmethod
    def open(cls, folder: Path, source: Source) -> "Record":
        """Raises ConfigError if the folder holds files of the same split of another release or level."""
        path = folder / RECORD
        entries = {str(entry["file"]): entry for entry in _entries_of(path) if (folder / str(entry["file"])).exists()}
        for other in sorted({str(entry["part"]) for entry in entries.values()} - {source.part}):
            if other.rpartition("/")[2] == source.split:
                raise ConfigError("--out", str(folder), f"a folder without {other}, whose files have the same names")
        if path.exists():  # without lines that a kill cut short
            write_atomically(path, "".join(json.dumps(entry) + "\n" for entry in entries.values()))
        return cls(folder, source.part, entries)

    def whole(self, name: str, md5: str) -> bool:
        """Whether the folder has `name` with this md5; reads the file only if the record does not know it as it is."""
        path = self._folder / name
        if not path.is_file():
            return False
        if self._entries.get(name) == self._entry(name, md5):
            return True
        if md5_of_file(path).hexdigest() != md5:
            return False
        self.add(name, md5)
        return True

    def add(self, name: str, md5: str) -> None:
        """Notes that `name` was found to have this md5."""
        entry = self._entries[name] = self._entry(name, md5)
        with (self._folder / RECORD).open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _entry(self, name: str, md5: str) -> dict[str, object]:
        stat = (self._folder / name).stat()
        return {"part": self._part, "file": name, "md5": md5, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _entries_of(path: Path) -> Iterator[dict[str, object]]:
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"part", "file"} <= entry.keys():
            yield entry


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two downloads into one folder would write into the same partial files."""
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError("--out", str(folder), "a folder that no other download is writing to") from None
        yield
