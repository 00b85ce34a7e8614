"""A tower: frames to class scores by one aggregation and one head. Alone it is a network, with others a mix.

B segments, W frames of a window, F features a frame, H embedding size, C classes.
"""

import keras
import numpy as np
from keras import ops

from segsearch.training.layers.logistic import Logistic
from segsearch.training.layers.logit_moe import LogitMoE

LOGIT_MARGIN = 1e-6  # probabilities nearer than this to 0 or 1 count as this near


class Tower(keras.layers.Layer):
    """(B, W, F) frames to a dict of `scores` (B, C) and `embedding` (B, H)."""

    def __init__(self, aggregation: keras.layers.Layer, head: keras.layers.Layer, **kwargs):
        super().__init__(dtype="float32", **kwargs)  # the aggregation alone may compute in half floats
        self.aggregation, self.head = aggregation, head

    def build(self, frames_shape):
        self.aggregation.build(frames_shape)
        frames, frame_mask = keras.KerasTensor((None, None, frames_shape[-1])), keras.KerasTensor((None, None))
        self.embedding_size = self.aggregation.compute_output_spec(frames, frame_mask).shape[-1]
        self.head.build((None, self.embedding_size))

    def call(self, frames, frame_mask):  # (B, W, F), (B, W); Keras hands `training` on to the layers that know it
        embedding = self._embed(frames, frame_mask)
        return {"scores": self.head(embedding), "embedding": embedding}

    def logits(self, frames, frame_mask, training=False):
        """The logits (B, C) that a mix mixes, and the embedding (B, H)."""
        embedding = self._embed(frames, frame_mask)
        return _logits(self.head, embedding, training), embedding

    def _embed(self, frames, frame_mask):
        return ops.cast(self.aggregation(frames, frame_mask), "float32")

    def take_classes(self, other: "Tower", ordinals: np.ndarray) -> None:
        """Becomes `other` restricted to these of its classes, in this order."""
        for mine, theirs in zip(self.aggregation.weights, other.aggregation.weights, strict=True):
            mine.assign(theirs)
        self.head.take_classes(other.head, ordinals)


def _logits(head, embedding, training):
    match head:
        case Logistic():
            return head.logits(embedding)
        case LogitMoE():
            return head.logits(embedding, training=training)
    # A mixture of probabilities has no logits of its own.
    scores = ops.clip(head(embedding), LOGIT_MARGIN, 1 - LOGIT_MARGIN)
    return ops.log(scores) - ops.log(1 - scores)
