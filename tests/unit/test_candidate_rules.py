"""Candidate rules: each moves what it says it moves, by hand-computed figures, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segsearch.core.errors import ConfigError
from segsearch.core.score_codes import decode, encode_probabilities
from segsearch.training.ensemble.candidates import CandidateRules, inside, mixed_with_video, smoothed

videos = arrays(np.uint16, st.tuples(st.integers(1, 8), st.integers(1, 3)))


def starts_of(codes):
    return 5 * np.arange(len(codes))


@given(videos)
def test_without_a_rule_every_code_stays(codes):
    assert CandidateRules().of(codes, starts_of(codes)) is codes


def test_a_segment_moves_towards_the_mean_of_the_videos_best_three():
    scores = np.array([[0.9], [0.6], [0.3], [0.1]])
    best = (0.9 + 0.6 + 0.3) / 3
    expected = [[p**0.75 * best**0.25] for p in (0.9, 0.6, 0.3, 0.1)]
    np.testing.assert_allclose(mixed_with_video(scores, 0.25), expected)


@given(videos, st.floats(0, 0.99))
def test_the_video_leaves_the_order_of_its_own_segments(codes, power):
    scores = decode(codes).astype(np.float64)
    mixed = mixed_with_video(scores, power)
    for before, after in zip(scores.T, mixed.T, strict=True):
        assert (np.diff(after[np.argsort(before, kind="stable")]) >= -1e-12).all()


def test_a_segment_moves_towards_its_neighbours_and_at_an_end_towards_the_one_there_is():
    scores = np.array([[0.0], [0.8], [0.4]])
    np.testing.assert_allclose(smoothed(scores, 0.5), [[0.4], [0.5], [0.6]])


@given(videos, st.floats(0, 0.99))
def test_smoothing_equals_a_loop_over_segments(codes, share):
    scores = decode(codes).astype(np.float64)
    expected = scores.copy()
    for row in range(len(scores)):
        beside = [scores[other] for other in (row - 1, row + 1) if 0 <= other < len(scores)]
        if beside:
            expected[row] = (1 - share) * scores[row] + share * np.mean(beside, axis=0)
    np.testing.assert_allclose(smoothed(scores, share), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("first_s", "last_s", "kept"),
    [(0, 0, [1, 1, 1, 1]), (1, 0, [0, 1, 1, 1]), (5, 0, [0, 1, 1, 1]), (6, 5, [0, 0, 1, 0]), (30, 30, [0, 0, 0, 0])],
)
def test_segments_in_a_videos_first_and_last_seconds_are_outside(first_s, last_s, kept):
    np.testing.assert_array_equal(inside(np.array([0, 5, 10, 15]), first_s, last_s), np.array(kept, bool))


def test_a_skipped_segment_ranks_behind_all_others():
    codes = encode_probabilities(np.array([[0.99], [1e-9], [0.5]]))
    moved = CandidateRules(skip_first_s=5).of(codes, starts_of(codes))
    assert moved[0, 0] < moved[1, 0] < moved[2, 0]
    np.testing.assert_array_equal(moved[1:], codes[1:])


def test_rules_work_together_as_one_after_the_other():
    codes = encode_probabilities(np.array([[0.9, 0.2], [0.5, 0.1], [0.1, 0.3]]))
    rules = CandidateRules(video_power=0.3, smoothing=0.2, skip_last_s=5)
    scores = mixed_with_video(smoothed(decode(codes).astype(np.float64), 0.2), 0.3)
    moved = rules.of(codes, starts_of(codes))
    np.testing.assert_allclose(decode(moved[:2]), scores[:2], atol=2e-4)
    assert (moved[2] == 0).all()


@pytest.mark.parametrize(
    "field", [{"video_power": 1.0}, {"smoothing": -0.1}, {"skip_first_s": -1}, {"skip_last_s": -5}]
)
def test_a_rule_that_makes_no_sense_is_refused_by_name(field):
    with pytest.raises(ConfigError, match=next(iter(field))):
        CandidateRules(**field)
