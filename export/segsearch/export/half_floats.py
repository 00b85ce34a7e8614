"""A pass that lets products run in 16-bit floats, for processors with units for them: half the memory, many times the
rate. What adds up many frames or divides by a length stays in 32 bits, and so does the head, whose logits become codes.

Half floats keep 11 bits between 6e-5 and 65504. Each column of weights is scaled by a power of two, which costs nothing
and is undone behind the product, so that neither small weights nor large sums fall out of that range.

ONNX Runtime on a processor without such units leaves the rounding of rows out, which would make the variant look better
than it is; so a line can be halved in imitation, in 32-bit floats that are rounded as half floats are.

N rows, D and K columns.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial

import numpy as np

from segsearch.export.branches import Fork
from segsearch.export.folding import Steps, merge_shifts, pool_first, rewrite
from segsearch.export.onnx_graph import FLOAT, FLOAT16, OnnxGraph
from segsearch.export.pooling import MaxPool
from segsearch.export.steps import AsFloats, Dense, Scale, Step
from segsearch.export.vlad import AttendedShares, FisherPool, VLADPool

HIGHEST_SUM = 2.0**14  # a quarter of the largest half float: no sum of byte codes and weights comes beyond
HIGHEST_CODE, HIGHEST_HALF = 255.0, 65504.0


@dataclass(frozen=True, slots=True, eq=False)
class HalfDense:
    """x @ weights in half floats: rows of floats come in, rows of half floats go out."""

    weights: np.ndarray  # (D, K) float16
    imitated: bool = False

    def write(self, graph: OnnxGraph, rows: str) -> str:
        if not self.imitated:
            return graph("MatMul", graph("Cast", rows, to=FLOAT16), self.weights)
        return rounded(graph, graph("MatMul", rounded(graph, rows), self.weights.astype(np.float32)))


@dataclass(frozen=True, slots=True)
class Widen:
    """Half floats as floats of the same value."""

    def write(self, graph: OnnxGraph, rows: str) -> str:
        return graph("Cast", rows, to=FLOAT)


def rounded(graph: OnnxGraph, value: str) -> str:
    """Floats as the nearest half floats, still in 32 bits: x c - (x c - x) keeps 11 bits of x for c = 2^13 + 1."""
    apart = graph("Mul", value, np.float32(2**13 + 1))
    kept = graph("Sub", apart, graph("Sub", apart, value))
    return graph("Where", graph("Greater", graph("Abs", kept), np.float32(HIGHEST_HALF)), np.float32(np.inf), kept)


def halve(steps: Steps, *, imitated: bool = False) -> Steps:
    """Folded steps with every product in half floats, inside branches and poolings too; steps without one come back as
    they were.
    """
    steps = tuple(_inside(step, imitated) for step in steps)
    steps = rewrite(steps, 2, partial(_from_codes, imitated))
    steps = rewrite(steps, 1, partial(_halved, imitated))
    return merge_shifts(rewrite(pool_first(steps), 2, _pooled_first))


def scaled_columns(weights: np.ndarray, highest_input: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Weights (D, K) as half floats and the powers of two (K,) float32 that they are to be multiplied by.

    The largest weight of a column comes to lie between a half and 1, or lower where inputs of up to `highest_input`
    could add up to more than a half float holds.
    """
    sums = np.abs(weights).sum(axis=0, dtype=np.float64) * highest_input / HIGHEST_SUM
    largest = np.maximum(np.abs(weights).max(axis=0), sums)
    _, exponents = np.frexp(np.where(largest > 0, largest, 1.0))
    scales = np.ldexp(np.float32(1), exponents).astype(np.float32)
    return (weights / scales).astype(np.float16), scales


def _inside(step: Step, imitated: bool) -> Step:
    inner = partial(halve, imitated=imitated)
    match step:
        case Fork():
            return step.map(inner)
        case VLADPool() | FisherPool():
            return dataclasses.replace(step, assignment=inner(step.assignment))
        case AttendedShares():
            return dataclasses.replace(step, assign=inner(step.assign), attend=inner(step.attend))
    return step


def _from_codes(imitated: bool, first: Step, second: Step) -> Steps | None:
    if isinstance(first, AsFloats) and isinstance(second, Dense):
        return first, *_product(second, imitated, HIGHEST_CODE)
    return None


def _halved(imitated: bool, step: Step) -> Steps | None:
    return _product(step, imitated) if isinstance(step, Dense) else None


def _product(dense: Dense, imitated: bool, highest_input: float = 1.0) -> Steps:
    weights, scales = scaled_columns(dense.weights, highest_input)
    shift = np.zeros_like(scales) if dense.biases is None else dense.biases
    return HalfDense(weights, imitated), Widen(), Scale(scales, shift)


def _pooled_first(first: Step, second: Step) -> Steps | None:
    """The maximum of half floats is the half float of the maximum."""
    return (second, first) if isinstance(first, Widen) and isinstance(second, MaxPool) else None
