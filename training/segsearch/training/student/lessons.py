"""What teachers say of every segment that a student learns from, and what people said: refused where it leaks.

A folder of teachers is what `segsearch ensemble` writes, or any run scored alike:

    fold0/train.npz ...     videos with video labels only, by networks that have not seen fold 0
    fold0/learned.npz ...   the rated shards of the other four folds, by the same networks
    fold0/test.npz ...      videos of which nothing is known
    fold0/matrix.npz ...    the fold's own videos, by the same networks
    train.npz, test.npz     as above, by the networks of all five folds

Fold f's student learns from fold f's first three. Nobody involved knows f's ratings: not the networks, nor the weights
that count them (but by way of other folds' networks, see docs/student.md). A student of all shards learns from the last
two, and of the rated shards from `matrix.npz` of each fold: every segment scored by networks that had not seen it.

N segments, B of a batch, C classes, P rated pairs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from segsearch.core.errors import MatrixRefused
from segsearch.core.score_codes import LOGITS
from segsearch.core.segments import segment_starts
from segsearch.core.videos import FRAME_CAP, read_videos
from segsearch.training.ensemble.members import MATRIX, check_lesson
from segsearch.training.folder import FOLDS, DataFolder
from segsearch.training.input.survey import RatedSegments
from segsearch.training.score_matrix import ScoreMatrix, check_folds

LEARNED, OTHERS = "learned.npz", ("train.npz", "test.npz")
ENSEMBLE = "ensemble.json"


@dataclass(frozen=True, eq=False)
class Lessons:
    """Matrices over disjoint videos, one behind the other, and where people's ratings lie in them."""

    matrices: tuple[ScoreMatrix, ...]
    shards: tuple[Path, ...]  # where the videos are
    rated_rows: np.ndarray  # (P,) int64 rows of the rated pairs, rising
    rated_ordinals: np.ndarray  # (P,) int64
    rated_scores: np.ndarray  # (P,) float32

    @classmethod
    def open(cls, teachers: Path, fold: int | None, data: DataFolder, rated: RatedSegments) -> "Lessons":
        """rated: the segments that people rated in the shards that the student may see.

        Raises MatrixRefused, by name, for a matrix that is missing, leaks, or is of other classes, features or shards.
        `check_segments` says the rest.
        """
        _refuse_ranks(teachers)
        matrices = _of_all(teachers) if fold is None else _of_fold(teachers, fold, data)
        for matrix in matrices:
            _check_data(matrix, data)
        _check_disjoint(matrices)
        shards = _shards_of(matrices, data)
        _check_rated_shards(teachers, matrices, data.rated if fold is None else data.fold(fold)[0])
        return cls(tuple(matrices), shards, *_rated_pairs(matrices, rated))

    def __len__(self) -> int:
        return sum(map(len, self.matrices))

    @property
    def digests(self) -> list[str]:
        """What each matrix was made by: another teacher is another run."""
        return [matrix.about.checkpoint for matrix in self.matrices]

    @cached_property
    def offsets(self) -> np.ndarray:
        """(M + 1,) int64: each matrix' first row, and the number of all."""
        return np.cumsum([0, *map(len, self.matrices)])

    @cached_property
    def rows_of_videos(self) -> dict[str, tuple[int, int]]:
        """Each video's first row and number of segments."""
        found: dict[str, tuple[int, int]] = {}
        for matrix, offset in zip(self.matrices, self.offsets.tolist(), strict=False):
            places = np.arange(len(matrix.video_ids))
            first = np.searchsorted(matrix.segment_videos, places, side="left") + offset
            counts = np.searchsorted(matrix.segment_videos, places, side="right") + offset - first
            found |= dict(
                zip(matrix.video_ids.tolist(), zip(first.tolist(), counts.tolist(), strict=True), strict=True)
            )
        return found

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """(B, C) float32: what the teachers say of these rows."""
        matrix_of = np.searchsorted(self.offsets, rows, side="right") - 1
        logits = np.empty((len(rows), len(self.matrices[0].label_indices)), np.float32)
        for number in np.unique(matrix_of).tolist():
            here = matrix_of == number
            logits[here] = LOGITS[self.matrices[number].codes[rows[here] - self.offsets[number]]]
        return logits

    def ratings(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels and weights (B, C) float32 of these rows: weight 1 where people rated, else 0."""
        labels = np.zeros((len(rows), len(self.matrices[0].label_indices)), np.float32)
        weights = np.zeros_like(labels)
        first, end = (np.searchsorted(self.rated_rows, rows, side=side) for side in ("left", "right"))
        for row, pairs in enumerate(map(slice, first, end)):
            labels[row, self.rated_ordinals[pairs]] = self.rated_scores[pairs]
            weights[row, self.rated_ordinals[pairs]] = 1
        return labels, weights

    def check_segments(self, data: DataFolder) -> None:
        """Reads the shards once; raises MatrixRefused where a matrix has other segments than they have."""
        seen = 0
        for video in read_videos(self.shards, data.features, cap=FRAME_CAP):
            found = self.rows_of_videos.get(video.id, (0, 0))[1]
            wanted = len(segment_starts(len(video.frames)))
            if found != wanted:
                path = self._matrix_of(video.id)
                raise MatrixRefused(path, f"{found} segments of video {video.id}", f"the {wanted} that it has")
            seen += 1
        if seen != len(self.rows_of_videos):
            spare = len(self.rows_of_videos) - seen
            raise MatrixRefused(self.matrices[0].path, f"{spare} videos more than the shards have", "the same videos")

    def _matrix_of(self, video: str) -> Path:
        return next((matrix.path for matrix in self.matrices if video in matrix.video_ids), self.matrices[0].path)


def _of_fold(teachers: Path, fold: int, data: DataFolder) -> list[ScoreMatrix]:
    folder = teachers / f"fold{fold}"
    names = [LEARNED, *(name for name in OTHERS if (folder / name).exists())]
    matrices = [ScoreMatrix.open(folder / name) for name in names]
    for matrix in matrices:
        check_lesson(matrix, fold, [shard.name for shard in data.fold(fold)[1]])
    return matrices


def _of_all(teachers: Path) -> list[ScoreMatrix]:
    folds = [ScoreMatrix.open(teachers / f"fold{fold}" / MATRIX) for fold in range(FOLDS)]
    check_folds(folds)
    others = [ScoreMatrix.open(teachers / name) for name in OTHERS if (teachers / name).exists()]
    for matrix in others:
        if not matrix.about.held_out:
            raise MatrixRefused(matrix.path, "shards that its network learned from", "shards that it has not seen")
    return [*folds, *others]


def _refuse_ranks(teachers: Path) -> None:
    """An ensemble of ranks says in which order segments stand, and not how sure anybody is."""
    path = teachers / ENSEMBLE
    if path.exists() and (way := json.loads(path.read_text()).get("way")) == "rank":
        raise MatrixRefused(path, f"way {way}", "probability, geometric or logit, whose scores are probabilities")


def _check_data(matrix: ScoreMatrix, data: DataFolder) -> None:
    wanted = {"vocabulary_digest": data.segment_vocabulary.digest, "feature_space": data.features.space}
    for name, value in wanted.items():
        if getattr(matrix.about, name) != value:
            found = f"{name} {getattr(matrix.about, name)}"
            raise MatrixRefused(matrix.path, found, f"{value}, as the data folder has")


def _check_disjoint(matrices: Sequence[ScoreMatrix]) -> None:
    seen: dict[str, ScoreMatrix] = {}
    for matrix in matrices:
        for video in matrix.video_ids.tolist():
            if video in seen:
                raise MatrixRefused(matrix.path, f"video {video}, as {seen[video].path} has", "each video once")
            seen[video] = matrix


def _shards_of(matrices: Sequence[ScoreMatrix], data: DataFolder) -> tuple[Path, ...]:
    files = {path.name: path for path in (*data.train, *data.rated, *data.unlabelled)}
    for matrix in matrices:
        foreign = next((name for name in matrix.about.shards if name not in files), None)
        if foreign is not None:
            raise MatrixRefused(matrix.path, f"scores of {foreign}", "scores of the data folder's shards")
    return tuple(files[name] for matrix in matrices for name in matrix.about.shards)


def _check_rated_shards(teachers: Path, matrices: Sequence[ScoreMatrix], rated: Sequence[Path]) -> None:
    scored = {name for matrix in matrices for name in matrix.about.shards}
    missing = next((path.name for path in rated if path.name not in scored), None)
    if missing is not None:
        raise MatrixRefused(teachers, f"no scores of {missing}", "every rated shard that the student learns from")


def _rated_pairs(matrices: Sequence[ScoreMatrix], rated: RatedSegments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, class and score of each rated pair (P,), in the order of rows."""
    row_of: dict[tuple[str, int], int] = {}
    offset = 0
    for matrix in matrices:
        videos = matrix.video_ids[matrix.segment_videos].tolist()
        segments = zip(videos, matrix.segment_starts.tolist(), strict=True)
        row_of |= {segment: offset + row for row, segment in enumerate(segments)}
        offset += len(matrix)
    missing = next((segment for segment in rated.ids if segment not in row_of), None)
    if missing is not None:
        found = f"no segment {missing[0]}:{missing[1]}"
        raise MatrixRefused(matrices[0].path, found, "every rated segment, here or in the matrices beside it")
    rows = np.array([row_of[segment] for segment in rated.ids], np.int64)[rated.rows]
    order = np.argsort(rows, kind="stable")
    return rows[order], rated.ordinals[order], rated.scores[order]
