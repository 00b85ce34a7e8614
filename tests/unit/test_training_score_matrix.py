"""Score matrices of folds: those that leak, or do not belong together, are refused."""

import dataclasses

import numpy as np
import pytest

from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.training.errors import MatrixRefused
from segsearch.training.score_matrix import About, ScoreMatrix, VideoScores, check_folds, write_score_matrix

VOCABULARY = Vocabulary(Entry(label, f"class {label}") for label in (4, 0, 9))
ABOUT = About(
    run="trial", stage="fold1", checkpoint="ab" * 32, fold=1, vocabulary_digest=VOCABULARY.digest,
    feature_space="youtube8m/audio128/-2..2", context_frames=5, shift=0, shards=("validate01.tfrecord",),
    trained_on=("validate00.tfrecord", "validate02.tfrecord"),
)  # fmt: skip
VIDEOS = [
    VideoScores("aaaa", np.array([0, 5, 10]), np.arange(9, dtype=np.uint16).reshape(3, 3)),
    VideoScores("ünü", np.array([0]), np.full((1, 3), 65535, np.uint16)),
    VideoScores("none", np.empty(0, np.int64), np.empty((0, 3), np.uint16)),
    VideoScores("cccc", np.array([0, 5]), np.full((2, 3), 7, np.uint16)),
]

OTHER_VIDEOS = [VideoScores("dddd", np.array([0]), np.ones((1, 3), np.uint16))]


@pytest.fixture
def matrix(tmp_path):
    return _written(tmp_path / "matrix.npz")


def test_folds_that_share_nothing_go_together(matrix, tmp_path):
    check_folds([matrix, _other_fold(tmp_path)])


def test_a_network_that_learned_from_what_it_scored_is_refused(matrix, tmp_path):
    leaking = _other_fold(tmp_path, trained_on=("validate02.tfrecord", "validate01.tfrecord"))
    assert not leaking.about.held_out
    with pytest.raises(MatrixRefused, match="its network learned from validate02"):
        check_folds([matrix, leaking])


def test_a_video_in_two_folds_is_refused(matrix, tmp_path):
    with pytest.raises(MatrixRefused, match="video cccc"):
        check_folds([matrix, _other_fold(tmp_path, videos=VIDEOS[3:])])


@pytest.mark.parametrize(
    "changes", [{"vocabulary_digest": "0"}, {"feature_space": "other"}, {"run": "other"}, {"shift": 2}]
)
def test_folds_of_another_making_are_refused_by_what_differs(matrix, tmp_path, changes):
    with pytest.raises(MatrixRefused, match=next(iter(changes))):
        check_folds([matrix, _other_fold(tmp_path, **changes)])


def _other_fold(folder, videos=OTHER_VIDEOS, **changes):
    changes = {"fold": 2, "shards": ("validate02.tfrecord",), "trained_on": ("validate01.tfrecord",), **changes}
    return _written(folder / "other.npz", dataclasses.replace(ABOUT, **changes), videos)


def _written(path, about=ABOUT, videos=VIDEOS) -> ScoreMatrix:
    write_score_matrix(path, about, VOCABULARY, iter(videos))
    return ScoreMatrix.open(path)
