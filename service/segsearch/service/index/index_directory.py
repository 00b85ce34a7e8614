"""An index directory: numbered generations, and `CURRENT`, which says which of them answers.

Where it stands: the reindex job builds and publishes through here, the library opens and watches. Publishing is fsync,
rename, `CURRENT`: after a crash the old or the new generation is current, never none and never half of one.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from segsearch.core.errors import GenerationCorrupt, IndexBusy, NoGeneration
from segsearch.core.files import publish_directory, write_atomically
from segsearch.service.index.format import CURRENT
from segsearch.service.index.generation import Generation

_LOCK, _BUILDING = ".lock", ".building-"

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

    def current(self) -> int:
        """The number of the published generation; raises NoGeneration, or GenerationCorrupt if CURRENT is damaged."""
        try:
            text = (self.root / CURRENT).read_text(encoding="utf-8", errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            raise NoGeneration(self.root) from None
        if not (text.isascii() and text.isdecimal()):
            raise GenerationCorrupt(self.root, f"{CURRENT} holds {text[:40]!r}, wanted the number of a generation")
        return int(text)

    def open_current(self) -> Generation:
        """Opens the published generation; raises NoGeneration or GenerationCorrupt."""
        number = self.current()
        directory = self.root / str(number)
        if not directory.is_dir():
            raise GenerationCorrupt(directory, f"{CURRENT} names it, but there is no such directory")
        generation = Generation.open(directory)
        if generation.number != number:
            raise GenerationCorrupt(directory, f"its manifest is of generation {generation.number}")
        return generation

    def stamp(self) -> Stamp | None:
        """Changes whenever a generation is published; None before the first. Costs one stat."""
        try:
            status = (self.root / CURRENT).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    @contextmanager
    def building(self) -> Iterator[Building]:
        """An empty directory for the next generation, and the right to publish it; raises IndexBusy.

        What is not published by the end is removed, and so is what a crash left behind earlier.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self._locked():
            for leftover in self.root.glob(f"{_BUILDING}*"):
                shutil.rmtree(leftover)
            number = self._next_number()
            directory = self.root / f"{_BUILDING}{number}"
            directory.mkdir()
            try:
                yield Building(number, directory)
            finally:
                shutil.rmtree(directory, ignore_errors=True)

    def publish(self, built: Building) -> None:
        """Makes a finished generation current."""
        publish_directory(built.directory, self.root / str(built.number))
        # The directory is there for good before anyone is pointed at it.
        write_atomically(self.root / CURRENT, f"{built.number}\n")

    def _next_number(self) -> int:
        taken = [int(entry.name) for entry in self.root.iterdir() if entry.name.isascii() and entry.name.isdecimal()]
        with suppress(NoGeneration, GenerationCorrupt):
            taken.append(self.current())  # a number is not used again even if its directory was lost
        return max(taken, default=0) + 1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The kernel drops this lock with the process, however it ends: no stale lock file can block anyone.
        with (self.root / _LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise IndexBusy(self.root) from None
            yield
