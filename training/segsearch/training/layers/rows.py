"""Frames as rows: where a layer knows rows only, or a stream's own columns.

B segments, W frames of a window, D features.
"""

import keras
from keras import ops

from segsearch.core.features import Stream
from segsearch.training.layers.batch_norm import BatchNorm


def normalise_frames(norm: BatchNorm, x, frame_mask, training):  # (B, W, D), (B, W)
    """Batch norm of every frame, (B, W, D). Padding counts in no statistic; without a mask all frames count."""
    weights = None if frame_mask is None else ops.reshape(frame_mask, (-1,))  # (B W,)
    rows = norm(ops.reshape(x, (-1, x.shape[-1])), weights, training=training)
    return ops.reshape(rows, (-1, ops.shape(x)[1], x.shape[-1]))


def split_streams(frames, streams: tuple[Stream, ...]):  # (B, W, F)
    """Each stream's own features, (B, W, D) a stream."""
    parts, start = [], 0
    for stream in streams:
        parts.append(frames[..., start : start + stream.size])
        start += stream.size
    return parts


def reverse_frames(x, frame_mask):  # (B, W, D), (B, W)
    """The real frames of each row backwards, its padding where it was (tf.reverse_sequence)."""
    steps = ops.arange(ops.shape(x)[1])[None, :]  # (1, W)
    count = ops.cast(ops.sum(frame_mask, axis=1, keepdims=True), steps.dtype)  # (B, 1)
    source = ops.where(steps < count, count - 1 - steps, steps)  # (B, W)
    return ops.take_along_axis(x, source[..., None], axis=1)


def normal(fan_in: int, mean: float = 0.0):
    """Normal with standard deviation 1 / sqrt(fan in), the start of willow's and the starter code's weights."""
    return keras.initializers.RandomNormal(mean=mean, stddev=fan_in**-0.5)


def he(fan_in: int):
    """Normal cut at two deviations, as slim's variance_scaling_initializer() starts linrongc's weights."""
    return keras.initializers.TruncatedNormal(stddev=(2.6 / fan_in) ** 0.5)  # 1.3 makes up for the cut


def l2(penalty: float):
    """Slim's L2: penalty * sum(w^2) / 2; none at 0."""
    return keras.regularizers.L2(penalty / 2) if penalty else None
