"""Ranking metrics, as the 3rd YouTube-8M challenge counts them.

Sources: google/youtube-8m average_precision_calculator.py, eval_util.py, segment_eval_inference.py. Faults of the last
(it loses the last id of a line, and leaves unsubmitted classes out of the mean) are not reproduced.

N items of one list, B rows (videos or segments), C classes.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MAP_CUT = 100_000


def average_precision_of_hits(hits: np.ndarray, positives: int, cut: int | None = None) -> float:
    """Average precision of a list already ranked: hits (N,) bool, best first.

    Sum over hits of precision at their rank, divided by `positives` (or by `cut`, if that is smaller). No positives: 0.
    """
    if positives <= 0:
        return 0.0
    ranks = np.flatnonzero(hits[:cut]) + 1
    divisor = positives if cut is None else min(positives, cut)
    return float((np.arange(1, len(ranks) + 1) / ranks).sum() / divisor)


def average_precision(
    scores: np.ndarray, labels: np.ndarray, cut: int | None = None, positives: int | None = None
) -> float:
    """Average precision of scores (N,) against labels (N,); a label above 0 is a positive.

    Ties are broken as the starter code does, pseudo-randomly but always the same way, so that the order in which
    items come cannot favour anyone.
    """
    relevant = np.asarray(labels) > 0
    shuffled = np.array(random.Random(0).sample(range(len(relevant)), len(relevant)), np.int64)
    order = shuffled[np.argsort(-np.asarray(scores)[shuffled], kind="stable")]
    return average_precision_of_hits(relevant[order], int(relevant.sum()) if positives is None else positives, cut)


def mean_average_precision(scores: np.ndarray, labels: np.ndarray, cut: int | None = None) -> float:
    """Mean of average precision over the columns of (N, C) arrays that hold a positive; nan if none does."""
    columns = np.flatnonzero((labels > 0).any(axis=0))
    if not len(columns):
        return float("nan")
    return float(np.mean([average_precision(scores[:, c], labels[:, c], cut) for c in columns]))


def top_predictions(scores: np.ndarray, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row's k best scores with their labels, row after row: two (B * k,) arrays, from two (B, C).

    This is what the starter code feeds to its global metrics (eval_util.top_k_by_class, top_k_triplets).
    """
    columns = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, columns, 1).ravel(), np.take_along_axis(labels, columns, 1).ravel()


def global_average_precision(scores: np.ndarray, labels: np.ndarray, k: int = 20) -> float:
    """GAP@k: average precision over the pooled k best predictions of each row, all positives counted. (B, C) each."""
    best, found = top_predictions(scores, labels, k)
    return average_precision(best, found, positives=int((labels > 0).sum()))


def hit_at_one(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose best class is a positive. (B, C) each."""
    return float(np.mean(labels[np.arange(len(labels)), scores.argmax(axis=1)] > 0))


def precision_at_equal_recall(scores: np.ndarray, labels: np.ndarray) -> float:
    """PERR: per row, precision among as many best predictions as it has positives; mean over rows. (B, C) each.

    A prediction of 0 never counts, and a row without positives counts 0. Equal scores: the class that stands first wins
    (the starter code leaves that to numpy's argpartition, which changes between releases).
    """
    total = 0.0
    for row, truth in zip(scores, labels, strict=True):
        count = int((truth > 0).sum())
        best = np.argsort(-row, kind="stable")[:count]
        total += float((truth[best[row[best] > 0]] > 0).sum() / count) if count else 0.0
    return total / len(scores)


@dataclass(frozen=True, slots=True)
class SegmentMap:
    """MAP@k over segments: the mean, and each class's average precision by label index."""

    mean: float
    classes: Mapping[int, float]


class SegmentRatings:
    """People's ratings by class, for judging ranked lists of segments."""

    def __init__(self, rated: Iterable[tuple[str, int, float]]):
        """rated: (segment id, label index, score), score above 0 meaning yes. A pair rated twice keeps the last."""
        self.by_class: dict[int, dict[str, bool]] = {}
        for segment, label, score in rated:
            self.by_class.setdefault(int(label), {})[segment] = score > 0

    def __len__(self) -> int:
        return sum(map(len, self.by_class.values()))

    def positives(self, label: int) -> int:
        """How many segments show this class, submitted or not."""
        return sum(self.by_class.get(label, {}).values())

    def hits(self, label: int, ranked: Iterable[str]) -> np.ndarray:
        """(rated,) bool: the ratings of those ranked segments that have one, in rank order, each once."""
        rated = self.by_class.get(label, {})
        return np.array([rated[segment] for segment in dict.fromkeys(ranked) if segment in rated], bool)


def segment_map(
    ratings: SegmentRatings,
    ranked: Mapping[int, Sequence[str]],
    cut: int = MAP_CUT,
    labels: Iterable[int] | None = None,
) -> SegmentMap:
    """MAP@cut of ranked segment ids by label index: the challenge's metric (segment_eval_inference.py).

    Each list is cut first, then unrated segments are dropped: they cost places of the cut, nothing else. Averages over
    the classes that have a positive rating (within `labels`, if given); a class that was not submitted counts 0.
    """
    judged = [label for label in ratings.by_class if ratings.positives(label)]
    wanted = judged if labels is None else [label for label in labels if ratings.positives(label)]
    classes = {
        label: average_precision_of_hits(ratings.hits(label, ranked.get(label, ())[:cut]), ratings.positives(label))
        for label in wanted
    }
    return SegmentMap(float(np.mean(list(classes.values()))) if classes else float("nan"), classes)
