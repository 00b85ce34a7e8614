"""Facts of core that hold for every input."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segsearch.core.features import dequantise, quantise
from segsearch.core.score_codes import HIGHEST, LOGITS, PROBABILITIES, decode, encode_logits, encode_probabilities
from segsearch.core.segments import cut_windows, parse_segment_id, segment_count, segment_id, segment_starts

probabilities = arrays.arrays(np.float32, st.integers(1, 50), elements=st.floats(0, 1, width=32))


@given(probabilities)
def test_score_codes_keep_the_order_of_probabilities(p):
    order = np.argsort(p, kind="stable")
    assert (np.diff(encode_probabilities(p)[order].astype(int)) >= 0).all()


@given(probabilities)
def test_a_probability_moves_little_through_its_code(p):
    assert np.abs(decode(encode_probabilities(p)) - p).max() <= 1.3e-4


def test_every_code_comes_back_from_its_own_logit():
    np.testing.assert_array_equal(encode_logits(LOGITS), np.arange(HIGHEST + 1))


def test_decoded_probabilities_never_fall_and_stay_in_range():
    assert (np.diff(PROBABILITIES) >= 0).all()
    assert PROBABILITIES[0] > 0
    assert PROBABILITIES[-1] <= 1


@given(arrays.arrays(np.float32, st.integers(1, 50), elements=st.floats(-2, 2, width=32)))
def test_quantising_moves_a_value_by_at_most_one_step(values):
    assert np.abs(dequantise(quantise(values)) - values).max() <= 4 / 255 + 1e-6


@given(st.integers(1, 700), st.integers(0, 20))
def test_windows_equal_the_frames_one_would_pick_by_hand(frame_count, context):
    frames = (np.arange(frame_count) % 256).astype(np.uint8)[:, None]
    windows, counts = cut_windows(frames, segment_starts(frame_count), context)
    assert len(windows) == segment_count(frame_count)
    for start, window, count in zip(segment_starts(frame_count), windows, counts, strict=True):
        picked = [frames[t, 0] for t in range(start - context, start + 5 + context) if 0 <= t < frame_count]
        assert window[:count, 0].tolist() == picked
        assert not window[count:].any()


@given(st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=20), st.integers(0, 10**6))
def test_segment_ids_come_apart_as_they_were_put_together(video_id, segment):
    assert parse_segment_id(segment_id(video_id, segment * 5)) == (video_id, segment * 5)
