"""Streaming selection against a stable sort of everything."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segsearch.core.score_codes import HIGHEST
from segsearch.service.index.selection import Selection, select_plain

# Few distinct codes: ties everywhere, at the cut and at both ends of the range.
tied_codes = st.sampled_from([0, 1, 2, 3, HIGHEST - 1, HIGHEST])
libraries = st.tuples(st.integers(1, 60), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.uint16, shape, elements=tied_codes)
)


def stream(codes: np.ndarray, keep: int, slack: int, cuts: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    selection = Selection(codes.shape[1], keep, slack)
    for block in np.split(codes, sorted(cut % (len(codes) + 1) for cut in cuts)):
        selection.add(block)
    return list(selection.ranked())


@given(libraries, st.integers(1, 25), st.integers(1, 8))
def test_codes_may_come_class_by_class(codes, keep, slack):
    selection = Selection(codes.shape[1], keep, slack)
    for first in range(0, len(codes), 7):
        selection.add_by_class(np.ascontiguousarray(codes[first : first + 7].T))
    for found, wanted in zip(selection.ranked(), select_plain(codes, keep), strict=True):
        np.testing.assert_array_equal(np.stack(found), np.stack(wanted))


@given(libraries, st.integers(1, 25), st.integers(1, 8), st.lists(st.integers(0, 60), max_size=5))
def test_streaming_selection_equals_sorting_everything(codes, keep, slack, cuts):
    for found, wanted in zip(stream(codes, keep, slack, cuts), select_plain(codes, keep), strict=True):
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])


@given(st.integers(0, 2**32 - 1))
def test_a_long_stream_of_likely_codes_is_selected_exactly(seed):
    codes = np.random.default_rng(seed).normal(30_000, 300, (6_000, 3)).astype(np.uint16)
    for found, wanted in zip(stream(codes, 50, 64, [999, 2_500]), select_plain(codes, 50), strict=True):
        np.testing.assert_array_equal(np.stack(found), np.stack(wanted))
