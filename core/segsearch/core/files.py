"""Publishing files so that a crash leaves the old or the new one, never half of either."""

import glob
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from segsearch.core.errors import NoFiles


def matching_files(patterns: Iterable[str]) -> list[Path]:
    """The files that the glob patterns name, each once, in name order; every pattern must match."""
    found: set[Path] = set()
    for pattern in patterns:
        files = [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - absolute patterns too
        files = [file for file in files if file.is_file()]
        if not files:
            raise NoFiles(pattern)
        found.update(files)
    return sorted(found)


def make_directory(directory: Path) -> None:
    """Makes a directory and those above it, so that a power cut leaves each that is made here; one may be there."""
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_directory(folder.parent)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces `path` at once and for good: written beside it, fsynced, renamed, directory fsynced."""
    with writing_atomically(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing_atomically(path: Path) -> Iterator[BinaryIO]:
    """Like `write_atomically` for content that comes in pieces; after an exception `path` is as it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(path.parent)


def publish_directory(built: Path, target: Path) -> None:
    """Makes a finished directory appear as `target` at once; `target` must not exist yet."""
    sync_tree(built)
    built.rename(target)
    sync_directory(target.parent)


def replace_directory(built: Path, target: Path) -> None:
    """Like `publish_directory`, over an older `target`, which is moved aside first and then removed.

    A crash between the two renames leaves the older one as `.<name>.old`; nothing is half-written.
    """
    aside = target.with_name(f".{target.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if target.exists():
        target.rename(aside)
    publish_directory(built, target)
    shutil.rmtree(aside, ignore_errors=True)


def sync_tree(directory: Path) -> None:
    """Fsyncs every file and directory below `directory`, itself included."""
    for folder, _, names in os.walk(directory):
        for name in names:
            with (Path(folder) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(folder))


def sync_directory(directory: Path) -> None:
    """Makes renames and new names in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
