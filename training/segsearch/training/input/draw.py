"""Which frames an example shows: the same ones for the same seed, so that a resumed run sees what it would have seen.

`draw_rows` has the starter code's two draws (google/youtube-8m model_utils.py): SampleRandomFrames and
SampleRandomSequence. `draw_context` is ours.

B windows of a batch, W frames of a window, F codes a frame.
"""

from collections.abc import Callable

import tensorflow as tf

from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.training.config import StageConfig


def seeded(draw: Callable[..., tf.Tensor], seed: int, epoch: int) -> Callable[..., tf.Tensor]:
    """`draw(element, seed)` for elements that stand beside their places in the epoch, each with a seed of its own."""
    epoch_seed = tf.constant((seed << 16) + epoch, tf.int64)

    def drawn(place, element):
        return draw(element, tf.stack([epoch_seed, place]))

    return drawn


def draw_rows(config: StageConfig, frame_count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Row numbers (..., frames) int32 below frame_count (...,) int32. seed: (2,) int64, for stateless randomness.

    Only for stages that draw: "all" shows every frame in order, and there is nothing to choose.
    """
    count, shape = frame_count[..., None], tf.shape(frame_count)
    if config.frame_draw == "random":  # with replacement
        return _scaled(tf.random.stateless_uniform(tf.concat([shape, [config.frames]], 0), seed), count)
    offsets = tf.range(config.frames)
    first = tf.random.stateless_uniform(tf.concat([shape, [1]], 0), seed)
    first = _scaled(first, tf.maximum(count - config.frames, 0) + 1)
    return tf.minimum(first + offsets, count - 1)  # a short video repeats its last frame


def draw_context(batch: dict[str, tf.Tensor], context: int, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Each window cut down to its segment with 0 to `context` frames each side, as many as drawn: codes and counts.

    batch: `codes` (B, W, F) uint8, `frame_count` and `before` (B,) int32, the frames in front of the segment.
    """
    codes, count, before = batch["codes"], batch["frame_count"], batch["before"]
    kept = tf.random.stateless_uniform(tf.shape(count), seed, maxval=context + 1, dtype=tf.int32)  # (B,)
    first = tf.maximum(before - kept, 0)
    end = tf.minimum(before + SEGMENT_FRAMES + kept, count)
    rows = first[:, None] + tf.range(tf.shape(codes)[1])  # (B, W)
    real = rows < end[:, None]
    shifted = tf.gather(codes, tf.where(real, rows, 0), batch_dims=1)
    return {"codes": tf.where(real[:, :, None], shifted, tf.constant(0, tf.uint8)), "frame_count": end - first}


def _scaled(uniform: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """floor(u * count) for u in [0, 1)."""
    # u * count may round up to count itself in float32.
    return tf.minimum(tf.cast(uniform * tf.cast(count, tf.float32), tf.int32), count - 1)
