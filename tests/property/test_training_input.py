"""TensorFlow's reader and the plain one see the same videos and the same rated segments; an epoch can be re-entered."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from segsearch.core.features import FeatureSpec
from segsearch.core.records import write_records
from segsearch.core.segments import cut_windows, segment_count, segment_starts
from segsearch.core.videos import FRAME_CAP, Ratings, Video, parse_video, read_videos, serialise_video, streams_of
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.training.config import InputConfig, StageConfig
from segsearch.training.input.draw import draw_context, draw_rows
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.input.shards import Shards, parse
from segsearch.training.input.survey import survey_ratings
from segsearch.training.input.videos import VideoExamples

FEATURES = FeatureSpec.parse("rgb:3,audio=sound:2")
VOCABULARY = Vocabulary(Entry(label, f"class {label}") for label in (4, 0, 9, 2))
LABELS = st.sampled_from([4, 0, 9, 2])


@st.composite
def videos(draw):
    frame_count = draw(st.integers(1, 12) | st.just(FRAME_CAP + 3))
    segments = st.integers(0, segment_count(frame_count) - 1)
    pairs = draw(st.lists(st.tuples(segments, LABELS, st.sampled_from([0.0, 1.0])), max_size=8))
    starts, labels, scores = zip(*pairs, strict=True) if pairs else ((), (), ())
    ratings = Ratings(np.array(starts, np.int64) * 5, np.array(labels, np.int64), np.array(scores, np.float32))
    frames = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, (frame_count, FEATURES.size), np.uint8)
    labels = np.array(draw(st.lists(LABELS, max_size=4)), np.int64)
    return Video("some", labels, ratings, frames=frames)


@settings(max_examples=25)
@given(videos())
def test_both_readers_see_the_same_video(video):
    payload = serialise_video(video, FEATURES)
    _assert_equal(parse_video(payload, FEATURES, cap=FRAME_CAP), parse(tf.constant(payload), FEATURES))


@settings(max_examples=8)  # each compiles an input pipeline
@given(st.lists(videos(), min_size=1, max_size=6), st.integers(0, 6))
def test_rated_windows_are_cores_windows(some, context):
    with tempfile.TemporaryDirectory() as folder:
        shard = _write(Path(folder) / "some.tfrecord", some)
        _assert_windows_are_cores([shard], FEATURES, VOCABULARY, context)


def test_both_readers_see_the_same_real_videos(shared):
    files = sorted((shared / "data" / "tiny").glob("*.tfrecord"))
    _assert_equal_readers(files, streams_of(files[0]))
    golden = [shared / "golden" / name for name in ("frame_level.tfrecord", "segment_level.tfrecord")]
    _assert_equal_readers(golden, streams_of(golden[0]))


def test_real_rated_windows_are_cores_windows(shared):
    files = sorted((shared / "data" / "tiny").glob("validate*.tfrecord"))
    vocabulary = Vocabulary.read(shared / "data" / "vocabulary.csv")
    _assert_windows_are_cores(files, streams_of(files[0]), vocabulary, context=5)


@settings(max_examples=50)
@given(st.integers(1, 400), st.integers(1, 20), st.sampled_from(["random", "contiguous"]), st.integers(0, 1000))
def test_drawn_rows_are_frames_of_the_video(frame_count, frames, draw, position):
    config = StageConfig(frames=frames, frame_draw=draw)
    seed = tf.constant([7, position], tf.int64)
    rows = draw_rows(config, tf.constant(frame_count), seed).numpy()
    assert rows.shape == (frames,)
    assert ((rows >= 0) & (rows < frame_count)).all()
    if draw == "contiguous":
        assert (rows == np.minimum(rows[0] + np.arange(frames), frame_count - 1)).all()
        assert rows[0] <= max(frame_count - frames, 0)
    np.testing.assert_array_equal(draw_rows(config, tf.constant(frame_count), seed), rows)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("draw", ["random", "all"])
def test_an_epoch_entered_at_a_batch_goes_on_as_it_would_have(shared, cache, draw):
    files = sorted((shared / "data" / "tiny").glob("validate*.tfrecord"))
    features, vocabulary = streams_of(files[0]), Vocabulary.read(shared / "data" / "vocabulary.csv")
    stage, config = StageConfig(batch_size=8, frame_draw=draw), InputConfig(cache=cache, shuffle_videos=16)
    for examples in (
        VideoExamples(files, features, vocabulary, stage, config, 3),
        SegmentExamples(files, features, vocabulary, 5, stage, config, 3),
    ):
        whole = list(examples.epoch(2))
        rest = list(examples.epoch(2, skip=3))
        assert len(rest) == len(whole) - 3
        for some, other in zip(whole[3:], rest, strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, some, other)


def test_every_epoch_shows_every_video_once_in_another_order(shared):
    files = sorted((shared / "data" / "tiny").glob("train*.tfrecord"))
    features, vocabulary = streams_of(files[0]), Vocabulary.read(shared / "data" / "vocabulary.csv")
    stage = StageConfig(batch_size=64, frame_draw="all")
    examples = VideoExamples(files, features, vocabulary, stage, InputConfig(), 0)
    orders = [next(iter(examples.epoch(number)))["labels"].numpy() for number in (0, 1)]
    assert not np.array_equal(*orders)
    np.testing.assert_array_equal(*(np.sort(labels, axis=0) for labels in orders))


def _write(path, some):
    write_records(path, (serialise_video(video, FEATURES) for video in some))
    return path


def _assert_equal_readers(files, features):
    plain = list(read_videos(files, features, cap=FRAME_CAP))
    records = [parse(serialised, features) for serialised in Shards(files, InputConfig(), 0).in_order()]
    for video, record in zip(plain, records, strict=True):
        _assert_equal(video, record)


def _assert_equal(video, record):
    np.testing.assert_array_equal(record.frames(tf.range(record.frame_count)), video.frames)
    np.testing.assert_array_equal(record.labels, [] if video.labels is None else video.labels)
    np.testing.assert_array_equal(record.starts, video.ratings.starts)
    np.testing.assert_array_equal(record.rated_labels, video.ratings.labels)
    np.testing.assert_array_equal(record.scores, video.ratings.scores)


def _assert_windows_are_cores(files, features, vocabulary, context):
    stage = StageConfig(frame_draw="all", batch_size=4)
    examples = SegmentExamples(files, features, vocabulary, context, stage, InputConfig(), 0)
    batches = [tf.nest.map_structure(np.asarray, batch) for batch in examples.in_order()]
    windows, counts, ids, labels, weights = [], [], [], [], []
    for video in read_videos(files, features, cap=FRAME_CAP):
        starts = dict.fromkeys(video.ratings.starts.tolist())
        starts = np.array([start for start in starts if start < len(video.frames)], np.int64)
        codes, frame_counts = cut_windows(video.frames, starts, context)
        for start, window, count in zip(starts.tolist(), codes, frame_counts, strict=True):
            windows.append(window)
            counts.append(count)
            ids.append((video.id, start))
            labels.append(np.zeros(len(vocabulary), np.float32))
            weights.append(np.zeros(len(vocabulary), np.float32))
            ratings = video.ratings
            for at, label, score in zip(ratings.starts, ratings.labels, ratings.scores, strict=True):
                if at == start:
                    labels[-1][vocabulary.ordinal_of(label)] = score
                    weights[-1][vocabulary.ordinal_of(label)] = 1
    surveys = [survey_ratings(path, features, vocabulary, vocabulary) for path in files]
    assert [segment for survey in surveys for segment in survey.ids] == ids
    assert sum(len(batch["codes"]) for batch in batches) == len(ids)
    for name, expected in (("codes", windows), ("frame_count", counts), ("labels", labels), ("weights", weights)):
        if ids:
            np.testing.assert_array_equal(np.concatenate([batch[name] for batch in batches]), expected)


@given(frame_count=st.integers(1, 40), context=st.integers(0, 7), seed=st.integers(0, 2**31))
def test_a_drawn_context_is_the_segment_with_fewer_frames_around_it(frame_count, context, seed):
    frames = np.arange(frame_count, dtype=np.uint8)[:, None] + 1
    starts = segment_starts(frame_count)
    codes, counts = cut_windows(frames, starts, context)
    before = starts - np.maximum(starts - context, 0)
    batch = {"codes": codes, "frame_count": counts, "before": before.astype(np.int32)}
    drawn = tf.nest.map_structure(np.asarray, draw_context(batch, context, tf.constant([seed, 0], tf.int64)))
    narrower = [cut_windows(frames, starts, kept) for kept in range(context + 1)]
    for row, (window, count) in enumerate(zip(drawn["codes"], drawn["frame_count"], strict=True)):
        shown = window[:count, 0].tolist()
        assert shown in [windows[row, : counts[row], 0].tolist() for windows, counts in narrower]
        assert not window[count:].any()
