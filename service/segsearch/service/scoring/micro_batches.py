"""Windows of many videos, cut and gathered into batches of one size.

T frames, F codes a frame, W frames of a window, B windows of a batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from segsearch.core.blocks import Piece
from segsearch.core.segments import SEGMENT_FRAMES, cut_windows, segment_starts


class MicroBatch(NamedTuple):
    """Windows that go through the model together."""

    windows: np.ndarray  # (B, W, F) uint8, real frames first
    frame_counts: np.ndarray  # (B,) int32


def micro_batches(videos: Iterable[np.ndarray], context: int, size: int) -> Iterator[MicroBatch]:
    """The windows of all segments of all videos, in order, `size` at a time; the last batch may be smaller.

    videos: frames (T, F) uint8 of each. A long video is cut piece by piece: memory is bounded by `size` windows.
    """
    gathered: list[MicroBatch] = []
    count = 0
    for frames in videos:
        starts = segment_starts(len(frames))
        while len(starts):
            part, starts = starts[: size - count], starts[size - count :]
            gathered.append(MicroBatch(*cut_windows(frames, part, context)))
            count += len(part)
            if count == size:
                yield _joined(gathered)
                gathered, count = [], 0
    if gathered:
        yield _joined(gathered)


def windows_of(pieces: Sequence[Piece], context: int) -> MicroBatch:
    """The windows of all segments of these pieces, in order."""
    starts = [np.arange(piece.first, piece.first + piece.segment_count) * SEGMENT_FRAMES for piece in pieces]
    return _joined([MicroBatch(*cut_windows(p.frames, own, context)) for p, own in zip(pieces, starts, strict=True)])


def _joined(parts: Sequence[MicroBatch]) -> MicroBatch:
    if len(parts) == 1:
        return parts[0]
    return MicroBatch(np.concatenate([part.windows for part in parts]), np.concatenate([part[1] for part in parts]))
