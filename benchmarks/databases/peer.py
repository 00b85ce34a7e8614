"""What `peers` asks of a database: to load the postings as suits it best, and to answer with their best.

Where it stands: one file beside this one for each database; `peers` times them.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Protocol

from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.index.generation import Generation

INSTALL_CLIENTS = "pip install 'segsearch[peers]'"
START_TIMEOUT_S = 60.0

Row = tuple[str, int, int]  # video id, start frame, score code
Search = Callable[[int, int], object]  # class and k to what the client gives for it, best first


@dataclass(frozen=True, eq=False)
class Postings:
    """What every database holds."""

    generation: Generation

    @property
    def class_count(self) -> int:
        return self.generation.manifest.class_count

    def rows(self, tag: int) -> Iterator[tuple[int, int, int, str, int]]:
        """Class, code, segment ordinal, video id and start frame of a class's postings, best first."""
        ordinals, codes = self.generation.postings(ClassOrdinal(tag), self.generation.manifest.limit)
        ids, starts = self.generation.segments(ordinals)
        return zip(repeat(tag), codes.tolist(), ordinals.tolist(), ids, starts.tolist())

    def text(self, tag: int) -> str:
        """The same, a line each, with tabs between."""
        return "".join("\t".join(map(str, row)) + "\n" for row in self.rows(tag))


class Peer(Protocol):
    """One database."""

    name: str

    def missing(self) -> str | None:
        """The command that installs what is not there; None where all is."""

    def loaded(self, folder: Path, postings: Postings) -> AbstractContextManager[Search]:
        """The database with the postings in it, in an empty folder, until the block ends."""

    def rows(self, answer: object) -> list[Row]:
        """What a search of it gave, as rows."""


def wait_for(is_there: Callable[[], bool], what: str) -> None:
    """Returns as soon as a server that was started is there."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_there():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not answer within {START_TIMEOUT_S:g} s")
        time.sleep(0.05)
