"""VLADs in blocks: frames meet the clusters once, and are gathered into windows afterwards.

A descriptor has one number for each feature and cluster, far more than its frames have: adding up descriptors of blocks
would move more memory than the products of a few frames cost. So it is the frames' shares that are shared by windows.

N = 5M frames, S segments, W = 5P frames of a window's blocks, D features, K clusters, G groups.
"""

from dataclasses import dataclass

import numpy as np

from segsearch.core.blocks import NO_BLOCK
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.export.onnx_graph import FLOAT, OnnxGraph, ints
from segsearch.export.pooling import BLOCK_FRAMES, WINDOWS, parts_of
from segsearch.export.steps import Step


@dataclass(frozen=True, slots=True)
class AttendedShares:
    """(N, ...) to (N, G K): in each of G groups shares of K clusters, times what the group's attention is."""

    groups: int
    assign: tuple[Step, ...]  # to (N, G K)
    attend: tuple[Step, ...]  # to (N, G)

    def write(self, graph: OnnxGraph, rows: str) -> str:
        by_group = graph("Reshape", write_all(graph, self.assign, rows), _group_shape(graph, rows, self.groups))
        attention = graph("Unsqueeze", write_all(graph, self.attend, rows), ints(2))
        return graph("Flatten", graph("Mul", graph("Softmax", by_group, axis=2), attention), axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class VLADPool:
    """(N, G D) to (S, K D): each cluster's weighted sum of frames, less its share of the centre, of unit length.

    With groups, each of a frame's G parts counts as a frame of its own. One cluster stands behind the other, so that
    numbers of one length lie side by side in memory.
    """

    context: int
    assignment: tuple[Step, ...]  # rows to shares (N, G K)
    floor: float  # of squared lengths
    centres: np.ndarray | None = None  # (K, D)
    gates: np.ndarray | None = None  # (K, D), multiply each sum
    groups: int = 1  # more than one only with centres
    frames: tuple[Step, ...] = ()  # rows to frames (N, G D), where rows hold more than frames

    def write(self, graph: OnnxGraph, rows: str) -> str:
        frames, shares = (write_all(graph, steps, rows) for steps in (self.frames, self.assignment))
        frames, shares = gathered(graph, self.context, frames, shares)
        if self.groups > 1 and self.centres is not None:
            shares, frames = (
                graph("Reshape", value, ints(0, -1, size))
                for value, size in zip((shares, frames), self.centres.shape, strict=True)
            )
        sums = graph("MatMul", graph("Transpose", shares, perm=[0, 2, 1]), frames)  # (S, K, D)
        if self.centres is not None:
            share = graph("Unsqueeze", graph("ReduceSum", shares, ints(1), keepdims=0), ints(2))  # (S, K, 1)
            sums = graph("Sub", sums, graph("Mul", share, self.centres))
        if self.gates is not None:
            sums = graph("Mul", sums, self.gates)
        return graph("Flatten", _unit(graph, sums, self.floor, axis=2), axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class FisherPool:
    """(N, D) to (S, 2 D K): first and second moments of frames around each cluster, each half of unit length."""

    context: int
    assignment: tuple[Step, ...]  # frames to shares (N, K)
    floor: float  # of squared lengths
    centres: np.ndarray  # (D, K)
    spread: np.ndarray  # (D, K), the variance that counts as 1

    def write(self, graph: OnnxGraph, rows: str) -> str:
        frames, shares = gathered(graph, self.context, rows, write_all(graph, self.assignment, rows))
        turned = graph("Transpose", frames, perm=[0, 2, 1])  # (S, D, W)
        first, second = (graph("MatMul", each, shares) for each in (turned, graph("Mul", turned, turned)))
        share = graph("ReduceSum", shares, ints(1), keepdims=1)  # (S, 1, K)
        mean = graph("Div", graph("Sub", first, graph("Mul", share, self.centres)), self.spread)
        around = graph("Sub", second, graph("Mul", first, 2 * self.centres))
        around = graph("Add", around, graph("Mul", share, self.centres**2))
        variance = graph("Sub", graph("Div", around, self.spread**2), share)
        halves = (_unit(graph, mean, self.floor), variance)
        flat = [_unit(graph, graph("Flatten", half, axis=1), self.floor) for half in halves]
        return graph("Concat", *flat, axis=1)


def write_all(graph: OnnxGraph, steps: tuple[Step, ...], rows: str) -> str:
    for step in steps:
        rows = step.write(graph, rows)
    return rows


def gathered(graph: OnnxGraph, context: int, frames: str, shares: str) -> tuple[str, str]:
    """Frames (S, W, D) of every window, and their shares (S, W, K), 0 where a place has no frame that counts."""
    numbers, mask = window_frames(graph, context)
    windows = graph("Gather", frames, numbers, axis=0)
    return windows, graph("Mul", graph("Gather", shares, numbers, axis=0), mask)


def window_frames(graph: OnnxGraph, context: int) -> tuple[str, str]:
    """Row numbers (S, W) int32 of the frames of a window's blocks; a mask (S, W, 1) float, 1 for those that count."""
    mask = graph.shared("window_mask", lambda g: _mask(g, context))
    return graph.shared("window_numbers", _numbers), mask


def _numbers(graph: OnnxGraph) -> str:
    first = graph(
        "Mul", graph("Max", WINDOWS, np.int32(0)), np.int32(SEGMENT_FRAMES)
    )  # a place without a block: masked
    places = np.arange(SEGMENT_FRAMES, dtype=np.int32)
    return graph("Flatten", graph("Add", graph("Unsqueeze", first, ints(2)), places), axis=1)


def _mask(graph: OnnxGraph, context: int) -> str:
    inside = [
        np.isin(np.arange(SEGMENT_FRAMES), np.arange(*part.frames))[None].repeat(part.columns[1] - part.columns[0], 0)
        for part in parts_of(context)
    ]
    counted = np.concatenate(inside)  # (P, 5): which frames of which block count, where they are real
    blocks = graph("Max", WINDOWS, np.int32(0))
    real = graph("Unsqueeze", graph("Gather", BLOCK_FRAMES, blocks, axis=0), ints(2))  # (S, P, 1)
    there = graph("Unsqueeze", graph("Greater", WINDOWS, np.int32(NO_BLOCK)), ints(2))
    alive = graph("And", graph("Less", np.arange(SEGMENT_FRAMES, dtype=np.int32), real), there)
    return graph("Unsqueeze", graph("Flatten", graph("Cast", graph("And", alive, counted), to=FLOAT), axis=1), ints(2))


def _group_shape(graph: OnnxGraph, rows: str, groups: int) -> str:
    """(N, G, K) of (N, G K) rows."""
    return graph("Concat", graph("Shape", rows, start=0, end=1), ints(groups, -1), axis=0)


def _unit(graph: OnnxGraph, value: str, floor: float, axis: int = 1) -> str:
    """To length 1 along an axis."""
    squares = graph("ReduceSumSquare", value, ints(axis), keepdims=1)
    return graph("Div", value, graph("Sqrt", graph("Max", squares, np.float32(floor))))
