"""The models of an ensemble: each one's held-out score matrices of five folds, checked to go together.

Where it stands: `segsearch train RUN --fold all` leaves `fold0/matrix.npz` ... in its folder, which is a member.
Nothing that leaks gets past here: a fold scored by a network that learned from it is refused.

N segments of a fold, C classes, P rated pairs of a fold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from segsearch.core.errors import ConfigError, MatrixRefused
from segsearch.core.score_matrix import ScoreMatrix, check_same_segments
from segsearch.training.folder import FOLDS, DataFolder
from segsearch.training.input.survey import RatedSegments, survey_ratings
from segsearch.training.score_matrix import check_folds

MATRIX = "matrix.npz"


@dataclass(frozen=True, eq=False)
class Member:
    """One model, by five networks of it."""

    folder: Path
    folds: tuple[ScoreMatrix, ...]  # held-out videos of each fold, by the network that has not seen them

    @classmethod
    def open(cls, folder: Path) -> "Member":
        """Raises MatrixRefused for a fold that is missing, damaged, or scored by a network that learned from it."""
        matrices = tuple(ScoreMatrix.open(folder / f"fold{number}" / MATRIX) for number in range(FOLDS))
        check_folds(matrices)
        for number, matrix in enumerate(matrices):
            if matrix.about.fold != number:
                raise MatrixRefused(matrix.path, f"fold {matrix.about.fold}", f"fold {number}")
        return cls(folder, matrices)

    @property
    def name(self) -> str:
        return self.folder.name

    def others(self, name: str) -> tuple[ScoreMatrix, ...]:
        """What the five networks say of other shards: `fold0/<name>.npz` ..., one segment table."""
        matrices = tuple(ScoreMatrix.open(self.folder / f"fold{number}" / f"{name}.npz") for number in range(FOLDS))
        for number, matrix in enumerate(matrices):
            if matrix.about.fold != number:
                raise MatrixRefused(matrix.path, f"fold {matrix.about.fold}", f"fold {number}")
            if not matrix.about.held_out:
                raise MatrixRefused(matrix.path, "shards that its network learned from", "shards that it has not seen")
            check_same_segments(matrices[0], matrix)
        return matrices

    def lesson(self, name: str, fold: int) -> ScoreMatrix:
        """`fold<fold>/<name>.npz`: what that fold's network says of other shards, those it learned from included.

        Raises MatrixRefused where it learned from the fold, or scores it.
        """
        matrix = ScoreMatrix.open(self.folder / f"fold{fold}" / f"{name}.npz")
        check_lesson(matrix, fold, self.folds[fold].about.shards)
        return matrix


@dataclass(frozen=True, eq=False)
class Members:
    """Models that scored the same segments, and what people said of these."""

    members: tuple[Member, ...]
    rated: tuple[RatedSegments, ...]  # of each fold

    @classmethod
    def open(cls, folders: Sequence[Path], data: DataFolder) -> "Members":
        """Raises ConfigError for two folders of one name, MatrixRefused naming the first matrix that does not fit."""
        names = [folder.name for folder in folders]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError("members", f"two folders named {twice}", "a name of its own for each")
        members = tuple(map(Member.open, folders))
        for member in members:
            for first, matrix in zip(members[0].folds, member.folds, strict=True):
                check_same_segments(first, matrix)
        _check_vocabulary(members[0].folds[0], data)
        return cls(members, tuple(rated_of(data, number) for number in range(FOLDS)))

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.members]

    @cached_property
    def together(self) -> RatedSegments:
        """All folds' rated segments in one list."""
        return RatedSegments.joined(self.rated)

    def pair_codes(self, member: Member, fold: int) -> np.ndarray:
        """(P,) uint16: a member's codes of the fold's rated pairs."""
        matrix, rated = member.folds[fold], self.rated[fold]
        return np.asarray(matrix.codes[matrix.rows_of(rated.ids)[rated.rows], rated.ordinals])


def check_lesson(matrix: ScoreMatrix, fold: int, held_out: Sequence[str]) -> None:
    """Raises MatrixRefused unless a matrix may teach a student of the fold.

    held_out: names of the fold's shards. A network that learned from one would tell the student what the fold's
    ratings say, and its scores of one would show the student what it is to be judged by.
    """
    about = matrix.about
    if about.fold != fold:
        raise MatrixRefused(matrix.path, f"fold {about.fold}", f"fold {fold}")
    for what, shards in (("a network that learned from", about.trained_on), ("scores of", about.shards)):
        if leaking := sorted(set(shards) & set(held_out)):
            raise MatrixRefused(matrix.path, f"{what} {leaking[0]}", f"nothing of fold {fold}, by which it is judged")


def _check_vocabulary(matrix: ScoreMatrix, data: DataFolder) -> None:
    found, wanted = matrix.about.vocabulary_digest, data.segment_vocabulary.digest
    if found != wanted:
        raise MatrixRefused(matrix.path, f"vocabulary_digest {found}", f"{wanted}, as the data folder's classes have")


def rated_of(data: DataFolder, fold: int) -> RatedSegments:
    """What people said of a fold's segments."""
    parts = (data.features, data.vocabulary, data.segment_vocabulary)
    return RatedSegments.joined([survey_ratings(path, *parts) for path in data.fold(fold)[1]])
