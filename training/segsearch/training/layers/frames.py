"""Byte codes to the float frames that networks work on, and the mask that tells real frames from padding.

B segments, W frames of a window, F codes a frame.
"""

import keras
from keras import ops

from segsearch.core.features import FeatureSpec

UNIT_FLOOR = 1e-12  # tf.nn.l2_normalize's: a frame of zeros stays zeros


class Frames(keras.layers.Layer):
    """Dequantises (B, W, F) codes and, if asked, scales each frame to unit length, all streams together."""

    def __init__(self, features: FeatureSpec, normalisation: str = "l2", **kwargs):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        # 255 and 512 do not match; both are the data set's (google/youtube-8m utils.Dequantize).
        self.scale = (features.high - features.low) / 255
        self.offset = (features.high - features.low) / 512 + features.low
        self.normalisation = normalisation

    def call(self, codes, frame_mask):  # (B, W, F) uint8, (B, W)
        frames = ops.cast(codes, "float32") * self.scale + self.offset  # (B, W, F)
        if self.normalisation == "l2":
            frames = unit_length(frames)
        return frames * frame_mask[..., None]  # code 0 is -1.99, not silence


def mask_of(frame_count, width):
    """(B, W) float32: 1 for the first `frame_count` frames of each row, 0 for its padding."""
    return ops.cast(ops.arange(width)[None, :] < frame_count[:, None], "float32")


def unit_length(x):
    """x / sqrt(max(sum x^2, 1e-12)) over the last axis."""
    length = ops.sum(ops.square(ops.cast(x, "float32")), axis=-1, keepdims=True)  # float16 has no 1e-12
    return x * ops.cast(ops.rsqrt(ops.maximum(length, UNIT_FLOOR)), x.dtype)
