"""Ranking metrics on lists small enough to work out by hand."""

import numpy as np
import pytest

from segsearch.core.ranking import SegmentRatings, average_precision_of_hits, segment_map


def test_average_precision_of_a_hand_worked_list():
    # hits at ranks 1, 3 and 4 of four positives: (1/1 + 2/3 + 3/4) / 4
    assert average_precision_of_hits(np.array([1, 0, 1, 1, 0], bool), 4) == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)


def test_the_cut_bounds_ranks_and_divisor():
    assert average_precision_of_hits(np.array([1, 0, 1, 1], bool), 4, cut=2) == pytest.approx(1 / 2)


def test_unrated_segments_cost_places_of_the_cut_and_nothing_else():
    ratings = SegmentRatings([("a:0", 1, 1.0), ("b:0", 1, 0.0)])
    assert segment_map(ratings, {1: ["x:0", "a:0", "b:0"]}).mean == 1.0
    assert segment_map(ratings, {1: ["x:0", "a:0", "b:0"]}, cut=1).mean == 0.0


def test_a_class_that_was_not_submitted_counts_zero():
    ratings = SegmentRatings([("a:0", 1, 1.0), ("a:0", 2, 1.0)])
    assert segment_map(ratings, {1: ["a:0"]}).mean == 0.5


def test_a_segment_submitted_twice_counts_once():
    ratings = SegmentRatings([("a:0", 1, 1.0), ("b:0", 1, 1.0)])
    assert segment_map(ratings, {1: ["a:0", "a:0"]}).classes[1] == 0.5


def test_a_class_without_positives_is_not_judged():
    ratings = SegmentRatings([("a:0", 1, 1.0), ("a:0", 2, 0.0)])
    assert segment_map(ratings, {1: ["a:0"], 2: ["a:0"]}).classes == {1: 1.0}
