"""Files behind a URL, s3://, gs://, https:// or what else fsspec knows, fetched once into a folder of this machine.

Why a copy and not a stream: training reads every shard again each epoch, the survey counts its records before the
first one, and TensorFlow's reader takes local files in C++ threads, where bytes handed over by Python would hold up
every step. Everything behind this file sees plain local shards. A copy of the remote file's size is taken as it is:
published shards do not change.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from segsearch.core.errors import MissingExtra, NoFiles
from segsearch.core.files import matching_files, writing_atomically
from segsearch.core.progress import progress
from segsearch.training.errors import DownloadFailed

FETCHES = 8  # side by side


def is_url(place: str | Path) -> bool:
    return "://" in str(place)


def inside(folder: str | Path, name: str) -> str:
    """`name` in a folder that is a path or a URL."""
    return f"{str(folder).rstrip('/')}/{name}" if is_url(folder) else str(Path(folder) / name)


def files_of(pattern: str, cache: Path) -> list[Path]:
    """The files that a path or URL with wildcards names, in name order; remote ones as copies below `cache`.

    Raises NoFiles, or DownloadFailed naming the URL.
    """
    return _copies(pattern, cache) if is_url(pattern) else matching_files([pattern])


def _copies(pattern: str, cache: Path) -> list[Path]:
    if find_spec("fsspec") is None:
        raise MissingExtra("train", "train", "fsspec")
    import fsspec

    with _failing_as(pattern):
        system, place = fsspec.url_to_fs(pattern)
        urls = sorted(system.unstrip_protocol(found) for found in system.glob(place))
    if not urls:
        raise NoFiles(pattern)
    targets = [_place_of(url, cache) for url in urls]
    with progress(f"fetching {pattern}", len(urls), "files") as advance, ThreadPoolExecutor(FETCHES) as threads:
        for _ in threads.map(lambda pair: _fetch(system, *pair), zip(urls, targets, strict=True)):
            advance()
    return targets


def _place_of(url: str, cache: Path) -> Path:
    """Files of one remote folder lie in one local folder, under their own names: folds go by name."""
    folder, _, name = url.rpartition("/")
    return cache / sha256(folder.encode()).hexdigest()[:16] / name


def _fetch(system: Any, url: str, target: Path) -> None:
    with _failing_as(url):
        size = system.info(url)["size"]
        if target.exists() and target.stat().st_size == size:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with system.open(url, "rb") as source, writing_atomically(target) as file:
            shutil.copyfileobj(source, file, 1 << 20)
    found = target.stat().st_size
    if size is not None and found != size:
        target.unlink()
        raise DownloadFailed(url, f"{found} bytes", f"{size} bytes")


@contextmanager
def _failing_as(url: str) -> Iterator[None]:
    """Whatever a remote file system raises, as one error that names the URL."""
    try:
        yield
    # Each file system has errors of its own, of its own packages; none shares a base with the others.
    except Exception as error:
        raise DownloadFailed(url, f"{type(error).__name__}: {error}", "a file that can be read") from None
