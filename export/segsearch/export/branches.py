"""Steps that take the same rows side by side, and meet again."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from segsearch.export.onnx_graph import OnnxGraph, ints
from segsearch.export.steps import Step


@dataclass(frozen=True, slots=True)
class Columns:
    """Some columns of the rows: a stream's own features."""

    first: int
    end: int

    def write(self, graph: OnnxGraph, rows: str) -> str:
        return graph("Slice", rows, ints(self.first), ints(self.end), ints(1))


@dataclass(frozen=True, slots=True)
class Softmax:
    """Each row to shares that sum to 1."""

    def write(self, graph: OnnxGraph, rows: str) -> str:
        return graph("Softmax", rows, axis=1)


@dataclass(frozen=True, slots=True)
class Relu:
    """max(x, 0)."""

    def write(self, graph: OnnxGraph, rows: str) -> str:
        return graph("Relu", rows)


@dataclass(frozen=True, slots=True)
class Fork:
    """What each branch makes of the rows, one beside the other or multiplied; an empty branch gives the rows."""

    branches: tuple[tuple[Step, ...], ...]
    meet: Literal["beside", "product"] = "beside"

    def write(self, graph: OnnxGraph, rows: str) -> str:
        found = []
        for branch in self.branches:
            value = rows
            for step in branch:
                value = step.write(graph, value)
            found.append(value)
        if self.meet == "product":
            return graph("Mul", *found)
        return graph("Concat", *found, axis=1)

    def map(self, change: Callable[[tuple[Step, ...]], tuple[Step, ...]]) -> "Fork":
        """The same fork with every branch changed."""
        return dataclasses.replace(self, branches=tuple(change(branch) for branch in self.branches))
