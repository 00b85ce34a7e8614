"""Makes what finds the neighbours of a segment, and measures how well it does.

Where it stands: `writer` calls this once a generation's embeddings are written; `neighbours` reads what is left here.
The kind follows the number of segments whose embeddings are known, and how they lie: where a few cells do not hold the
neighbours, short codes of all segments are looked through. Settings are tried, cheapest first, on segments that
training did not see, until nearly all of the 100 nearest are found; what was measured goes into the manifest. What was
live when its library was compacted has zeros: it is neither asked for nor found.

N segments, H embedding size, Q segments asked for, B segments of a block.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from segsearch.core.progress import progress, say
from segsearch.service.index.format import NEIGHBOURS
from segsearch.service.index.manifest import NeighbourIndex, NeighbourKind, Probing
from segsearch.service.index.neighbours import CandidatesCompared, Faiss, import_faiss, known_ordinals, nearest
from segsearch.service.index.vectors import unit

# Comparing all takes milliseconds up to here, and 80 MB for embeddings of 1,024.
FLAT_BELOW: Final = 20_000
# SQ8 keeps H bytes a segment in memory, half a gigabyte here for embeddings of 256; PQ keeps a quarter of that.
PQ_FROM: Final = 2_000_000

RECALL_PROMISED: Final = 0.95
_RECALL_WANTED: Final = 0.97  # of the sample, so that other segments find what is promised
_NEAREST: Final = 100
_QUERIES: Final = 200
_CELLS_A_ROOT: Final = 4  # cells are so many times the root of N: looking for cells and into them cost about the same
_TRAINED_A_CELL: Final = 64
_ROUNDS: Final = 10  # of k-means; more move nothing that counts
_FEW_CELLS: Final = 1 / 32  # of all: beyond, looking through all codes of four bits costs less
_BLOCK: Final = 1 << 14  # embeddings that are float32 at a time


def kind_for(segment_count: int) -> NeighbourKind:
    """What finds neighbours among so many."""
    if segment_count < FLAT_BELOW:
        return "flat"
    return "ivf-sq8" if segment_count < PQ_FROM else "ivf-pq"


def check_installed(segment_bound: int, command: str) -> None:
    """Raises MissingExtra where a library of up to so many segments cannot be built: better now than hours later."""
    if kind_for(segment_bound) != "flat":
        import_faiss(command)


def build(directory: Path, embeddings: np.ndarray, kind: NeighbourKind | None = None) -> NeighbourIndex:
    """Writes NEIGHBOURS into a directory, where embeddings (N, H) are so many that they need it.

    kind: by how many are known unless told. Cells that find too few give way to a look at all. Where no embedding is
    known, none is compared, and this is said.
    """
    known = known_ordinals(embeddings)
    if not len(known):
        say("neighbours: no segment's embedding is known: none is found until `segsearch reindex --embeddings`")
    kind = kind or kind_for(len(known))
    if kind == "flat":
        return NeighbourIndex("flat", embeddings.shape[1])
    built = _Build(embeddings, known)
    found = built.tuned(kind)
    if found.recall < _RECALL_WANTED and kind != "pq-scan":
        found = built.tuned("pq-scan")
    built.faiss.write_index(built.index, str(directory / NEIGHBOURS))
    verdict = "" if found.recall >= RECALL_PROMISED else f", wanted {RECALL_PROMISED}"
    say(f"neighbours: {found.kind} finds {found.recall:.3f} of the {_NEAREST} nearest{verdict}")
    return found


class _Build:
    """One library's embeddings, with what is measured by and what is learned from."""

    def __init__(self, embeddings: np.ndarray, known: np.ndarray):
        """known: the ordinals (n,) of those that are no zeros. The others cannot be asked for, and teach nothing."""
        self.faiss, self._embeddings = import_faiss("reindex --embeddings"), embeddings
        count = len(known)
        self._cells = min(round(_CELLS_A_ROOT * count**0.5), count // 2)
        wanted = min(count, _QUERIES + _TRAINED_A_CELL * self._cells)
        drawn = known[np.random.default_rng(0).choice(count, wanted, replace=False)]
        self._asked, self._learned = drawn[:_QUERIES], np.sort(drawn[_QUERIES:])
        self._queries = unit(embeddings[self._asked])  # (Q, H)
        self._least = _least_of_the_nearest(embeddings, self._queries)
        self.index: Faiss = None

    def tuned(self, kind: NeighbourKind) -> NeighbourIndex:
        """An index of this kind, and the first of its settings that finds enough; the last one where none does."""
        size = self._embeddings.shape[1]
        for recipe, settings in _attempts(kind, size, self._cells):
            self.index = self._filled(kind, recipe)
            for how in settings:
                recall = self._recall(how)
                if recall >= _RECALL_WANTED:
                    return NeighbourIndex(kind, size, round(recall, 4), len(self._asked), how)
        return NeighbourIndex(kind, size, round(recall, 4), len(self._asked), how)

    def _filled(self, kind: NeighbourKind, recipe: str) -> Faiss:
        index = self.faiss.index_factory(self._embeddings.shape[1], recipe, self.faiss.METRIC_INNER_PRODUCT)
        if hasattr(index, "cp"):  # of cells
            index.cp.niter, index.cp.max_points_per_centroid = _ROUNDS, _TRAINED_A_CELL
            index.cp.min_points_per_centroid = 1  # FAISS warns on stderr of what is measured here anyway
        index.train(unit(self._embeddings[self._learned]))
        with progress(f"neighbours: {kind}", len(self._embeddings), "segments") as advance:
            for block in _blocks(self._embeddings):
                index.add(block)
                advance(len(block))
        return index

    def _recall(self, how: Probing) -> float:
        """Share of the nearest that is found, each query's own segment left out."""
        comparison, found = CandidatesCompared(self.index, how, self._embeddings), 0
        for own, query, least in zip(self._asked, self._queries, self._least, strict=True):
            near = nearest(comparison, query, _NEAREST, partial(np.not_equal, own))
            found += int((near.similarities >= least).sum())
        return found / (_NEAREST * len(self._asked))


def _attempts(kind: NeighbourKind, size: int, cells: int) -> Iterator[tuple[str, list[Probing]]]:
    """What FAISS calls an index of this kind, and how to ask it; from the cheapest up.

    The coarser a code, the more candidates have to be compared: so many for each one wanted.
    """
    powers = range(max(1, int(cells * _FEW_CELLS)).bit_length())
    match kind:
        case "ivf-sq8":
            yield f"IVF{cells},SQ8", [Probing(cells, 1 << power, 2) for power in powers]
        case "ivf-pq":
            yield f"IVF{cells},PQ{_code_count(size, 4)}", [Probing(cells, 1 << power, 8) for power in powers]
        case _:
            for dimensions in (4, 2):  # that share four bits
                recipe = f"PQ{_code_count(size, dimensions)}x4fs"
                yield recipe, [Probing(1, 1, candidates) for candidates in (2, 4, 8)]


def _least_of_the_nearest(embeddings: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(Q,): what is at least so near to a query is one of its nearest, by comparing all. Each query finds itself."""
    best = np.full((len(queries), _NEAREST + 1), -np.inf, np.float32)
    for block in _blocks(embeddings):
        both = np.concatenate([best, queries @ block[known_ordinals(block)].T], axis=1)
        best = np.partition(both, both.shape[1] - _NEAREST - 1, axis=1)[:, -_NEAREST - 1 :]
    least: np.ndarray = best.min(axis=1) - np.float32(1e-6)  # products round otherwise than `cosines`
    return least


def _blocks(embeddings: np.ndarray) -> Iterator[np.ndarray]:
    """Unit vectors (B, H) float32 of all embeddings, in order."""
    for start in range(0, len(embeddings), _BLOCK):
        yield unit(embeddings[start : start + _BLOCK])


def _code_count(size: int, dimensions: int) -> int:
    """Parts of a product code: the fewest that divide the embedding and leave each at most so many dimensions."""
    return min(count for count in range(1, size + 1) if size % count == 0 and size // count <= dimensions)
