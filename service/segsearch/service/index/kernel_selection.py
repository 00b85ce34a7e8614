"""The same selection as `selection.Selection`, by compiled loops and on several threads.

Where it stands: `selection_for` is what jobs ask; it takes this class where the extra `index` is installed and the work
is worth compiling for, and the plain twin elsewhere. Both give the same lists, posting for posting.

S segments of a block, C classes, K kept a class, L room for postings of a class.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import pairwise
from typing import Final, Literal, Protocol

import numpy as np

from segsearch.core.errors import MissingExtra
from segsearch.core.progress import say
from segsearch.service.index.selection import Selection

Kernel = Callable[..., None]
SelectionChoice = Literal["auto", "numba", "numpy"]

WORTH_COMPILING: Final = 1 << 28  # codes: fewer are selected by numpy before Numba has compiled (2 to 4 s)
_PART: Final = 1 << 12  # segments of what is copied, if it must be
_SAMPLE_STEP: Final = 64  # a sample of a matrix holds every 64th segment, but at least some thousands of them
_SAMPLE_LEAST: Final = 1 << 13
_SAMPLE_DEVIATIONS: Final = 5  # a sample of so many standard deviations from what is likely is not met
_TURNED: Final = 256  # segments of a sample turned together
_PIECE_CAP: Final = 1 << 12  # codes of a class filtered together
_PIECES_OF_SLACK: Final = 16  # a list is cut back when a piece may not fit: so much of its slack may lie idle


class Selector(Protocol):
    """Keeps each class's best postings of all the segments added so far."""

    def add(self, codes: np.ndarray) -> None:
        """codes: (S, C) uint16, the next S segments in ordinal order."""

    def add_by_class(self, codes: np.ndarray) -> None:
        """codes: (C, S) uint16, the next S segments in ordinal order."""

    def add_matrix(self, codes: np.ndarray) -> None:
        """codes: (N, C) uint16, all segments there are, mapped or not; nothing else may be added."""

    def ranked(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each class's postings, class after class: ordinals (k,) uint32 and codes (k,) uint16, best first."""


def selection_for(
    class_count: int, keep: int, segment_bound: int, choice: SelectionChoice = "auto", threads: int = 1
) -> Selector:
    """The selection for at most `segment_bound` segments; `auto` takes whichever is done first.

    Raises MissingExtra where Numba is asked for and not installed.
    """
    keep = max(1, min(keep, segment_bound))  # a small library must not reserve memory for lists it cannot fill
    worth = choice == "numba" or (choice == "auto" and class_count * segment_bound >= WORTH_COMPILING)
    if worth and find_spec("numba") is not None:
        return KernelSelection(class_count, keep, threads=threads)
    if choice == "numba":
        raise MissingExtra("... --selection numba", "index", "numba")
    if worth:
        say("selecting by numpy, which takes some times as long: pip install 'segsearch[index]' brings Numba")
    return Selection(class_count, keep)


class KernelSelection:
    """Keeps each class's best `keep` of all the segments added so far.

    A class collects what reaches its floor, in ordinal order; when its list is full it is cut back to K, and the floor
    rises. Memory: 6 bytes for each of K + slack postings a class, and scratch bounded by a constant for each thread,
    however many segments pass. A memory-mapped matrix may be added whole: it is read once, from its beginning.
    """

    def __init__(self, class_count: int, keep: int, slack: int | None = None, *, threads: int = 1):
        """slack: how many postings above K a class may collect before it is cut back; K / 2 unless told."""
        slack = max(_PIECE_CAP, keep // 2) if slack is None else slack
        self.keep, self.segment_count = keep, 0
        self._ordinals = np.empty((class_count, keep + slack), np.uint32)
        self._codes = np.empty((class_count, keep + slack), np.uint16)
        self._filled = np.zeros(class_count, np.int64)
        self._floors = np.zeros(class_count, np.uint32)  # one above the highest code at most
        self._piece = max(1, min(_PIECE_CAP, slack // _PIECES_OF_SLACK))
        bounds = np.linspace(0, class_count, min(threads, class_count) + 1).astype(int).tolist()
        self._shares = list(pairwise(bounds))  # the classes of each thread
        self._pool = ThreadPoolExecutor(len(self._shares)) if len(self._shares) > 1 else None

    def add(self, codes: np.ndarray) -> None:
        """codes: (S, C) uint16, the next S segments in ordinal order; any array of numpy's, memory-mapped too."""
        from segsearch.service.index.kernels import collect

        for first in range(0, len(codes), _PART):
            self._take(collect, codes[first : first + _PART], min(_PART, len(codes) - first))

    def add_by_class(self, codes: np.ndarray) -> None:
        """codes: (C, S) uint16, the next S segments in ordinal order: cheaper, as selection goes class by class."""
        from segsearch.service.index.kernels import collect_by_class

        # What does not lie class after class is copied part by part.
        part = max(1, codes.shape[1] if codes.flags.c_contiguous else _PART)
        for first in range(0, codes.shape[1], part):
            self._take(collect_by_class, codes[:, first : first + part], min(part, codes.shape[1] - first))

    def add_matrix(self, codes: np.ndarray) -> None:
        """codes: (N, C) uint16, all segments there are, mapped or not; nothing else may be added.

        A sample says where each class's list will end, so that little more than K postings a class are collected. A
        class whose sample led astray has too few, and is read again.
        """
        self._guess_floors(codes)
        if codes.T.flags.c_contiguous:
            self.add_by_class(codes.T)
        else:
            self.add(codes)
        short = np.flatnonzero(self._filled < min(self.keep, len(codes)))
        if len(short):
            self._read_again(codes, short)

    def ranked(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each class's postings, class after class: ordinals (k,) uint32 and codes (k,) uint16, best first.

        Views on the selection's own lists, which are put in order in their place: nothing can be added afterwards.
        """
        from segsearch.service.index.kernels import rank

        def put_in_order(share: tuple[int, int]) -> None:
            room = self._codes.shape[1]
            rank(share, self._lists, self.keep, (np.empty(room, np.uint32), np.empty(room, np.uint16)))

        self._on_threads(put_in_order)
        self.close()
        for row, length in enumerate(self._filled.tolist()):
            yield self._ordinals[row, :length], self._codes[row, :length]

    def close(self) -> None:
        """Ends the threads; `ranked` does."""
        if self._pool is not None:
            self._pool.shutdown()

    def _guess_floors(self, codes: np.ndarray) -> None:
        """Sets floors that leave each class about K of the codes (N, C), rather more; too small a sample sets none."""
        from segsearch.service.index.kernels import guess_floors

        sample = _turned(codes[:: max(1, min(_SAMPLE_STEP, len(codes) // _SAMPLE_LEAST))])
        expected = self.keep * sample.shape[1] / max(1, len(codes))  # of a class's K
        rank = int(expected + _SAMPLE_DEVIATIONS * expected**0.5) + 1
        if rank < sample.shape[1]:
            guess_floors(_read_only(sample), rank, self._floors)

    def _read_again(self, codes: np.ndarray, rows: np.ndarray) -> None:
        """Selects a few classes anew, from floors of 0."""
        room = self._codes.shape[1]
        anew = KernelSelection(len(rows), self.keep, room - self.keep, threads=len(self._shares))
        for first in range(0, len(codes), _PART):
            anew.add(codes[first : first + _PART, rows])
        for ours, theirs in zip(self._lists, anew._lists, strict=True):
            ours[rows] = theirs
        anew.close()

    @property
    def _lists(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self._ordinals, self._codes, self._filled, self._floors

    def _take(self, collect: Kernel, codes: np.ndarray, count: int) -> None:
        """Has every thread collect its classes of the next `count` segments."""
        block, cuts = _read_only(codes), (self.keep, self._piece)
        self._on_threads(lambda share: collect(block, self.segment_count, share, self._lists, cuts))
        self.segment_count += count

    def _on_threads(self, work: Callable[[tuple[int, int]], None]) -> None:
        if self._pool is None:
            work(self._shares[0])
        else:
            list(self._pool.map(work, self._shares))  # raises what a thread raised


def _turned(codes: np.ndarray) -> np.ndarray:
    """Codes (M, C) as (C, M), some segments at a time: a class after the other would fetch all of them for each."""
    if codes.strides[0] < codes.strides[1]:  # they lie class after class
        return np.ascontiguousarray(codes.T)
    turned = np.empty(codes.shape[::-1], np.uint16)
    for first in range(0, len(codes), _TURNED):
        rows = slice(first, first + _TURNED)
        turned[:, rows] = np.ascontiguousarray(codes[rows]).T
    return turned


def _read_only(codes: np.ndarray) -> np.ndarray:
    """A contiguous view or copy that Numba knows as one type, whatever it came as."""
    plain = np.ascontiguousarray(np.asarray(codes, np.uint16)).view(np.ndarray)
    plain.flags.writeable = False
    return plain
