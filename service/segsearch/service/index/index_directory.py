"""An index directory: numbered generations, and `CURRENT`, which says which of them answers.

Where it stands: the reindex job builds and publishes through here, the library opens and watches, `segsearch index`
lists and goes back. Publishing is fsync, rename, `CURRENT`: after a crash the old or the new generation is current,
never none and never half of one.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segsearch.core.errors import (
    GenerationCorrupt,
    IndexBusy,
    NoGeneration,
    StorageFailed,
    StorageFull,
    UnknownGeneration,
)
from segsearch.core.files import make_directory, publish_directory, sync_directory, write_atomically
from segsearch.service.index.format import CURRENT
from segsearch.service.index.generation import Generation
from segsearch.service.index.in_use import is_held
from segsearch.service.index.manifest import BundleName, Manifest

_LOCK, _BUILDING, _REMOVING = ".lock", ".building-", ".removing-"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Stamp = tuple[int, int]  # inode and modification time of CURRENT: differs as soon as another generation is published


@dataclass(frozen=True, slots=True)
class Building:
    """A generation in the making: its number, and the hidden directory where its files are written."""

    number: int
    directory: Path


class IndexDirectory:
    """The directory at `root`; nothing is opened or created before it is needed."""

    def __init__(self, root: Path):
        self.root = root
        self._current = root / CURRENT

    def current(self) -> int:
        """The number of the published generation; raises NoGeneration, or GenerationCorrupt if CURRENT is damaged."""
        try:
            text = self._current.read_text(encoding="utf-8", errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            raise NoGeneration(self.root) from None
        if not (text.isascii() and text.isdecimal()):
            raise GenerationCorrupt(self.root, f"{CURRENT} holds {text[:40]!r}, wanted the number of a generation")
        return int(text)

    def numbers(self) -> list[int]:
        """The numbers of the generations that are there, oldest first; whether they can be opened is not looked at."""
        try:
            names = [entry.name for entry in self.root.iterdir() if entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())

    def open_current(self) -> Generation:
        """Opens the published generation; raises NoGeneration or GenerationCorrupt."""
        number = self.current()
        if not (self.root / str(number)).is_dir():
            raise GenerationCorrupt(self.root / str(number), f"{CURRENT} names it, but there is no such directory")
        return self.open(number)

    def open(self, number: int) -> Generation:
        """Opens any generation; raises UnknownGeneration, naming those there are, or GenerationCorrupt."""
        directory = self.root / str(number)
        if not directory.is_dir():
            raise UnknownGeneration(self.root, number, self.numbers())
        generation = Generation.open(directory)
        if generation.number != number:
            raise GenerationCorrupt(directory, f"its manifest is of generation {generation.number}")
        return generation

    def stamp(self) -> Stamp | None:
        """Changes whenever a generation is published; None before the first. Costs one stat."""
        try:
            status = os.stat(self._current)  # noqa: PTH116 - a third of Path.stat's time, a hundred times a second
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    @contextmanager
    def building(self) -> Iterator[Building]:
        """An empty directory for the next generation, and the right to publish it; raises IndexBusy.

        What is not published by the end is removed, and so is what a crash left behind earlier.
        """
        make_directory(self.root)
        with self._locked():
            for leftover in (*self.root.glob(f"{_BUILDING}*"), *self.root.glob(f"{_REMOVING}*")):
                shutil.rmtree(leftover)
            number = self._next_number()
            directory = self.root / f"{_BUILDING}{number}"
            directory.mkdir()
            try:
                yield Building(number, directory)
            finally:
                shutil.rmtree(directory, ignore_errors=True)

    def check_idle(self) -> None:
        """Raises IndexBusy where something is being built, or another generation made current, this very moment;
        StorageFull or StorageFailed where the disk refuses the lock.
        """
        with self._locked():
            pass

    def publish(self, built: Building, keep: int | None = None, among: BundleName | None = None) -> None:
        """Makes a finished generation current; with `keep`, leaves no more than so many where it can.

        among: counts and removes generations by this bundle alone. Where the disk refuses, it raises StorageFull or
        StorageFailed, and nothing has changed, or at most that the generation is current, but not for certain after a
        power cut.
        """
        try:
            publish_directory(built.directory, self.root / str(built.number))
            # The directory is there for good before anyone is pointed at it.
            write_atomically(self.root / CURRENT, f"{built.number}\n")
        except OSError as error:
            if not built.directory.exists():  # it has its number; what lies there otherwise is not ours
                self._take_back(built.number)
            raise refused(self.root, error) from error
        if keep is not None:
            self._remove_old(keep, among)

    def activate(self, number: int) -> Generation:
        """Makes a generation current that is there already, once it has been verified: the way back, and forth again.

        Raises UnknownGeneration, GenerationCorrupt or IndexBusy; then nothing has changed. StorageFull and
        StorageFailed are as in `publish`.
        """
        if not self.root.is_dir():
            raise NoGeneration(self.root)
        with self._locked():  # no reindex removes it meanwhile
            generation = self.open(number)
            generation.verify()
            try:
                write_atomically(self.root / CURRENT, f"{number}\n")
            except OSError as error:
                raise refused(self.root, error) from error
        return generation

    def _remove_old(self, keep: int, among: BundleName | None) -> None:
        """Removes all but the newest `keep` generations, the current one and those that someone reads.

        What cannot be removed now is tried again after the next reindex.
        """
        numbers = [number for number in self.numbers() if among is None or self._is_by(number, among)]
        for number in numbers[:-keep]:
            if number != self.current() and not is_held(self.root / str(number)):
                self._remove(number)

    def _is_by(self, number: int, bundle: BundleName) -> bool:
        with suppress(GenerationCorrupt):
            return Manifest.read(self.root / str(number)).bundle.digest == bundle.digest
        return False

    def _take_back(self, number: int) -> None:
        """Removes a generation that nobody could be pointed at."""
        with suppress(NoGeneration, GenerationCorrupt):
            if self.current() == number:
                return
        self._remove(number)

    def _remove(self, number: int) -> None:
        removing = self.root / f"{_REMOVING}{number}"
        with suppress(OSError):
            (self.root / str(number)).rename(removing)  # gone at once: nobody finds half of it under its number
            sync_directory(self.root)
            shutil.rmtree(removing)

    def _next_number(self) -> int:
        taken = self.numbers()
        with suppress(NoGeneration, GenerationCorrupt):
            taken.append(self.current())  # a number is not used again even if its directory was lost
        return max(taken, default=0) + 1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The kernel drops this lock with the process, however it ends: no stale lock file can block anyone.
        try:
            opened = (self.root / _LOCK).open("w")
        except OSError as error:
            raise refused(self.root, error) from error
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise IndexBusy(self.root) from None
            yield


def refused(root: Path, error: OSError) -> StorageFailed:
    """What to raise where the disk refuses something below an index directory."""
    if error.errno in _NO_ROOM:
        return StorageFull(root, f"{error.strerror}; wanted room for a few bytes")
    return StorageFailed(root, str(error))
