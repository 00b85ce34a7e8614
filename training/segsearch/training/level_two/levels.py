"""Level two, honestly: each fold is ranked by trees that learned from the other four.

Where it stands: `cli` calls `LevelTwo`. The ensemble's matrices are its first level:
their weights, too, were found without the fold they score (`ensemble.weights.nested`).

N segments of a fold, C classes, P rated pairs, F features.
"""

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.vocabulary import Vocabulary
from segsearch.training.ensemble.members import MATRIX, Members
from segsearch.training.folder import FOLDS
from segsearch.training.input.survey import RatedSegments
from segsearch.training.level_two.features import feature_names, features_of
from segsearch.training.level_two.order import candidates_of, reordered
from segsearch.training.level_two.ranker import Ranker, RankerConfig, Rows
from segsearch.training.level_two.scored import Scored
from segsearch.training.rated_map import mean_precision, rated_map, rated_precisions
from segsearch.training.score_matrix import About, ScoreMatrix, VideoScores, check_folds, write_score_matrix

NAME = "level_two"


@dataclass(frozen=True, kw_only=True)
class OrderConfig:
    """How much of the ensemble's order level two may change."""

    candidates: int = 150_000  # of a class: the ensemble's best
    weight: float = 0.5  # of level two's places against the ensemble's


@dataclass(frozen=True, eq=False)
class LevelTwo:
    """Everything that is needed to rank by trees."""

    members: Members
    ensemble: Path  # folder of its matrices
    folds: tuple[Scored, ...]
    ranker: RankerConfig
    order: OrderConfig

    @classmethod
    def open(cls, members: Members, ensemble: Path, ranker: RankerConfig, order: OrderConfig) -> "LevelTwo":
        """ensemble: the folder of `segsearch ensemble` for these members; raises MatrixRefused for another's."""
        matrices = [ScoreMatrix.open(ensemble / f"fold{fold}" / MATRIX) for fold in range(FOLDS)]
        check_folds(matrices)
        folds = tuple(
            Scored.of([[member.folds[fold]] for member in members.members], matrix)
            for fold, matrix in enumerate(matrices)
        )
        return cls(members, ensemble, folds, ranker, order)

    def write_folds(self, vocabulary: Vocabulary, out: Path) -> dict[str, Any]:
        """`fold0/matrix.npz` ... in their new order, each by trees that know nothing of it; returns how good they are,
        each feature's share of the trees' gain, and what ordering a segment's classes costs beside the ensemble.
        """
        codes, gains, seconds = [], [], 0.0
        for fold, scored in enumerate(self.folds):
            ranker, priors = self.learned_from([other for other in range(FOLDS) if other != fold])
            path = out / f"fold{fold}" / MATRIX
            path.parent.mkdir(parents=True, exist_ok=True)
            started = time.process_time()
            new = self.reorder(scored, ranker, priors)
            seconds += time.process_time() - started
            _write(path, scored.ensemble, new, vocabulary)
            codes.append(new[scored.ensemble.rows_of(self.members.rated[fold].ids)])
            gains.append(ranker.importance())
        folds = [rated_map(*fold) for fold in zip(codes, self.members.rated, strict=True)]
        importance = dict(zip(feature_names(self.members.names), np.mean(gains, axis=0).tolist(), strict=True))
        return {
            "pooled_rated_map_at_100k": mean_precision(rated_precisions(np.concatenate(codes), self.members.together)),
            "mean_rated_map_at_100k": float(np.mean(folds)),
            "fold_rated_map_at_100k": folds,
            "cpu_seconds_per_segment": seconds / sum(map(len, self.folds)),
            "importance": dict(sorted(importance.items(), key=lambda item: -item[1])),
        }

    def write_others(self, name: str, vocabulary: Vocabulary, out: Path) -> Path:
        """`<name>.npz`: the ensemble's matrix of other shards in the order that all five folds teach."""
        ensemble = ScoreMatrix.open(self.ensemble / f"{name}.npz")
        scored = Scored.of([member.others(name) for member in self.members.members], ensemble)
        path = out / f"{name}.npz"
        _write(path, ensemble, self.reorder(scored, *self.learned_from(range(FOLDS))), vocabulary)
        return path

    def learned_from(self, folds: Sequence[int]) -> tuple[Ranker, np.ndarray]:
        """What these folds teach, and the classes' priors (C,) among their ratings."""
        rated = self.members.rated
        classes = len(self.folds[0].ensemble.label_indices)
        priors = priors_of(RatedSegments.joined([rated[fold] for fold in folds]), classes)
        return Ranker.learn([rows_of(self.folds[fold], rated[fold], priors) for fold in folds], self.ranker), priors

    def reorder(self, scored: Scored, ranker: Ranker, priors: np.ndarray) -> np.ndarray:
        """(N, C) uint16: the ensemble's codes of some segments, every class in its new order."""
        codes = np.array(scored.ensemble.codes)
        for ordinal, prior in enumerate(priors.tolist()):
            column = codes[:, ordinal]
            candidates = candidates_of(column, self.order.candidates)
            features = features_of(scored, ordinal, prior)[candidates]
            codes[:, ordinal] = reordered(column, candidates, ranker.scores(features), self.order.weight)
        return codes


def _write(path: Path, ensemble: ScoreMatrix, codes: np.ndarray, vocabulary: Vocabulary) -> None:
    about = dataclasses.replace(ensemble.about, run=NAME, checkpoint=_digest(ensemble.about, codes))
    ends = np.searchsorted(ensemble.segment_videos, np.arange(len(ensemble.video_ids)), side="right").tolist()
    rows = zip(ensemble.video_ids.tolist(), [0, *ends], ends, strict=False)
    starts = ensemble.segment_starts.astype(np.int64)
    videos = (VideoScores(video, starts[first:end], codes[first:end]) for video, first, end in rows)
    write_score_matrix(path, about, vocabulary, videos)


def _digest(about: About, codes: np.ndarray) -> str:
    """Trees have no file of their own: what they made of the ensemble's codes stands for them."""
    return hashlib.sha256(about.checkpoint.encode() + np.ascontiguousarray(codes, "<u2").tobytes()).hexdigest()


def rows_of(scored: Scored, rated: RatedSegments, priors: np.ndarray) -> Rows:
    """A fold's rated pairs as rows to learn from."""
    rows = scored.ensemble.rows_of(rated.ids)[rated.rows]  # (P,)
    features, labels, ordinals = [], [], []
    for ordinal in np.unique(rated.ordinals).tolist():
        pairs = np.flatnonzero(rated.ordinals == ordinal)
        features.append(features_of(scored, ordinal, priors[ordinal])[rows[pairs]])
        labels.append(rated.scores[pairs] > 0)
        ordinals.append(rated.ordinals[pairs])
    return Rows(np.concatenate(features), np.concatenate(labels).astype(np.int64), np.concatenate(ordinals))


def priors_of(rated: RatedSegments, classes: int) -> np.ndarray:
    """(C,) float64: the logit of each class's share of yes among its ratings, one of each added."""
    yes = np.bincount(rated.ordinals[rated.scores > 0], minlength=classes) + 1.0
    no = np.bincount(rated.ordinals[rated.scores <= 0], minlength=classes) + 1.0
    return np.log(yes / no)
