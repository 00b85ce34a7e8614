"""A record's segments with their context, inside a tf.data graph; agrees with `core.segments`.

Where it stands: `segments` cuts the rated segments of a video this way, `unlabelled` any of them.

S segments, W = 5 + 2n frames of a window with n context frames each side, F codes a frame.
"""

from typing import NamedTuple

import tensorflow as tf

from segsearch.core.features import FeatureSpec
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.training.input.shards import Record


class Windows(NamedTuple):
    """Each segment's window, real frames first and in order, the rest zero codes."""

    codes: tf.Tensor  # (S, W, F) uint8
    frame_count: tf.Tensor  # (S,) int32
    before: tf.Tensor  # (S,) int32, frames of context in front of the segment


def cut_windows(record: Record, features: FeatureSpec, starts: tf.Tensor, context: int) -> Windows:
    """Windows around starts (S,) int64, with the context that exists, as `core.segments.cut_windows`."""
    frame_count, width = tf.cast(record.frame_count, tf.int64), SEGMENT_FRAMES + 2 * context
    first = tf.maximum(starts - context, 0)
    counts = tf.minimum(starts + SEGMENT_FRAMES + context, frame_count) - first  # (S,)
    rows = first[:, None] + tf.range(width, dtype=tf.int64)  # (S, W)
    real = tf.range(width, dtype=tf.int64) < counts[:, None]
    frames = record.frames(tf.reshape(tf.minimum(rows, frame_count - 1), (-1,)))  # (S W, F)
    codes = tf.reshape(frames, (-1, width, features.size))
    codes = tf.where(real[:, :, None], codes, tf.constant(0, tf.uint8))
    return Windows(codes, tf.cast(counts, tf.int32), tf.cast(starts - first, tf.int32))


def shift_starts(starts: tf.Tensor, frame_count: tf.Tensor, shift: int) -> tf.Tensor:
    """Starts (S,) int64 moved by `shift` frames, as `core.segments.shift_starts`."""
    last = tf.maximum(starts, tf.cast(frame_count, tf.int64) - SEGMENT_FRAMES)
    return tf.clip_by_value(starts + shift, tf.constant(0, tf.int64), last)
