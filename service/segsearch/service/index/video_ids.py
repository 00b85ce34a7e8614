"""The ids of a generation's videos as text, each read when it is first asked for: answers name the same videos again.

Where it stands: `generation` maps the bytes, this hands them out. Nothing is read when a generation is opened, so that
opening does not take longer the more videos there are.

V videos, B bytes of all ids; n ids are asked for.
"""

import numpy as np


class VideoIds:
    """Any number of threads may ask: two that read the same id for the first time both write the same."""

    def __init__(self, text: np.ndarray, offsets: np.ndarray):
        """text: (B,) u8, UTF-8; offsets: (V + 1,) u64, video v's id is bytes offsets[v]:offsets[v + 1]."""
        self._text, self._offsets = text, offsets
        self._ids = np.empty(len(offsets) - 1, object)  # (V,) str where it was read
        self._read = np.zeros(len(offsets) - 1, bool)  # (V,), set only after the id itself

    def of(self, videos: np.ndarray) -> list[str]:
        """The ids of videos, given as (n,) video ordinals."""
        rows = videos.astype(np.intp)  # which each `take` would do for itself
        read = self._read.take(rows)
        if np.count_nonzero(read) < len(read):
            self._read_first_time(rows[~read])
        ids: list[str] = self._ids.take(rows).tolist()
        return ids

    def _read_first_time(self, rows: np.ndarray) -> None:
        starts, stops = self._offsets[rows].tolist(), self._offsets[rows + 1].tolist()
        text = self._text.data
        self._ids[rows] = [str(text[start:stop], "utf-8") for start, stop in zip(starts, stops, strict=True)]
        self._read[rows] = True
