"""What the steps of `make student` left, read back: how good each level is from every seed, and what it costs.

Where it stands: `line` and `variants` have run; `report` makes tables of this, `card` the facts for a model card.
Costs are one network a member, as if it had been trained once on all shards; the ensemble that ranked the test split
has five.

S seeds, K folds.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.errors import DataError
from segsearch.training.ablation.queue import DONE
from segsearch.training.ablation.rows import Row
from segsearch.training.student.line import BASE, Line, twin_of
from segsearch.training.student.scores import COST
from segsearch.training.student.variants import Variant

FOLD_VALUES, POOLED = "fold_rated_map_at_100k", "pooled_rated_map_at_100k"
MICRO, KILO = 1e6, 1e3
Dense = Callable[[Path], float]  # of a folder with five folds' matrices: see `dense`


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one network costs, or several together."""

    parameters: int
    cpu_us: float  # CPU microseconds a segment, float32
    bundle_bytes: int | None  # all files; None where none was exported

    @classmethod
    def together(cls, costs: Sequence["Cost"]) -> "Cost":
        sizes = [cost.bundle_bytes for cost in costs if cost.bundle_bytes is not None]
        return cls(
            parameters=sum(cost.parameters for cost in costs),
            cpu_us=sum(cost.cpu_us for cost in costs),
            bundle_bytes=sum(sizes) if len(sizes) == len(costs) else None,
        )

    @property
    def cells(self) -> tuple[str, ...]:
        size = "" if self.bundle_bytes is None else f"{self.bundle_bytes / KILO:,.0f}"
        return f"{self.parameters:,}", f"{self.cpu_us:,.0f}", size


COST_HEADER = ("parameters", "CPU µs a segment", "bundle kB")


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """One row: how good, and what a segment costs."""

    name: str
    folds: np.ndarray  # (S, K) rated MAP
    pooled: np.ndarray  # (S,) rated MAP
    dense: np.ndarray  # (S,)
    cost: Cost | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """Means over seeds, with their deviation where there are several."""
        return tuple(map(_spread, (self.folds.mean(axis=1), self.pooled, self.dense)))

    @property
    def mean(self) -> float:
        """Of folds and seeds."""
        return float(self.folds.mean())

    def gain_over(self, other: "Level") -> tuple[str, ...]:
        """Mean over folds of the difference with its standard error, the same of each seed, and of the pooled lists."""
        difference = self.folds - other.folds  # (S, K)
        by_fold = difference.mean(axis=0)
        error = by_fold.std(ddof=1) / np.sqrt(len(by_fold))
        by_seed = " ".join(f"{value:+.4f}" for value in difference.mean(axis=1))
        return f"{by_fold.mean():+.4f} ± {error:.4f}", by_seed, f"{(self.pooled - other.pooled).mean():+.4f}"


LEVEL_HEADER = ("mean of folds", "pooled", "dense")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that the line left, from each of its seeds."""

    lines: tuple[Line, ...]  # seed 0 first
    dense: Dense
    students: tuple[str, ...] = ()  # further ones, of seed 0 alone

    @property
    def line(self) -> Line:
        return self.lines[0]

    @cached_property
    def base(self) -> dict[str, Level]:
        return {row.name: self._base(row) for row in BASE}

    @cached_property
    def levels(self) -> dict[str, Level]:
        line, best = self.line, self.base[self.line.best.name]
        members = Cost.together([cost_of(level) for level in self.base.values()])
        ensemble, trees = ("ensemble", "ensemble.json"), ("level_two", "level_two.json")
        return {
            "single": dataclasses.replace(best, name=f"best base model ({best.name})"),
            "ensemble": self._made(f"ensemble of {len(self.base)}", *ensemble, members),
            "level_two": self._made("level two", *trees, self._with_trees(members)),
            "twin": self._twin(line.student, self.lines),
            "student": self._student(line.student, self.lines),
        }

    @cached_property
    def others(self) -> list[tuple[Level, Level]]:
        """Each further student on labels alone, and taught."""
        first = self.lines[:1]
        return [(self._twin(student, first), self._student(student, first)) for student in self.students]

    def variant(self, variant: Variant) -> Level:
        return self._level(variant.label, lambda _: variant.folder, variant.step.makes.name, lines=self.lines[:1])

    def _made(self, name: str, folder: str, file: str, cost: Cost) -> Level:
        return self._level(name, lambda one: one.out / folder, file, cost)

    def _with_trees(self, members: Cost) -> Cost:
        """Level two's: the ensemble's and the trees' time. Trees hold no weights, and are in no bundle."""
        spent = read_json(self.line.out / "level_two" / "level_two.json")["cpu_seconds_per_segment"]
        return dataclasses.replace(members, cpu_us=members.cpu_us + MICRO * spent, bundle_bytes=None)

    def _base(self, row: Row) -> Level:
        cost = self._cost(self.line.out / "scores" / row.name, row.name)
        return self._level(row.name, lambda one: one.folder_of(row), DONE, cost)

    def _twin(self, student: str, lines: Sequence[Line]) -> Level:
        row, cost = twin_of(student), self._cost(self.line.folder_of_student(student), student)
        return self._level(f"{student} on labels alone", lambda one: one.folder_of(row), DONE, cost, lines)

    def _student(self, student: str, lines: Sequence[Line]) -> Level:
        cost = self._cost(self.line.folder_of_student(student), student)
        return self._level(f"{student}, taught", lambda one: one.folder_of_student(student), DONE, cost, lines)

    def _level(
        self,
        name: str,
        folder: Callable[[Line], Path],
        file: str,
        cost: Cost | None = None,
        lines: Sequence[Line] | None = None,
    ) -> Level:
        folders = [folder(line) for line in lines or self.lines]
        found = [read_json(each / file) for each in folders]
        return Level(
            name=name,
            folds=np.array([each[FOLD_VALUES] for each in found]),
            pooled=np.array([each[POOLED] for each in found]),
            dense=np.array([self.dense(each) for each in folders]),
            cost=cost,
        )

    def _cost(self, folder: Path, network: str) -> Cost:
        found, bundle = read_json(folder / COST), self.line.bundle_of(network)
        return Cost(
            parameters=found["parameters"],
            cpu_us=MICRO * found["cpu_seconds_per_segment"],
            bundle_bytes=sum(file.stat().st_size for file in bundle.iterdir()) if bundle.exists() else None,
        )


def cost_of(level: Level) -> Cost:
    """The cost of a level that has one."""
    assert level.cost is not None, level.name
    return level.cost


def _spread(values: np.ndarray) -> str:
    """(S,) as mean ± deviation; one value as it is."""
    return f"{values.mean():.4f}" + (f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "")


def read_json(path: Path) -> dict[str, Any]:
    """Raises DataError for a file that is missing or no JSON."""
    found: dict[str, Any] = read(path, json.loads)
    return found


def read(path: Path, parse: Callable[[str], Any]) -> Any:
    """What `parse` makes of a file's text; raises DataError where there is none, or none that it can parse."""
    try:
        return parse(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(path, None, "results", str(error), "what a step of `make student` leaves") from None
