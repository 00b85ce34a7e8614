"""Score matrices of folds: those that leak, or do not belong together, are refused."""

import dataclasses

import numpy as np
import pytest

from segsearch.core.errors import MatrixRefused
from segsearch.training.score_matrix import VideoScores, check_folds
from tests.made_up_matrix import ABOUT, VIDEOS, written

OTHER_VIDEOS = [VideoScores("dddd", np.array([0]), np.ones((1, 3), np.uint16))]


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
    return written(folder / "other.npz", dataclasses.replace(ABOUT, **changes), videos)
