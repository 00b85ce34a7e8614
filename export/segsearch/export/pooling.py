"""Pooling over frames, block by block: frames to blocks of five, blocks to windows.

Maximum and sum are associative, so that a block is pooled once for all the windows it lies in. Where the context is no
multiple of five, a window counts only the last frames of its first block and the first frames of its last one; those
are pooled beside the whole block.

N = 5M frames, M blocks, S segments, P blocks of a window, K columns, O frames of an outermost block that
counts in part.
"""

from dataclasses import dataclass

import numpy as np

from segsearch.core.blocks import NO_BLOCK, outer_frames, reach
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.export.onnx_graph import FLOAT, INT64, OnnxGraph, ints

FRAMES, BLOCK_FRAMES, WINDOWS = INPUTS = ("frames", "block_frames", "windows")


@dataclass(frozen=True, slots=True)
class Part:
    """Some frames of some of a window's blocks."""

    columns: tuple[int, int]  # of `windows`, from and to
    frames: tuple[int, int]  # of the block, from and to


def parts_of(context: int) -> list[Part]:
    """What a window is made of: whole blocks, and with a context that is no multiple of five a part at each end."""
    width, outer = 2 * reach(context) + 1, outer_frames(context)
    whole = (0, SEGMENT_FRAMES)
    if not outer:
        return [Part((0, width), whole)]
    first, last = (SEGMENT_FRAMES - outer, SEGMENT_FRAMES), (0, outer)
    return [Part((0, 1), first), Part((1, width - 1), whole), Part((width - 1, width), last)]


@dataclass(frozen=True, slots=True)
class MaxPool:
    """(N, K) to (S, K): the best of each column over a window's frames.

    The frame that fills up a video's last block is one of the block's own, and so is the block that stands in where a
    window has none: neither changes a maximum.
    """

    context: int

    def write(self, graph: OnnxGraph, rows: str) -> str:
        by_block = graph("Reshape", rows, _block_shape(graph, rows))
        found = [self._pooled(graph, by_block, part) for part in parts_of(self.context)]
        return found[0] if len(found) == 1 else graph("Max", *found)

    def _pooled(self, graph: OnnxGraph, by_block: str, part: Part) -> str:
        blocks = graph("ReduceMax", _frames_of(graph, by_block, part), ints(1), keepdims=0)  # (M, K)
        if reach(self.context) == 0:
            return graph("Gather", blocks, _own_blocks(graph, 0), axis=0)
        gathered = graph("Gather", blocks, _columns(graph, _filled_windows(graph, self.context), part), axis=0)
        return graph("ReduceMax", gathered, ints(1), keepdims=0)


@dataclass(frozen=True, slots=True)
class MeanPool:
    """(N, K) to (S, K): the mean of each column over the real frames of a window."""

    context: int

    def write(self, graph: OnnxGraph, rows: str) -> str:
        counts = [
            graph("MatMul", _membership(graph, part), _real_frames(graph, part)) for part in parts_of(self.context)
        ]
        return graph("Div", SumPool(self.context).write(graph, rows), _sum(graph, counts))


@dataclass(frozen=True, slots=True)
class SumPool:
    """(N, K) to (S, K): the sum of each column over the real frames of a window.

    Blocks are added up by one small matrix product: a row says which blocks a window has.
    """

    context: int

    def write(self, graph: OnnxGraph, rows: str) -> str:
        masked = graph("Mul", rows, graph.shared("frame_mask", _frame_mask))
        by_block = graph("Reshape", masked, _block_shape(graph, rows))
        sums = []
        for part in parts_of(self.context):
            member = _membership(graph, part)  # (S, M)
            blocks = graph("ReduceSum", _frames_of(graph, by_block, part), ints(1), keepdims=0)  # (M, K)
            sums.append(graph("MatMul", member, blocks))
        return _sum(graph, sums)


def _block_shape(graph: OnnxGraph, rows: str) -> str:
    """(M, 5, K) of (5M, K) rows."""
    width = graph("Shape", rows, start=1, end=2)
    return graph("Concat", ints(-1, SEGMENT_FRAMES), width, axis=0)


def _frames_of(graph: OnnxGraph, by_block: str, part: Part) -> str:
    """(M, O, K): the frames of each block that count."""
    if part.frames == (0, SEGMENT_FRAMES):
        return by_block
    first, end = part.frames
    return graph("Slice", by_block, ints(first), ints(end), ints(1))


def _columns(graph: OnnxGraph, windows: str, part: Part) -> str:
    first, end = part.columns
    return graph("Slice", windows, ints(first), ints(end), ints(1))


def _own_blocks(graph: OnnxGraph, context: int) -> str:
    """(S,): each segment's own block, the middle of its window."""
    return graph.shared("own_blocks", lambda g: g("Gather", WINDOWS, np.int64(reach(context)), axis=1))


def _filled_windows(graph: OnnxGraph, context: int) -> str:
    """(S, P): windows in which the segment's own block stands in for one that the video does not have."""

    def write(g: OnnxGraph) -> str:
        own = g("Unsqueeze", _own_blocks(g, context), ints(1))
        return g("Where", g("Equal", WINDOWS, np.int32(NO_BLOCK)), own, WINDOWS)

    return graph.shared("filled_windows", write)


def _frame_mask(graph: OnnxGraph) -> str:
    """(N, 1) float: 1 for a real frame, 0 for one that fills a block up."""
    places = np.arange(SEGMENT_FRAMES, dtype=np.int32)[None]
    real = graph("Less", places, graph("Unsqueeze", BLOCK_FRAMES, ints(1)))  # (M, 5)
    return graph("Reshape", graph("Cast", real, to=FLOAT), ints(-1, 1))


def _membership(graph: OnnxGraph, part: Part) -> str:
    """(S, M) float: 1 where a block lies in these columns of a window."""

    def write(g: OnnxGraph) -> str:
        count = g("Squeeze", g("Shape", BLOCK_FRAMES, start=0, end=1), ints(0))
        numbers = g("Range", np.int64(0), count, np.int64(1))  # (M,)
        blocks = g("Cast", g("Unsqueeze", _columns(g, WINDOWS, part), ints(2)), to=INT64)  # (S, columns, 1)
        return g("ReduceSum", g("Cast", g("Equal", blocks, numbers), to=FLOAT), ints(1), keepdims=0)

    return graph.shared(f"membership {part}", write)


def _real_frames(graph: OnnxGraph, part: Part) -> str:
    """(M, 1) float: how many of the frames that count are real."""
    first, end = part.frames
    inside = graph("Sub", graph("Cast", BLOCK_FRAMES, to=FLOAT), np.float32(first))
    real = graph("Clip", inside, np.float32(0), np.float32(end - first))
    return graph("Unsqueeze", real, ints(1))


def _sum(graph: OnnxGraph, values: list[str]) -> str:
    return values[0] if len(values) == 1 else graph("Sum", *values)
