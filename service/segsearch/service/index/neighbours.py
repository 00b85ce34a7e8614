"""Which segments of a generation are nearest to a vector, by cosine.

Where it stands: `neighbour_building` makes what is read here, `generation` has one, `view` says which segments count.
Few embeddings are all compared. Of many, FAISS brings candidates, and these are compared: a neighbour can be missed,
but what is told of those that are found is exact.

N segments, H embedding size, m candidates, k what was asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from segsearch.core.errors import GenerationCorrupt, MissingExtra
from segsearch.service.index.format import NEIGHBOURS
from segsearch.service.index.manifest import FileSum, Manifest, Probing
from segsearch.service.index.vectors import cosines, kept_cosines, unit

_SPARE: Final = 64  # candidates beyond k, as some may not count
_ROOM: Final = 2  # cells that are looked into hold so many times what is wanted, if they are of the usual size

Counts = Callable[[np.ndarray], np.ndarray]  # ordinals (m,) -> (m,) bool: which of them may be found
Faiss = Any  # an extra, imported where it is needed


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Segments near to a vector, the nearest first; equally near ones by ordinal."""

    ordinals: np.ndarray  # (k,) int64
    similarities: np.ndarray  # (k,) float32 cosines, falling


class Compared(NamedTuple):
    """Segments and how near each is, by rising ordinal."""

    ordinals: np.ndarray  # (m,) int64
    similarities: np.ndarray  # (m,) float32
    everything: bool  # there are no others


class Comparison(Protocol):
    """Compares a vector with the embeddings; safe from several threads."""

    def near(self, query: np.ndarray, reach: int) -> Compared:
        """At least about `reach` of the segments nearest to a unit vector (H,)."""


class Neighbours:
    """The embeddings of a generation, to be searched. Methods may be called from any number of threads."""

    def __init__(self, directory: Path, manifest: Manifest, embeddings: np.ndarray):
        """embeddings: (N, H). Nothing is read before it is needed: most who open a generation ask for no neighbours."""
        assert manifest.neighbours is not None
        self.about, self.embeddings = manifest.neighbours, embeddings
        self._directory, self._files = directory, manifest.files
        self._opening = Lock()
        self._comparison: Comparison | None = None

    def vector(self, ordinal: int) -> np.ndarray:
        """(H,) float32: a segment's embedding with length one, or zeros where none is known."""
        return unit(self.embeddings[ordinal])

    def nearest(self, query: np.ndarray, k: int, counts: Counts) -> Nearest:
        """The k segments that count and are nearest to a unit vector (H,); none where that is zeros.

        Raises GenerationCorrupt for a damaged file, MissingExtra where it cannot be read.
        """
        if not query.any():
            return Nearest(np.empty(0, np.int64), np.empty(0, np.float32))
        return nearest(self._compare(), query, k, counts)

    def _compare(self) -> Comparison:
        with self._opening:
            if self._comparison is None:
                self._comparison = self._opened()
            return self._comparison

    def _opened(self) -> Comparison:
        if self.about.parameters is None:
            return AllCompared(self.embeddings)
        return CandidatesCompared(self._read_index(), self.about.parameters, self.embeddings)

    def _read_index(self) -> Faiss:
        """FAISS trusts its files: this one is proved before it sees a byte."""
        faiss, path = import_faiss("serve"), self._directory / NEIGHBOURS
        try:
            with path.open("rb") as file:
                found, wanted = FileSum.read(file), self._files[NEIGHBOURS]
                if found != wanted:
                    reason = f"{NEIGHBOURS} has xxh3 {found.xxh3}, wanted {wanted.xxh3}"
                    raise GenerationCorrupt(self._directory, reason)
                file.seek(0)
                index = faiss.read_index(faiss.PyCallbackIOReader(file.read))
        except (OSError, RuntimeError) as error:  # FAISS has no type of its own
            raise GenerationCorrupt(self._directory, f"{NEIGHBOURS} cannot be read: {error}") from None
        count, size = self.embeddings.shape
        if (index.ntotal, index.d) != (count, size):
            reason = f"{NEIGHBOURS} is of {index.ntotal} embeddings of {index.d}, wanted {count} of {size}"
            raise GenerationCorrupt(self._directory, reason)
        return index


def nearest(comparison: Comparison, query: np.ndarray, k: int, counts: Counts) -> Nearest:
    """The k nearest that count: asks for more and more until there are so many, or no others."""
    reach = k + _SPARE
    while True:
        found = comparison.near(query, reach)
        rows = np.flatnonzero(counts(found.ordinals))
        if len(rows) >= k or found.everything:
            rows = rows[np.argsort(-found.similarities[rows], kind="stable")[:k]]
            return Nearest(found.ordinals[rows], found.similarities[rows])
        reach *= 2


class AllCompared:
    """A flat index: every embedding that is known, in memory."""

    def __init__(self, embeddings: np.ndarray):
        self._known = known_ordinals(embeddings)
        self._vectors = unit(embeddings[self._known])

    def near(self, query: np.ndarray, reach: int) -> Compared:  # noqa: ARG002
        return Compared(self._known, cosines(self._vectors, query), True)


class CandidatesCompared:
    """An index of FAISS brings candidates; their embeddings are compared."""

    def __init__(self, index: Faiss, how: Probing, embeddings: np.ndarray):
        self._faiss = import_faiss("serve")
        self._index, self._how, self._embeddings = index, how, embeddings

    def near(self, query: np.ndarray, reach: int) -> Compared:
        wanted = min(len(self._embeddings), reach * self._how.candidates)
        probes = self._probes(wanted)
        asked = self._faiss.SearchParametersIVF(nprobe=probes) if self._how.cells > 1 else None
        _, (found,) = self._index.search(query[None], wanted, params=asked)
        ordinals = np.sort(found[found >= 0])  # -1: the cells held no more
        known, similarities = kept_cosines(self._embeddings[ordinals], query)
        everything = wanted == len(self._embeddings) and probes == self._how.cells
        return Compared(ordinals[known], similarities, everything)

    def _probes(self, wanted: int) -> int:
        """Cells to look into: as many as the index was measured with, and enough to hold what is wanted."""
        cells = self._how.cells
        return min(cells, max(self._how.probes, _ROOM * wanted * cells // len(self._embeddings) + 1))


def known_ordinals(embeddings: np.ndarray) -> np.ndarray:
    """(n,) int64, rising: the segments whose embedding is known; the others have zeros, and nobody finds them."""
    return np.flatnonzero(embeddings.any(axis=1))


def import_faiss(command: str) -> Faiss:
    """FAISS; raises MissingExtra, naming the command that needs it."""
    try:
        return import_module("faiss")
    except ImportError:
        raise MissingExtra(command, "similar", "faiss") from None
