"""Rated MAP: how well scores rank the segments that people rated. The figure that training is judged by; no TensorFlow.

Only rated segments of a class are ranked, so the figure is comparable between runs, not with a whole library's.

S segments, C classes, P rated pairs of a segment and a class.
"""

import numpy as np

from segsearch.core import ranking
from segsearch.training.input.survey import RatedSegments

RATED_MAP = "rated_map_at_100k"
RATED_PROTOCOL = "mean over classes of average precision among the rated segments of the class, 16-bit scores"


def rated_map(codes: np.ndarray, rated: RatedSegments) -> float:
    """MAP@100k of (S, C) score codes over the rated pairs; nan without a positive."""
    return mean_precision(rated_precisions(codes, rated))


def mean_precision(precisions: dict[int, float]) -> float:
    """The mean over classes; nan where there is none."""
    return float(np.mean(list(precisions.values()))) if precisions else float("nan")


def rated_precisions(codes: np.ndarray, rated: RatedSegments) -> dict[int, float]:
    """Average precision at 100,000 of each class that has a positive, by ordinal, for (S, C) score codes."""
    return pair_precisions(codes[rated.rows, rated.ordinals].astype(np.int64), rated)


def pair_precisions(scores: np.ndarray, rated: RatedSegments) -> dict[int, float]:
    """The same for the pairs' own scores (P,), which may be negated. Ties keep the segments' order."""
    hits = rated.scores > 0  # (P,)
    order = np.lexsort((rated.rows, -scores, rated.ordinals))  # class after class, best first
    ordinals, hits = rated.ordinals[order], hits[order]
    starts = np.flatnonzero(np.diff(ordinals, prepend=-1))
    classes = zip(ordinals[starts].tolist(), np.split(hits, starts)[1:], strict=True)  # before the first there is none
    return {
        ordinal: ranking.average_precision_of_hits(ranked, int(ranked.sum()), ranking.MAP_CUT)
        for ordinal, ranked in classes
        if ranked.any()
    }
