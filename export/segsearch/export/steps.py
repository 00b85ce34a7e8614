"""A network at inference as a list of small steps, each of which can write itself as ONNX.

Where it stands: `networks` reads the steps off a trained network, as plainly as it computes; `folding` and
`quantisation` rewrite the list into a cheaper one of the same meaning; `block_graph` writes it. Rows are frames until a
pooling makes them segments.

N frames, D and K columns, S segments.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segsearch.export.onnx_graph import FLOAT, OnnxGraph, ints


class Step(Protocol):
    """Takes the rows that the step before it left."""

    def write(self, graph: OnnxGraph, rows: str) -> str:
        """Adds this step to the graph; gives the name of what it leaves."""


@dataclass(frozen=True, slots=True)
class Dequantise:
    """Byte codes to floats: code * scale + offset."""

    scale: float
    offset: float

    def write(self, graph: OnnxGraph, rows: str) -> str:
        floats = graph("Cast", rows, to=FLOAT)
        return graph("Add", graph("Mul", floats, np.float32(self.scale)), np.float32(self.offset))


@dataclass(frozen=True, slots=True)
class UnitLength:
    """Each row to length 1: x / sqrt(max(sum x^2, floor))."""

    floor: float

    def write(self, graph: OnnxGraph, rows: str) -> str:
        squares = graph("ReduceSumSquare", rows, ints(1), keepdims=1)
        return graph("Div", rows, graph("Sqrt", graph("Max", squares, np.float32(self.floor))))


@dataclass(frozen=True, slots=True)
class UnitCodes:
    """Byte codes less `centre`, each row to length 1: what dequantising and then `UnitLength` leaves."""

    centre: float
    floor: float

    def write(self, graph: OnnxGraph, rows: str) -> str:
        centred = graph("Sub", graph("Cast", rows, to=FLOAT), np.float32(self.centre))
        return UnitLength(self.floor).write(graph, centred)

    def row_scale(self, graph: OnnxGraph, rows: str) -> str:
        """(N, 1): what each row of centred codes is to be multiplied by."""
        centred = graph("Sub", graph("Cast", rows, to=FLOAT), np.float32(self.centre))
        squares = graph("ReduceSumSquare", centred, ints(1), keepdims=1)
        return graph("Reciprocal", graph("Sqrt", graph("Max", squares, np.float32(self.floor))))


@dataclass(frozen=True, slots=True)
class AsFloats:
    """Byte codes as floats of the same value."""

    def write(self, graph: OnnxGraph, rows: str) -> str:
        return graph("Cast", rows, to=FLOAT)


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Batch norm at inference: x * scale + shift."""

    scale: np.ndarray  # (D,) float32
    shift: np.ndarray  # (D,) float32

    def write(self, graph: OnnxGraph, rows: str) -> str:
        return graph("Add", graph("Mul", rows, self.scale), self.shift)


@dataclass(frozen=True, slots=True, eq=False)
class Shift:
    """x + shift."""

    shift: np.ndarray  # (D,) float32

    def write(self, graph: OnnxGraph, rows: str) -> str:
        return graph("Add", rows, self.shift)


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """x @ weights + biases."""

    weights: np.ndarray  # (D, K) float32
    biases: np.ndarray | None = None  # (K,) float32
    mean: np.ndarray | None = None  # (D,) the mean row it meets, where that is known: rounded weights may look at it
    reach: float | None = None  # the largest magnitude in the rows it meets, where that is known

    def write(self, graph: OnnxGraph, rows: str) -> str:
        if self.biases is None:
            return graph("MatMul", rows, self.weights)
        return graph("Gemm", rows, self.weights, self.biases)


@dataclass(frozen=True, slots=True)
class Activation:
    """sigmoid, or relu6 = min(max(x, 0), 6). Both rise with x, and are never negative."""

    name: str

    @property
    def top(self) -> float:
        """The highest value it gives; the lowest is 0."""
        return {"sigmoid": 1.0, "relu6": 6.0}[self.name]

    def write(self, graph: OnnxGraph, rows: str) -> str:
        if self.name == "sigmoid":
            return graph("Sigmoid", rows)
        return graph("Clip", rows, np.float32(0), np.float32(6))
