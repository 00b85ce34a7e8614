"""TFRecord shards through tf.data: serialised records in a reproducible order, and what a record holds.

Where it stands: `videos` and `segments` make examples of these records. Records are shuffled and skipped while still
serialised: a resumed run passes over what it has seen at the cost of reading, not of parsing. Only frames that are
drawn are ever decoded. A record that cannot be used raises from TensorFlow; `survey.explain` then says where and why.

T frames of a video, F codes a frame, N drawn frames, R ratings, L labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from segsearch.core.features import FeatureSpec
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.videos import FRAME_CAP
from segsearch.core.vocabulary import Vocabulary
from segsearch.training.config import InputConfig

READ_BUFFER_BYTES = 1 << 20  # for each open shard; a few records


class Record(NamedTuple):
    """One parsed video, its frames still as strings, the first 300 of them."""

    streams: tuple[tf.Tensor, ...]  # one (T,) string for each stream
    labels: tf.Tensor  # (L,) int64 label indices
    starts: tf.Tensor  # (R,) int64
    rated_labels: tf.Tensor  # (R,) int64 label indices
    scores: tf.Tensor  # (R,) float32

    @property
    def frame_count(self) -> tf.Tensor:
        return tf.shape(self.streams[0])[0]

    def frames(self, rows: tf.Tensor) -> tf.Tensor:
        """(N, F) uint8: these frames, streams side by side."""
        drawn = [tf.io.decode_raw(tf.gather(stream, rows), tf.uint8) for stream in self.streams]
        return tf.concat(drawn, axis=1)


class Shards:
    """Serialised records of some files; an epoch's order follows from (seed, epoch) alone."""

    def __init__(self, files: Sequence[Path], config: InputConfig, seed: int):
        self.files = [str(file) for file in files]
        self.config, self.seed = config, seed
        self._cached = self._read(self.files).cache() if config.cache else None

    def in_order(self) -> tf.data.Dataset:
        """Every record, file after file."""
        return _records(self.files)

    def shuffled(self, epoch: int) -> tf.data.Dataset:
        """Every record once, mixed across files and within a buffer of `shuffle_videos` records."""
        seeds = np.random.default_rng([self.seed, epoch])
        # The cache fills in one order and stays so; the buffer alone mixes it.
        records = self._cached or self._read(list(seeds.permutation(self.files)))
        seed = int(seeds.integers(1 << 31))
        return records.shuffle(self.config.shuffle_videos, seed=seed, reshuffle_each_iteration=False)

    def _read(self, files: list[str]) -> tf.data.Dataset:
        side_by_side = min(self.config.readers, len(files))
        return tf.data.Dataset.from_tensor_slices(files).interleave(
            _records, cycle_length=side_by_side, num_parallel_calls=side_by_side, deterministic=True
        )


def as_written(examples: tf.data.Dataset) -> tf.data.Dataset:
    """The pipeline, run as it is written: rewriting it anew takes as long as an epoch of a small data set."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    return examples.with_options(options)


def _records(files: tf.Tensor | list[str]) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(files, buffer_size=READ_BUFFER_BYTES)


def parse(serialised: tf.Tensor, features: FeatureSpec) -> Record:
    """One frame-level or segment-rated SequenceExample; agrees with `core.videos.parse_video`."""
    context, lists = tf.io.parse_single_sequence_example(
        serialised,
        context_features={
            "labels": tf.io.RaggedFeature(tf.int64),
            "segment_start_times": tf.io.RaggedFeature(tf.int64),
            "segment_end_times": tf.io.RaggedFeature(tf.int64),
            "segment_labels": tf.io.RaggedFeature(tf.int64),
            "segment_scores": tf.io.RaggedFeature(tf.float32),
        },
        sequence_features={stream.key: tf.io.FixedLenSequenceFeature([], tf.string) for stream in features.streams},
    )
    streams = tuple(lists[stream.key] for stream in features.streams)
    starts, scores = context["segment_start_times"], context["segment_scores"]
    frame_count = tf.shape(streams[0])[0]
    checks = [tf.debugging.assert_positive(frame_count, "0 frames")]
    for stream, rows in zip(features.streams, streams, strict=True):
        checks.append(tf.debugging.assert_equal(tf.strings.length(rows), stream.size, f"size of {stream.key}"))
        checks.append(tf.debugging.assert_equal(tf.shape(rows)[0], frame_count, "streams of unequal length"))
    for name in ("end_times", "labels", "scores"):
        checks.append(tf.debugging.assert_equal(tf.shape(context[f"segment_{name}"]), tf.shape(starts), name))
    checks.append(tf.debugging.assert_equal(context["segment_end_times"], starts + SEGMENT_FRAMES, "segment_end_times"))
    checks.append(tf.debugging.assert_equal(starts % SEGMENT_FRAMES, tf.constant(0, tf.int64), "segment_start_times"))
    checks.append(tf.debugging.assert_non_negative(starts, "segment_start_times"))
    checks.append(tf.debugging.assert_less(starts, tf.cast(frame_count, tf.int64), "segment_start_times"))
    checks.append(tf.debugging.Assert(tf.reduce_all((scores >= 0) & (scores <= 1)), ["segment_scores"]))
    with tf.control_dependencies([check for check in checks if check is not None]):
        streams = tuple(rows[:FRAME_CAP] for rows in streams)
    return Record(streams, context["labels"], starts, context["segment_labels"], scores)


class OrdinalTable:
    """Label indices to class ordinals inside a tf.data graph; a label outside the vocabulary raises there."""

    def __init__(self, vocabulary: Vocabulary):
        labels = [entry.label_index for entry in vocabulary.entries]
        table = np.full(max(labels) + 1, -1, np.int32)
        table[labels] = np.arange(len(labels))
        self.classes, self._table = len(labels), table

    def __call__(self, labels: tf.Tensor) -> tf.Tensor:
        """(L,) int64 label indices to (L,) int32 class ordinals."""
        ordinals = self.known(labels)
        with tf.control_dependencies([tf.debugging.assert_non_negative(ordinals, "label outside the vocabulary")]):
            return tf.identity(ordinals)

    def known(self, labels: tf.Tensor) -> tf.Tensor:
        """(L,) int64 label indices to (L,) int32 class ordinals, -1 for a label that is none of these classes."""
        inside = (labels >= 0) & (labels < len(self._table))
        return tf.where(inside, tf.gather(self._table, tf.where(inside, labels, 0)), -1)
