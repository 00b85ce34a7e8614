"""What a mean teacher's student sees of a segment instead of the segment: four disturbances of its byte codes.

Where it stands: `teachers` calls `disturb` on each batch of unlabelled segments. Random draws are stateless: they
follow from the seed, so that a resumed run disturbs as it would have.

B segments, W frames of a window, F codes a frame; real frames come first, the rest of a window is zero codes.
"""

from typing import NamedTuple

import tensorflow as tf

from segsearch.training.supervision import MeanTeacherConfig


class Disturbed(NamedTuple):
    """A batch of segments as the student sees them."""

    codes: tf.Tensor  # (B, W, F) uint8
    frame_count: tf.Tensor  # (B,) int32
    share: tf.Tensor  # (B, 1) float32, how much of each is the segment before it in the batch; 0 without mixup


def disturb(
    config: MeanTeacherConfig, codes: tf.Tensor, frame_count: tf.Tensor, code_step: float, seed: tf.Tensor
) -> Disturbed:
    """Applies what the config asks for, one after the other. code_step: how far one code moves the dequantised value.

    seed: (2,) int64.
    """
    seeds = tf.unstack(tf.random.split(seed, 3))
    share = tf.zeros((tf.shape(frame_count)[0], 1))
    if config.reverse:
        codes = reverse(codes, frame_count)
    if config.drop:
        codes, frame_count = drop_frames(codes, frame_count, config.drop, seeds[0])
    if config.mixup:
        share = tf.random.stateless_uniform(tf.shape(share), seeds[1], maxval=config.mixup)
        codes, frame_count = mix_up(codes, frame_count, share)
    if config.noise:
        codes = add_noise(codes, frame_count, config.noise / code_step, seeds[2])
    return Disturbed(codes, frame_count, share)


def reverse(codes: tf.Tensor, frame_count: tf.Tensor) -> tf.Tensor:
    """The real frames of each segment, last one first."""
    return tf.reverse_sequence(codes, frame_count, seq_axis=1)


def drop_frames(
    codes: tf.Tensor, frame_count: tf.Tensor, probability: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Codes and counts without the frames that were drawn; the others keep their order, and one always stays."""
    real = tf.sequence_mask(frame_count, tf.shape(codes)[1])  # (B, W)
    draws = tf.where(real, tf.random.stateless_uniform(tf.shape(real), seed), -1.0)
    kept = draws >= tf.minimum(probability, tf.reduce_max(draws, axis=1, keepdims=True))
    order = tf.argsort(tf.cast(~kept, tf.int32), axis=1, stable=True)  # kept ones first
    counts = tf.reduce_sum(tf.cast(kept, tf.int32), axis=1)
    return _padded(tf.gather(codes, order, batch_dims=1), counts), counts


def mix_up(codes: tf.Tensor, frame_count: tf.Tensor, share: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Each segment with a share (B, 1) of the one before it in the batch, frame by frame while both have frames."""
    counts = tf.minimum(frame_count, tf.roll(frame_count, 1, axis=0))
    own, other = tf.cast(codes, tf.float32), tf.cast(tf.roll(codes, 1, axis=0), tf.float32)
    mixed = own + share[:, :, None] * (other - own)
    return _padded(tf.cast(tf.round(mixed), tf.uint8), counts), counts


def add_noise(codes: tf.Tensor, frame_count: tf.Tensor, deviation: float, seed: tf.Tensor) -> tf.Tensor:
    """Normal noise of `deviation` codes on every code of the real frames, rounded and cut to 0..255."""
    noise = tf.random.stateless_normal(tf.shape(codes), seed, stddev=deviation)
    noisy = tf.clip_by_value(tf.round(tf.cast(codes, tf.float32) + noise), 0.0, 255.0)
    return _padded(tf.cast(noisy, tf.uint8), frame_count)


def _padded(codes: tf.Tensor, frame_count: tf.Tensor) -> tf.Tensor:
    """Zero codes behind the real frames."""
    real = tf.sequence_mask(frame_count, tf.shape(codes)[1])
    return tf.where(real[:, :, None], codes, tf.constant(0, tf.uint8))
