"""Passes that let products run in 8-bit integers: byte codes go into the product as they are, weights are rounded.

What is no byte code becomes one: the outcome of an activation by the range that it has, a pooled descriptor, which has
none, by how far those of a few videos reached (`calibration`).

Weights have one scale a column. They are rounded to -64..64, not to -127..127: processors without VNNI add two products
of a byte and a weight in 16 bits, and 2 * 255 * 64 is the most that fits. So every processor gives the same integers.

N rows, D and K columns.
"""

from dataclasses import dataclass

import numpy as np

from segsearch.export.branches import Columns, Fork
from segsearch.export.folding import Steps, fold_dequantisation, merge_shifts, pool_first, rewrite
from segsearch.export.onnx_graph import FLOAT, OnnxGraph
from segsearch.export.pooling import MeanPool
from segsearch.export.steps import Activation, AsFloats, Dense, Dequantise, Scale, Step, UnitCodes

HIGHEST_LEVEL = 64
ZERO_OF_BOTH_SIGNS = 128
_NEGLIGIBLE = 1 / 128  # of a code step: what a zero point may be off without a correction


@dataclass(frozen=True, slots=True, eq=False)
class IntegerDense:
    """(codes - centre) @ levels, each row then scaled as `unit` says; the weights' own scale is left out.

    The integer product takes the nearest whole centre; what is left of it is put right behind the product. With
    `columns` it sees these alone, while a row's length is that of all.
    """

    levels: np.ndarray  # (D, K) int8
    centre: float = 0.0
    unit: UnitCodes | None = None
    columns: Columns | None = None

    def write(self, graph: OnnxGraph, rows: str) -> str:
        zero = int(np.clip(np.rint(self.centre), 0, 255))
        codes = rows if self.columns is None else self.columns.write(graph, rows)
        found = graph("Cast", graph("MatMulInteger", codes, self.levels, np.uint8(zero)), to=FLOAT)
        left = self.centre - zero
        if abs(left) > _NEGLIGIBLE:
            found = graph("Sub", found, (left * self.levels.sum(axis=0, dtype=np.int64)).astype(np.float32))
        return found if self.unit is None else graph("Mul", found, self.unit.row_scale(graph, rows))


@dataclass(frozen=True, slots=True)
class Quantise:
    """Values up to `top` as byte codes up to 255, to the nearest; `zero` is the code of 0, and below 0 is the rest."""

    top: float
    zero: int = 0

    @property
    def code_step(self) -> float:
        """How far one code moves the value."""
        return self.top / (255 - self.zero)

    def write(self, graph: OnnxGraph, rows: str) -> str:
        return graph("QuantizeLinear", rows, np.float32(self.code_step), np.uint8(self.zero))


def quantise(steps: Steps) -> Steps:
    """Folded steps with every product in integers whose rows are byte codes, or of a range that is known.

    Where a product knows its mean row, what rounding the weights does to that row is put right in the bias. Steps
    without such a product come back as they were.
    """
    steps = rewrite(steps, 2, _into_branches)
    steps = tuple(step.map(quantise) if isinstance(step, Fork) else step for step in steps)
    steps = fold_dequantisation(rewrite(steps, 2, _columns_first))
    for size, rule in (
        (2, _from_codes), (3, _from_columns), (2, _from_activation), (3, _from_mean), (2, _from_descriptor)
    ):  # fmt: skip
        steps = rewrite(steps, size, rule)
    return merge_shifts(pool_first(steps))


def round_weights(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (D, K) as levels (D, K) int8 and scales (K,) float32: weights are about levels * scales."""
    scales = np.maximum(np.abs(weights).max(axis=0), np.float32(1e-30)) / np.float32(HIGHEST_LEVEL)
    return np.rint(weights / scales).astype(np.int8), scales.astype(np.float32)


def _into_branches(first: Step, second: Step) -> Steps | None:
    """Every branch takes the byte codes itself."""
    match first, second:
        case UnitCodes() | AsFloats() | Dequantise(), Fork():
            return (second.map(lambda branch: (first, *branch)),)
    return None


def _columns_first(first: Step, second: Step) -> Steps | None:
    """What treats every column alike can wait until a stream's own are left."""
    match first, second:
        case AsFloats() | Dequantise(), Columns():
            return second, first
    return None


def _from_codes(first: Step, second: Step) -> Steps | None:
    if not isinstance(first, UnitCodes | AsFloats) or not isinstance(second, Dense):
        return None
    unit = first if isinstance(first, UnitCodes) else None
    levels, scales, shift = _rounded(second)
    return IntegerDense(levels, unit.centre if unit else 0.0, unit), Scale(scales, shift)


def _from_columns(first: Step, second: Step, third: Step) -> Steps | None:
    """A stream's own codes, in rows whose length is that of all streams."""
    if not (isinstance(first, UnitCodes) and isinstance(second, Columns) and isinstance(third, Dense)):
        return None
    levels, scales, shift = _rounded(third)
    return IntegerDense(levels, first.centre, first, second), Scale(scales, shift)


def _from_activation(first: Step, second: Step) -> Steps | None:
    if isinstance(first, Activation) and isinstance(second, Dense):
        return first, *_from_range(Quantise(first.top), second)
    return None


def _from_mean(first: Step, second: Step, third: Step) -> Steps | None:
    """A mean lies where the values lie."""
    if isinstance(first, Activation) and isinstance(second, MeanPool) and isinstance(third, Dense):
        return first, second, *_from_range(Quantise(first.top), third)
    return None


def _from_descriptor(first: Step, second: Step) -> Steps | None:
    """Streams' descriptors side by side: values of both signs, of which few are large."""
    if isinstance(first, Fork) and first.meet == "beside" and isinstance(second, Dense) and second.reach:
        codes, *product = _from_range(Quantise(second.reach, ZERO_OF_BOTH_SIGNS), second)
        return first.map(lambda branch: (*branch, codes)), *product
    return None


def _from_range(codes: Quantise, dense: Dense) -> Steps:
    levels, scales, shift = _rounded(dense)
    return codes, IntegerDense(levels, codes.zero), Scale(scales * np.float32(codes.code_step), shift)


def _rounded(dense: Dense) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels, their scales, and the bias (K,) with which they come nearest to the product."""
    levels, scales = round_weights(dense.weights)
    shift = np.zeros_like(scales) if dense.biases is None else dense.biases
    if dense.mean is not None:
        shift = shift + dense.mean.astype(np.float64) @ (dense.weights - levels * scales)
    return levels, scales, shift.astype(np.float32)
