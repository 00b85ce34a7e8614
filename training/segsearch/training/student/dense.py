"""How well scores rank whole videos, most of whose segments nobody rated: the figure beside rated MAP.

Where it stands: `findings` asks for it, fold by fold. A list of a class holds the pairs that people rated, and as
negatives all segments of videos that do not carry the class. Unrated segments of videos that do carry it stay out: it
may be there or not. A proxy.

N segments, V videos, C classes, P pairs of a segment and a class.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segsearch.core.score_matrix import ScoreMatrix
from segsearch.core.videos import Video, read_videos
from segsearch.core.vocabulary import Vocabulary
from segsearch.training.ensemble.members import MATRIX, rated_of
from segsearch.training.folder import FOLDS, DataFolder
from segsearch.training.input.survey import RatedSegments
from segsearch.training.rated_map import rated_map


@dataclass(frozen=True, eq=False)
class DenseJudge:
    """A data folder's rated videos, to judge any model's held-out matrices by."""

    rated: tuple[RatedSegments, ...]  # of each fold
    labelled: dict[str, np.ndarray]  # see `carried`

    @classmethod
    def open(cls, data: DataFolder) -> "DenseJudge":
        labelled = carried(read_videos(data.rated, data.features), data.segment_vocabulary)
        return cls(tuple(rated_of(data, fold) for fold in range(FOLDS)), labelled)

    def of(self, folder: Path) -> float:
        """The mean of five folds of `fold0/matrix.npz` ... below a folder; raises MatrixRefused for a missing one."""
        matrices = [ScoreMatrix.open(folder / f"fold{fold}" / MATRIX) for fold in range(FOLDS)]
        parts = zip(matrices, self.rated, strict=True)
        return float(np.mean([dense_map(matrix, rated, self.labelled) for matrix, rated in parts]))


def carried(videos: Iterable[Video], classes: Vocabulary) -> dict[str, np.ndarray]:
    """(C,) bool of each video: which classes its labels name; none of those of another vocabulary."""
    indices = np.array([entry.label_index for entry in classes.entries])
    return {video.id: np.isin(indices, video.labels) for video in videos if video.labels is not None}


def dense_map(matrix: ScoreMatrix, rated: RatedSegments, labelled: dict[str, np.ndarray]) -> float:
    """Mean over classes of average precision at 100,000; nan without a positive. Ties keep the segments' order.

    labelled: `carried` of the matrix' videos; one that is not there, as its labels are unknown, gives no negatives.
    """
    unknown = np.ones(len(matrix.label_indices), bool)
    carries = np.stack([labelled.get(video, unknown) for video in matrix.video_ids.tolist()])  # (V, C)
    said = matrix.rows_of(rated.ids)[rated.rows], rated.ordinals
    counted = ~carries[matrix.segment_videos]  # (N, C)
    counted[said] = True
    hits = np.zeros_like(counted)
    hits[said] = rated.scores > 0
    rows, ordinals = np.nonzero(counted)  # (P,), rated or not
    return rated_map(matrix.codes, RatedSegments((), rows, ordinals, hits[rows, ordinals].astype(np.float32), 0))
