"""Shards behind a URL, s3://, gs://, https:// or what else fsspec knows, each fetched whole when it is read.

Where it stands: `library_shards` reads them as it reads files; whoever scores one fetches it, on whatever machine. The
copy lies in the folder for temporary files, under no name, and goes when it is closed: so much room each worker needs.
It is as long as it was listed before its first byte is used: a line that breaks must not look like a shard that ends
early, which may be passed over. How a store is asked (keys, endpoints) is fsspec's own configuration.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final, Literal

from segsearch.core.errors import DataError, MissingExtra, NoFiles

_ASKED_AT_ONCE: Final = 8  # files
# By what each kind of store tells that a file has changed, a checksum before a time.
_VERSIONS: Final = (
    "ETag", "etag", "Content-MD5", "Digest", "md5Hash", "Last-Modified", "LastModified", "last_modified", "modified",
    "mtime", "created",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RemoteShard:
    """A shard that opens like a `Path`.

    url, bytes and version are its identity: a reindex goes on from a finished piece where all three are as they were.
    version: the first there is of checksum, ETag and time of change; empty where the store tells none of these, so that
    a shard which changed and kept its size is taken for the one that it was.
    """

    url: str
    bytes: int
    version: str

    def __str__(self) -> str:
        return self.url

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """A copy of it, on this machine. Raises DataError where it cannot be fetched or is not as long as it was, and
        MissingExtra where fsspec is not installed."""
        fsspec = _fsspec()
        with TemporaryDirectory(prefix="segsearch-") as folder:
            copy = Path(folder) / "shard"
            with _failing_as(self.url):
                system, place = fsspec.url_to_fs(self.url)
                system.get_file(place, str(copy))
            if (found := copy.stat().st_size) != self.bytes:
                raise DataError(self.url, None, "fetching", f"{found} bytes", f"{self.bytes}, as it was listed")
            return copy.open(mode)  # it outlives its name


def is_url(place: str) -> bool:
    return "://" in place


def remote_shards(pattern: str) -> list[RemoteShard]:
    """The shards that a URL names, with wildcards or without; one that ends with a slash names the folder's *.tfrecord.

    Raises NoFiles, DataError naming the URL that cannot be read, or MissingExtra where fsspec is not installed.
    """
    fsspec = _fsspec()
    with _failing_as(pattern):
        system, place = fsspec.url_to_fs(f"{pattern}*.tfrecord" if pattern.endswith("/") else pattern)
        names = system.glob(place) if set("*?[") & set(place) else [place]
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as threads:
            found = list(threads.map(system.info, names))
    shards = [_shard(system.unstrip_protocol(info["name"]), info) for info in found if info["type"] == "file"]
    if not shards:
        raise NoFiles(pattern)
    return shards


def _shard(url: str, info: dict[str, Any]) -> RemoteShard:
    if info["size"] is None:
        raise DataError(url, None, "size", "not told by the server", "a file whose length is known")
    version = next((f"{key} {info[key]}" for key in _VERSIONS if info.get(key)), "")
    return RemoteShard(url, info["size"], version)


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError:
        raise MissingExtra("reindex --data URL", "remote", "fsspec") from None
    return fsspec


@contextmanager
def _failing_as(url: str) -> Iterator[None]:
    """Whatever a remote file system raises, as one error that names the URL."""
    try:
        yield
    # Each file system has errors of its own, of its own packages; none shares a base with the others.
    except Exception as error:
        raise DataError(url, None, "fetching", f"{type(error).__name__}: {error}", "a file that can be read") from None
