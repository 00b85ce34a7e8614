"""The mean frame of a segment (google/youtube-8m frame_level_models.py, FrameLevelLogisticModel).

B segments, W frames of a window, F features a frame.
"""

import keras
from keras import ops


class FrameMean(keras.layers.Layer):
    """Aggregates (B, W, F) frames into their mean (B, F); padding counts for nothing."""

    def call(self, frames, frame_mask):  # (B, W, F), (B, W)
        count = ops.maximum(ops.sum(frame_mask, axis=1, keepdims=True), 1.0)
        return ops.sum(frames * frame_mask[..., None], axis=1) / count  # (B, F)
