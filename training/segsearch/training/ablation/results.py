"""What trained rows left in their folders, read back for the report.

K folds, C classes.
"""

import csv
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segsearch.core.errors import DataError
from segsearch.training.ablation.queue import DONE, SECONDS
from segsearch.training.folder import CACHE
from segsearch.training.input.remote import files_of, inside
from segsearch.training.rated_map import RATED_MAP

MOVING = ("moving_mean", "moving_variance", "moves")  # batch norm's statistics are weights, and no parameters


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """One row's figures."""

    name: str
    folds: np.ndarray  # (K,) rated MAP of each fold
    pooled: float  # rated MAP of all held-out segments in one list a class
    by_class: dict[int, float]  # average precision, pooled, by label index
    curves: np.ndarray  # (K, epochs) rated MAP after each epoch of stage 2
    parameters: int
    cpu_seconds: float  # of the row's own trainings: a shared stage 1 counts where it was trained

    @classmethod
    def read(cls, out: Path, name: str) -> "Result":
        """The row's results below `out`; raises DataError where one is missing or not as `segsearch train` has it."""
        folder = out / name
        try:
            folds = json.loads((folder / DONE).read_text())
            values = folds["fold_rated_map_at_100k"]
            return cls(
                name=name,
                folds=np.array(values),
                pooled=folds["pooled_rated_map_at_100k"],
                by_class={int(label): value for label, value in folds["pooled_average_precision"].items()},
                curves=np.array([_curve(folder / f"fold{number}") for number in range(len(values))]),
                parameters=_parameters(folder / "fold0"),
                cpu_seconds=json.loads((folder / SECONDS).read_text())["cpu_seconds"],
            )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(folder, None, "results", repr(error), "those of a finished row") from None

    @property
    def mean(self) -> float:
        return float(self.folds.mean())

    @property
    def deviation(self) -> float:
        """Of the folds, of which some are harder than others for every row."""
        return float(self.folds.std(ddof=1))

    def gain_over(self, other: "Result") -> tuple[float, float]:
        """Mean difference to another row fold by fold, and its standard error: the folds' own hardness cancels."""
        difference = self.folds - other.folds
        return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def class_names(data: str, cache: Path = CACHE) -> dict[int, str]:
    """Names of the folder's classes by label index; the folder is a path or a URL."""
    (path,) = files_of(inside(data, "vocabulary.csv"), cache)
    with path.open(newline="") as file:
        return {int(row["Index"]): row["Name"] for row in csv.DictReader(file)}


def _curve(folder: Path) -> list[float]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    # A kill right after an epoch was judged has it judged again, at the same step.
    return list({line["step"]: line[RATED_MAP] for line in lines if RATED_MAP in line}.values())


def _parameters(folder: Path) -> int:
    with np.load(folder / "weights.npz") as weights:
        return sum(weights[name].size for name in weights.files if not name.endswith(MOVING))
