"""Level two's scores back in a class's whole column: it reorders the candidates, and leaves the others behind them.

Where it stands: `levels` calls it class by class. Trees that saw rated pairs alone say little of a segment that nobody
would have shown to a rater, so only the ensemble's best are candidates. They share out among themselves the codes that
they had: the order is total, scores stay scores, and the column's other codes stay below as they were.

N segments, K candidates.
"""

import numpy as np


def candidates_of(codes: np.ndarray, count: int) -> np.ndarray:
    """(K,) int64 rows of the `count` highest codes (N,), of equal ones the earlier; best first."""
    return np.argsort(-codes.astype(np.int64), kind="stable")[:count]


def reordered(codes: np.ndarray, candidates: np.ndarray, scores: np.ndarray, weight: float) -> np.ndarray:
    """(N,) uint16: the candidates' codes dealt out again, best score first.

    candidates: (K,) rows, best code first; scores: (K,) level two's. weight: from 0, the ensemble's own order, to 1,
    level two's; between the two, places are averaged.
    """
    count = len(candidates)
    places = np.empty(count, np.int64)
    places[np.argsort(-scores, kind="stable")] = np.arange(count)
    order = np.argsort(weight * places + (1 - weight) * np.arange(count), kind="stable")
    dealt = codes.copy()
    dealt[candidates[order]] = codes[candidates]
    return dealt
