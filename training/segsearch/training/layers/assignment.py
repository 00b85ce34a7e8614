"""Soft assignment of frames to clusters, the first step of willow's bags, VLADs and Fisher vectors.

B segments, W frames of a window, D features of one stream, K clusters.
"""

import keras
from keras import ops

from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.layers.rows import normal, normalise_frames


class Assignment(keras.layers.Layer):
    """(B, W, D) to (B, W, K): each real frame's shares sum to 1, padding has none."""

    def __init__(self, clusters: int, decay: float = 0.999, **kwargs):
        super().__init__(**kwargs)
        self.count = clusters
        self.batch_norm = BatchNorm(decay, name="batch_norm")

    def build(self, frames_shape):
        width = frames_shape[-1]
        self.clusters = self.add_weight(shape=(width, self.count), initializer=normal(width), name="clusters")
        self.batch_norm.build((None, self.count))

    def call(self, frames, frame_mask, training=False):  # (B, W, D), (B, W)
        logits = normalise_frames(self.batch_norm, ops.matmul(frames, self.clusters), frame_mask, training)
        # Shares are never negative: with padding at 0, a sum does not see it and a maximum never picks it.
        return ops.softmax(logits, axis=-1) * frame_mask[..., None]  # (B, W, K)
