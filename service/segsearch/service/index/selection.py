"""The best K segments of every class, exactly, out of blocks of score codes that pass by once.

Best first: the higher code, and of equal codes the smaller segment ordinal. Both are put into one number
(code above, complement of the ordinal below), so that no two are equal and a partition has exactly one right answer.

S segments of a block, C classes, K kept a class.
"""

from collections.abc import Iterator

import numpy as np

from segsearch.core.score_codes import HIGHEST
from segsearch.service.index.format import SEGMENT_CAP

_ORDINAL_BITS = np.uint64(32)
_LAST_ORDINAL = np.uint64(SEGMENT_CAP - 1)
_PIECE_CODES = 1 << 22  # codes looked at together: bounds the scratch memory
_SLACK_ROWS = 1 << 12


class Selection:
    """Keeps each class's best `keep` of all the segments added so far.

    A class collects what reaches its floor; when its row is full it is cut back to K and the floor rises to just above
    the K-th code, as an equal code that comes later has a larger ordinal and so loses. Memory: 8 bytes for each of
    K + slack postings a class (pages are touched only as they fill), and scratch bounded by a constant.
    """

    def __init__(self, class_count: int, keep: int, slack: int | None = None):
        """slack: how many postings above K a class may collect before it is cut back; K / 2 unless told."""
        slack = max(_SLACK_ROWS, keep // 2) if slack is None else slack
        self.keep, self.segment_count = keep, 0
        self._keys = np.empty((class_count, keep + slack), np.uint64)
        self._filled = np.zeros(class_count, np.int64)
        self._floors = np.zeros(class_count, np.uint16)
        # Blocks are gathered first: what a class costs for each piece is then paid for thousands of segments at once.
        self._piece = np.empty((class_count, max(1, min(_PIECE_CODES // class_count, slack))), np.uint16)
        self._waiting = 0

    def add(self, codes: np.ndarray) -> None:
        """codes: (S, C) uint16, the next S segments in ordinal order."""
        self.add_by_class(codes.T)

    def add_by_class(self, codes: np.ndarray) -> None:
        """codes: (C, S) uint16, the next S segments in ordinal order: cheaper, as selection goes class by class."""
        while codes.shape[1]:
            part = codes[:, : self._piece.shape[1] - self._waiting]
            self._piece[:, self._waiting : self._waiting + part.shape[1]] = part
            self._waiting += part.shape[1]
            codes = codes[:, part.shape[1] :]
            if self._waiting == self._piece.shape[1]:
                self._take_piece()

    def add_matrix(self, codes: np.ndarray) -> None:
        """codes: (N, C) uint16, all segments there are; nothing else may be added."""
        self.add(codes)

    def _take_piece(self) -> None:
        class_major = self._piece[:, : self._waiting]  # (C, S)
        reaching = class_major >= self._floors[:, None]
        places = _LAST_ORDINAL - np.arange(self.segment_count, self.segment_count + self._waiting, dtype=np.uint64)
        for row in np.flatnonzero(reaching.any(axis=1)).tolist():
            columns = np.flatnonzero(reaching[row])
            self._collect(row, (class_major[row, columns].astype(np.uint64) << _ORDINAL_BITS) | places[columns])
        self.segment_count += self._waiting
        self._waiting = 0

    def _collect(self, row: int, keys: np.ndarray) -> None:
        if self._filled[row] + len(keys) > self._keys.shape[1]:
            self._compact(row)
        start = self._filled[row]
        self._keys[row, start : start + len(keys)] = keys
        self._filled[row] += len(keys)

    def _compact(self, row: int) -> None:
        filled = self._keys[row, : self._filled[row]]
        if len(filled) <= self.keep:
            return
        filled.partition(len(filled) - self.keep)
        best = filled[-self.keep :].copy()
        self._keys[row, : self.keep], self._filled[row] = best, self.keep
        # At the highest code the floor cannot rise further; equal codes then come in and lose at the next cut.
        self._floors[row] = min(int(best.min() >> _ORDINAL_BITS) + 1, HIGHEST)

    def ranked(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each class's postings, class after class: ordinals (k,) uint32 and codes (k,) uint16, best first."""
        if self._waiting:
            self._take_piece()
        for row in range(len(self._keys)):
            self._compact(row)
            best = np.sort(self._keys[row, : self._filled[row]])[::-1]
            yield (_LAST_ORDINAL - (best & _LAST_ORDINAL)).astype(np.uint32), (best >> _ORDINAL_BITS).astype(np.uint16)


def select_plain(codes: np.ndarray, keep: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """What `Selection` must give, by a stable sort of everything: codes (N, C) uint16, all segments at once."""
    order = np.argsort(-codes.astype(np.int32), axis=0, kind="stable")[:keep]  # (K, C)
    return [(order[:, row].astype(np.uint32), codes[order[:, row], row]) for row in range(codes.shape[1])]
