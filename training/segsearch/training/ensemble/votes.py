"""How scores of several models become comparable: each code is looked up as a vote, and votes are averaged.

Where it stands: `weights` averages votes of rated pairs to find weights, `blend` those of whole matrices. All ways are
tables over the 65,536 codes, so that a matrix is never held as anything wider than its codes.

N segments, C classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from segsearch.core.score_codes import LOGITS, PROBABILITIES, encode_logits, encode_probabilities
from segsearch.training.checks import one_of

CODES = 1 << 16
_COUNTED_ROWS = 1 << 14  # rows whose codes are counted at a time
WAYS = ("probability", "geometric", "logit", "rank")


@dataclass(frozen=True, eq=False)
class Votes:
    """One matrix's votes: a table for all classes, or one for each."""

    table: np.ndarray  # (65536,) or (C, 65536) float32

    def of(self, codes: np.ndarray, ordinals: np.ndarray | None = None) -> np.ndarray:
        """Votes float32 in the shape of `codes`; ordinals: their classes, by default the last axis' columns."""
        if self.table.ndim == 1:
            return self.table[codes]
        columns = np.arange(codes.shape[-1]) if ordinals is None else ordinals
        return self.table[columns, codes]


def votes_of(way: str, codes: np.ndarray) -> Votes:
    """What the codes (N, C) of one matrix count as.

    way: "probability", whose mean is the paper's; "geometric", the mean of its logarithm; "logit"; "rank", the share of
    the matrix's segments that a class ranks lower, ties in the middle, which forgets how sure a model was.
    """
    one_of("way", way, WAYS)
    if way == "rank":
        return Votes(_ranks(codes))
    tables = {"probability": PROBABILITIES, "geometric": _log_probabilities(), "logit": LOGITS}
    return Votes(tables[way])


def codes_of(way: str, mean: np.ndarray) -> np.ndarray:
    """Mean votes of any shape back to uint16 score codes."""
    if way == "logit":
        return encode_logits(mean)
    # A mean of float32 ones may be above 1 by a rounding.
    return encode_probabilities(np.minimum(np.exp(mean) if way == "geometric" else mean, 1.0))


def weighted_mean(votes: Iterable[np.ndarray], weights: Iterable[float]) -> np.ndarray:
    """Sum of votes times weights over the sum of weights, float64. Weights are not negative, and not all 0."""
    total, mean = 0.0, np.float64(0)
    for part, weight in zip(votes, weights, strict=True):
        mean = mean + part * np.float64(weight)
        total += weight
    return mean / total


def _log_probabilities() -> np.ndarray:
    return -np.log1p(np.exp(-LOGITS.astype(np.float64))).astype(np.float32)


def _ranks(codes: np.ndarray) -> np.ndarray:
    """(C, 65536) float32: the share of a class's segments below each code, those equal to it counted half."""
    classes = codes.shape[1]
    counts = np.zeros(classes * CODES, np.int64)
    offsets = np.arange(classes, dtype=np.int64) * CODES
    for first in range(0, len(codes), _COUNTED_ROWS):
        block = codes[first : first + _COUNTED_ROWS] + offsets
        counts += np.bincount(block.ravel(), minlength=classes * CODES)
    counts = counts.reshape(classes, CODES)
    below = np.cumsum(counts, axis=1) - counts
    return ((below + 0.5 * counts) / max(len(codes), 1)).astype(np.float32)
