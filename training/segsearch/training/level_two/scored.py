"""Some segments as every model and the ensemble of them score them, class by class.

Where it stands: made of score matrices by `levels`; `features` reads one class at a time, so that memory follows the
number of segments and not that of classes.

N segments, C classes, M models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segsearch.core.score_codes import LOGITS
from segsearch.core.score_matrix import check_same_segments
from segsearch.training.score_matrix import ScoreMatrix

_ROWS = 1 << 14  # looked at together


@dataclass(frozen=True, eq=False)
class Scored:
    """Matrices over one segment table."""

    models: tuple[tuple[ScoreMatrix, ...], ...]  # of each model one, or five networks' whose mean logit counts
    ensemble: ScoreMatrix

    @classmethod
    def of(cls, models: Sequence[Sequence[ScoreMatrix]], ensemble: ScoreMatrix) -> "Scored":
        """Raises MatrixRefused for a matrix of other segments, classes or feature space."""
        for matrix in (matrix for model in models for matrix in model):
            check_same_segments(ensemble, matrix)
        return cls(tuple(map(tuple, models)), ensemble)

    def __len__(self) -> int:
        return len(self.ensemble)

    def model_logits(self, ordinal: int) -> np.ndarray:
        """(M, N) float32 of one class."""
        return np.stack([
            np.mean([LOGITS[matrix.codes[:, ordinal]] for matrix in model], axis=0, dtype=np.float32)
            for model in self.models
        ])  # fmt: skip

    def ensemble_logits(self, ordinal: int) -> np.ndarray:
        """(N,) float32 of one class."""
        return LOGITS[self.ensemble.codes[:, ordinal]]

    @cached_property
    def best_logits(self) -> np.ndarray:
        """(N,) float32: the ensemble's logit of each segment's best class."""
        codes = self.ensemble.codes
        best = [codes[first : first + _ROWS].max(axis=1) for first in range(0, len(codes), _ROWS)]
        return LOGITS[np.concatenate(best)] if best else np.empty(0, np.float32)

    @cached_property
    def starts(self) -> np.ndarray:
        """(V,) int64: each video's first row, of the videos that have any."""
        return np.flatnonzero(np.diff(self.ensemble.segment_videos.astype(np.int64), prepend=-1))

    @cached_property
    def counts(self) -> np.ndarray:
        """(V,) int64: each video's segments."""
        return np.diff(self.starts, append=len(self))

    @cached_property
    def places(self) -> np.ndarray:
        """(N,) int64: each segment's place in its video, from 0."""
        return np.arange(len(self)) - np.repeat(self.starts, self.counts)
