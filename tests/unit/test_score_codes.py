"""What 16 bits do to a rare class: how many places of its list the codes leave to chance."""

import numpy as np
import pytest

from segsearch.core.score_codes import encode_logits

SEGMENTS, KEPT = 2_062_258, 100_000  # the challenge's test library, and the places of a list


@pytest.fixture(scope="module", params=range(2))
def rare_logits(request) -> np.ndarray:
    """Logits of every segment for a class that hardly ever occurs."""
    return np.random.default_rng(request.param).normal(-13, 1, SEGMENTS)


def tied_places(codes: np.ndarray) -> int:
    """Places of the list that could as well have gone to a segment left out: both have the last place's code."""
    last = np.partition(codes, SEGMENTS - KEPT)[SEGMENTS - KEPT]
    tied, kept = int((codes == last).sum()), KEPT - int((codes > last).sum())
    return min(kept, tied - kept)


def test_logit_codes_of_a_rare_class_tie_less_than_a_thousandth_of_its_list(rare_logits):
    assert tied_places(encode_logits(rare_logits)) < KEPT / 1_000


def test_linear_probabilities_of_a_rare_class_tie_three_quarters_of_its_list(rare_logits):
    assert tied_places(linear_codes(rare_logits)) > 0.75 * KEPT


def test_logit_codes_keep_a_hundred_times_as_many_values_apart(rare_logits):
    assert distinct(encode_logits(rare_logits)) > 100 * distinct(linear_codes(rare_logits))


def linear_codes(logits: np.ndarray) -> np.ndarray:
    """Probabilities in steps of 1/65,535, as the paper stores them."""
    return np.rint(65_535 / (1 + np.exp(-logits))).astype(np.uint16)


def distinct(codes: np.ndarray) -> int:
    """Distinct codes in the list."""
    best = np.partition(codes, SEGMENTS - KEPT)[SEGMENTS - KEPT :]
    return int((np.bincount(best) > 0).sum())
