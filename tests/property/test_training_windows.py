"""Windows inside a tf.data graph are core's, shifted or not; unlabelled batches are segments of their shards."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from segsearch.core.features import FeatureSpec
from segsearch.core.segments import cut_windows, segment_starts, shift_starts
from segsearch.core.videos import Video, read_videos, serialise_video, streams_of
from segsearch.core.vocabulary import Vocabulary
from segsearch.training.config import InputConfig, StageConfig
from segsearch.training.input import windows
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.input.shards import parse
from segsearch.training.input.unlabelled import SEGMENTS_A_VISIT, BesideUnlabelled, UnlabelledSegments

FEATURES = FeatureSpec.parse("rgb:3,audio:2")


@pytest.fixture
def tiny(shared):
    """The few test shards of AudioSet-Segments, and their features."""
    files = sorted((shared / "data" / "tiny").glob("test*.tfrecord"))
    return files, streams_of(files[0])


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 6), st.integers(-12, 12))
def test_both_cut_the_same_windows(frame_count, context, shift):
    frames = np.random.default_rng(frame_count).integers(1, 256, (frame_count, FEATURES.size), np.uint8)
    starts = segment_starts(frame_count)
    record = parse(tf.constant(serialise_video(Video("some", None, frames=frames), FEATURES)), FEATURES)
    shifted = windows.shift_starts(tf.constant(starts), record.frame_count, shift)
    np.testing.assert_array_equal(shifted, shift_starts(starts, frame_count, shift))
    cut = windows.cut_windows(record, FEATURES, shifted, context)
    codes, counts = cut_windows(frames, shift_starts(starts, frame_count, shift), context)
    np.testing.assert_array_equal(cut.codes, codes)
    np.testing.assert_array_equal(cut.frame_count, counts)


@given(st.integers(1, 400), st.integers(-30, 30))
def test_a_shifted_segment_lies_within_its_video_and_is_never_shorter(frame_count, shift):
    starts = segment_starts(frame_count)
    shifted = shift_starts(starts, frame_count, shift)
    assert ((shifted >= 0) & (shifted < frame_count)).all()
    assert (np.minimum(frame_count - shifted, 5) >= np.minimum(frame_count - starts, 5)).all()
    assert (np.abs(shifted - starts) <= abs(shift)).all()


@given(st.integers(1, 400))
def test_no_shift_moves_nothing(frame_count):
    starts = segment_starts(frame_count)
    np.testing.assert_array_equal(shift_starts(starts, frame_count, 0), starts)


def test_shifts_stop_at_the_ends_and_do_not_wrap_around():
    starts = np.array([0, 5, 10, 15])  # of 17 frames: the last segment has two
    assert shift_starts(starts, 17, -2).tolist() == [0, 3, 8, 13]
    assert shift_starts(starts, 17, 2).tolist() == [2, 7, 12, 15]
    assert shift_starts(starts, 17, 4).tolist() == [4, 9, 12, 15]


def test_unlabelled_batches_are_windows_of_segments_of_their_shards(tiny):
    files, features = tiny
    known = set()
    for video in read_videos(files, features):
        codes, counts = cut_windows(video.frames, segment_starts(len(video.frames)), 2)
        known |= {window[:count].tobytes() for window, count in zip(codes, counts, strict=True)}
    for batch in _unlabelled(tiny, batch_size=7).epoch(0).take(5):
        assert batch["codes"].shape == (7, 9, features.size)
        for codes, count in zip(batch["codes"].numpy(), batch["frame_count"].numpy(), strict=True):
            assert codes[:count].tobytes() in known
            assert not codes[count:].any()


def test_the_width_of_unlabelled_batches_is_known_before_they_are_read(tiny):
    # A network that is traced for them makes its weights of it.
    spec = _unlabelled(tiny, batch_size=7).epoch(0).element_spec
    assert spec["codes"].shape.as_list() == [7, 9, tiny[1].size]


def test_unlabelled_batches_never_end(tiny):
    batches = sum(1 for _ in _unlabelled(tiny, batch_size=64).epoch(0).take(40))
    assert batches * 64 > len(list(read_videos(*tiny))) * SEGMENTS_A_VISIT


@pytest.mark.parametrize("skip", [1, 4])
def test_unlabelled_batches_entered_late_are_those_that_would_have_come(tiny, skip):
    whole = list(_unlabelled(tiny, batch_size=7).epoch(3).take(6))
    rest = list(_unlabelled(tiny, batch_size=7).epoch(3, skip=skip).take(6 - skip))
    for some, other in zip(whole[skip:], rest, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, some, other)


def test_epochs_show_other_segments(tiny):
    first, second = (next(iter(_unlabelled(tiny, batch_size=7).epoch(number))) for number in (0, 1))
    assert not np.array_equal(first["codes"], second["codes"])


def test_a_labelled_epoch_is_the_same_with_unlabelled_segments_beside_it(shared, tiny):
    files = sorted((shared / "data" / "tiny").glob("validate*.tfrecord"))
    vocabulary = Vocabulary.read(shared / "data" / "vocabulary.csv")
    stage = StageConfig(batch_size=8, frame_draw="all")
    rated = SegmentExamples(files, tiny[1], vocabulary, 2, stage, InputConfig(shuffle_videos=16), 3)
    beside = BesideUnlabelled(rated, _unlabelled(tiny, batch_size=4))
    for alone, together in zip(rated.epoch(1, skip=2), beside.epoch(1, skip=2), strict=True):
        assert together.pop("unlabelled_codes").shape[0] == together.pop("unlabelled_frame_count").shape[0] == 4
        tf.nest.map_structure(np.testing.assert_array_equal, alone, together)


def _unlabelled(tiny, batch_size: int) -> UnlabelledSegments:
    return UnlabelledSegments(*tiny, 2, batch_size, InputConfig(shuffle_videos=8), 5)
