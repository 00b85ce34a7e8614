"""Blocks: five frames of a video, worked on once and shared by the windows of neighbouring segments.

Where it stands: `export` writes graphs that take this layout, the service lays videos out for them. Segment s of a
video is its block s; its window with n frames of context is that block and `reach(n)` more on each side, of which the
outermost may count with a few frames only: the last frames of the first one, the first frames of the last one.

T frames of a video, F codes a frame, M blocks, S segments, P = 2 reach + 1 blocks of a window.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from segsearch.core.segments import SEGMENT_FRAMES, segment_count

NO_BLOCK = -1  # a place in a window where the video has no block


class Piece(NamedTuple):
    """Consecutive segments of one video, with the frames that their windows reach."""

    frames: np.ndarray  # (T, F) uint8, from the beginning of a block on
    first: int  # block of `frames` that is the first segment
    segment_count: int


class BlockBatch(NamedTuple):
    """Blocks of some pieces one behind the other: what a block graph takes."""

    frames: np.ndarray  # (5M, F) uint8; a video's last block is filled up with its last frame
    block_frames: np.ndarray  # (M,) int32, the real frames of each block, 1 to 5
    windows: np.ndarray  # (S, P) int32, the blocks of each segment's window, NO_BLOCK where there is none


def reach(context: int) -> int:
    """Blocks each side of its own that a segment's window touches."""
    return -(-context // SEGMENT_FRAMES)


def outer_frames(context: int) -> int:
    """Frames that count of a window's outermost blocks, where those count in part; 0 where they count whole."""
    return context % SEGMENT_FRAMES


def cut_pieces(frames: np.ndarray, context: int, limit: int) -> Iterator[Piece]:
    """A video (T, F) as pieces of at most `limit` segments; the frames of a piece overlap its neighbours' by context.

    Pieces are views and as even as can be: what is worked on twice is `reach` blocks at each side of a cut.
    """
    total = segment_count(len(frames))
    bounds = np.linspace(0, total, -(-total // limit) + 1).round().astype(int)
    for start, stop in pairwise(bounds):
        first_block = max(0, start - reach(context))
        end = (stop + reach(context)) * SEGMENT_FRAMES
        yield Piece(frames[first_block * SEGMENT_FRAMES : end], int(start - first_block), int(stop - start))


def lay_out(pieces: Sequence[Piece], context: int) -> BlockBatch:
    """Puts pieces one behind the other. The segments are the pieces' segments in order."""
    block_counts = [segment_count(len(piece.frames)) for piece in pieces]
    first_blocks = np.cumsum([0, *block_counts])
    frames = np.empty((first_blocks[-1] * SEGMENT_FRAMES, pieces[0].frames.shape[1]), np.uint8)
    block_frames = np.full(first_blocks[-1], SEGMENT_FRAMES, np.int32)
    windows = []
    for piece, first, count in zip(pieces, first_blocks, block_counts, strict=False):
        at = first * SEGMENT_FRAMES
        end, filled = at + len(piece.frames), (first + count) * SEGMENT_FRAMES
        frames[at:end] = piece.frames
        frames[end:filled] = piece.frames[-1]
        block_frames[first + count - 1] -= filled - end
        blocks = np.arange(piece.first, piece.first + piece.segment_count)[:, None] + _steps(context)
        windows.append(np.where((blocks >= 0) & (blocks < count), blocks + first, NO_BLOCK))
    return BlockBatch(frames, block_frames, np.concatenate(windows).astype(np.int32))


def batches_of_pieces(videos: Iterable[np.ndarray], context: int, size: int, limit: int) -> Iterator[list[Piece]]:
    """Pieces of videos (T, F), in order, gathered until they hold `size` segments; none holds more than `limit`."""
    gathered: list[Piece] = []
    count = 0
    for frames in videos:
        for piece in cut_pieces(frames, context, limit):
            gathered.append(piece)
            count += piece.segment_count
            if count >= size:
                yield gathered
                gathered, count = [], 0
    if gathered:
        yield gathered


def _steps(context: int) -> np.ndarray:
    """(P,) blocks of a window, counted from the segment's own."""
    return np.arange(-reach(context), reach(context) + 1)
