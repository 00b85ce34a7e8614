"""Trees that rank (segment, class) pairs, learned from rated ones: LightGBM, binary or LambdaRank.

Where it stands: `features` makes the rows, `levels` decides which folds teach. Several boosters, each stopped early by
a fold that it has not learned from; a pair's score is their mean.

R rated rows, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import lightgbm
import numpy as np

from segsearch.core import ranking
from segsearch.training.checks import above_zero, at_least, one_of, share

METRIC = "map"


@dataclass(frozen=True, kw_only=True)
class RankerConfig:
    """Small trees and many, for some thousand noisy rows."""

    objective: str = "binary"  # or "lambdarank": a class is a query
    leaves: int = 15
    learning_rate: float = 0.03
    rounds: int = 600
    patience: int = 60  # rounds without a better MAP on the fold that is not learned from
    least_rows: int = 20  # of a leaf
    row_share: float = 0.8  # drawn anew for every tree
    feature_share: float = 0.6
    l2: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("objective", self.objective, ("binary", "lambdarank"))
        at_least("leaves", self.leaves, 2)
        above_zero("learning_rate", self.learning_rate)
        for name in ("rounds", "patience", "least_rows"):
            at_least(name, getattr(self, name), 1)
        share("row_share", self.row_share, top=True)
        share("feature_share", self.feature_share, top=True)

    @property
    def parameters(self) -> dict[str, Any]:
        """As LightGBM names them; one thread and a seed give the same trees every time."""
        return {
            "objective": self.objective, "metric": "None", "num_leaves": self.leaves,
            "learning_rate": self.learning_rate, "min_data_in_leaf": self.least_rows,
            "bagging_fraction": self.row_share, "bagging_freq": 1, "feature_fraction": self.feature_share,
            "lambda_l2": self.l2, "seed": self.seed, "deterministic": True, "force_row_wise": True, "num_threads": 1,
            "verbosity": -1,
        }  # fmt: skip


class Rows(NamedTuple):
    """Rated pairs of one fold, class after class."""

    features: np.ndarray  # (R, F) float32
    labels: np.ndarray  # (R,) 0 or 1
    ordinals: np.ndarray  # (R,) the class, rising


@dataclass(frozen=True, eq=False)
class Ranker:
    """What was learned."""

    boosters: tuple[lightgbm.Booster, ...]

    @classmethod
    def learn(cls, folds: Sequence[Rows], config: RankerConfig) -> "Ranker":
        """One booster for each fold, stopped by it and learned from the others."""
        boosters = []
        for number, watched in enumerate(folds):
            learned = joined([fold for other, fold in enumerate(folds) if other != number])
            boosters.append(
                lightgbm.train(
                    config.parameters,
                    _dataset(learned),
                    config.rounds,
                    valid_sets=[_dataset(watched)],
                    feval=lambda scores, _, rows=watched: (METRIC, mean_precision(scores, rows), True),
                    callbacks=[lightgbm.early_stopping(config.patience, verbose=False)],
                )
            )
        return cls(tuple(boosters))

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(R,) float64 of rows (R, F): higher is likelier; comparable within a class."""
        parts = [
            booster.predict(features, num_iteration=booster.best_iteration, raw_score=True, num_threads=1)
            for booster in self.boosters
        ]
        return np.mean(parts, axis=0)

    def importance(self) -> np.ndarray:
        """(F,) each feature's share of the trees' gain."""
        gains = np.mean([booster.feature_importance("gain") for booster in self.boosters], axis=0)
        return gains / max(gains.sum(), 1e-12)


def joined(folds: Sequence[Rows]) -> Rows:
    """Several folds' rows, class after class again."""
    features, labels, ordinals = (np.concatenate(parts) for parts in zip(*folds, strict=True))
    order = np.argsort(ordinals, kind="stable")
    return Rows(features[order], labels[order], ordinals[order])


def mean_precision(scores: np.ndarray, rows: Rows) -> float:
    """Mean over classes with a positive of average precision among these rows; 0 where there is none."""
    order = np.lexsort((-scores, rows.ordinals))
    starts = np.flatnonzero(np.diff(rows.ordinals, prepend=-1))
    hits = np.split(rows.labels[order] > 0, starts[1:])
    found = [ranking.average_precision_of_hits(part, int(part.sum())) for part in hits if part.any()]
    return float(np.mean(found)) if found else 0.0


def _dataset(rows: Rows) -> lightgbm.Dataset:
    starts = np.flatnonzero(np.diff(rows.ordinals, prepend=-1))
    sizes = np.diff(starts, append=len(rows.ordinals))  # only LambdaRank looks at them
    return lightgbm.Dataset(rows.features, rows.labels, group=sizes, params={"verbosity": -1})
