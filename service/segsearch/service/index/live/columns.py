"""The score codes of live segments in memory, class-major, with room to grow.

Where it stands: `delta` appends uploads here and shows views on it. A column that was shown is never written again:
new ones go behind all others, into room that earlier views don't reach, and a full array is copied to one twice as
long while the old one stays with those who look at it. Beside the codes stands the highest of each block of columns, so
that a search need not look at blocks that hold nothing for it.

C classes, D columns, S segments of one video, B blocks.
"""

from typing import Final

import numpy as np

from segsearch.core.segments import SEGMENT_FRAMES

BLOCK: Final = 64  # columns that share a highest code
_ROOM: Final = 4 * BLOCK  # columns of the first array


class Columns:
    """Live segments in the order they were added, dead ones too."""

    def __init__(self, class_count: int):
        self.count = 0  # D
        self._codes = np.empty((class_count, 0), np.uint16)  # (C, room)
        self._tops = np.zeros((class_count, 0), np.uint16)  # (C, room in blocks)
        self._videos = np.empty(0, np.uint32)
        self._starts = np.empty(0, np.uint32)
        self._uploads = np.empty(0, np.uint64)

    @property
    def codes(self) -> np.ndarray:
        """(C, D) u16: a view that later additions leave as it is."""
        return self._codes[:, : self.count]

    @property
    def tops(self) -> np.ndarray:
        """(C, B) u16: at least the highest code of each block; additions to the last block may raise it later."""
        return self._tops[:, : -(-self.count // BLOCK)]

    @property
    def videos(self) -> np.ndarray:
        """(D,) u32 video ordinals, rising."""
        return self._videos[: self.count]

    @property
    def starts(self) -> np.ndarray:
        """(D,) u32 first frames."""
        return self._starts[: self.count]

    @property
    def uploads(self) -> np.ndarray:
        """(D,) u64 sequence numbers of the uploads, rising."""
        return self._uploads[: self.count]

    def append(self, video: int, upload: int, codes: np.ndarray) -> slice:
        """Adds one video's segments, codes (S, C); returns the columns they are."""
        added = slice(self.count, self.count + len(codes))
        self._make_room(added.stop)
        self._codes[:, added] = codes.T
        self._raise_tops(added)
        self._videos[added], self._uploads[added] = video, upload
        self._starts[added] = np.arange(len(codes)) * SEGMENT_FRAMES
        self.count = added.stop
        return added

    def only(self, alive: np.ndarray) -> "Columns":
        """A copy of the columns where alive, (D,) bool; video ordinals become dense again, in the same order."""
        kept = Columns(len(self._codes))
        kept.count = int(alive.sum())
        kept._codes, kept._starts = np.compress(alive, self.codes, axis=1), self.starts[alive]
        kept._uploads = self.uploads[alive]
        kept._tops = _tops_of(kept._codes)
        kept._videos = np.unique(self.videos[alive], return_inverse=True)[1].astype(np.uint32)
        return kept

    def _raise_tops(self, added: slice) -> None:
        for block in range(added.start // BLOCK, -(-added.stop // BLOCK)):
            own = self._codes[:, max(added.start, block * BLOCK) : min(added.stop, (block + 1) * BLOCK)]
            np.maximum(self._tops[:, block], own.max(axis=1), out=self._tops[:, block])

    def _make_room(self, wanted: int) -> None:
        room = len(self._videos)
        if wanted <= room:
            return
        room = max(_ROOM, 2 * room, wanted)
        for name in ("_codes", "_videos", "_starts", "_uploads"):
            old = getattr(self, name)
            new = np.empty((*old.shape[:-1], room), old.dtype)
            new[..., : self.count] = old[..., : self.count]
            setattr(self, name, new)
        tops = np.zeros((len(self._tops), -(-room // BLOCK)), np.uint16)
        tops[:, : self._tops.shape[1]] = self._tops
        self._tops = tops


def _tops_of(codes: np.ndarray) -> np.ndarray:
    """(C, B) u16: the highest of each block of codes (C, D)."""
    firsts = np.arange(0, codes.shape[1], BLOCK)
    tops: np.ndarray = np.maximum.reduceat(codes, firsts, axis=1) if len(firsts) else codes
    return tops
