"""Mixture-of-experts head (google/youtube-8m video_level_models.py, MoeModel).

B segments, H features, C classes, M experts a class and one dummy that always says no. Class-major layout: column
c * (M + 1) + k of the gates and c * M + k of the experts belong to class c.
"""

import keras
import numpy as np
from keras import ops

from segsearch.training.aggregations import MoEConfig
from segsearch.training.layers.rows import l2


class MoE(keras.layers.Layer):
    """(B, H) to (B, C) probabilities."""

    def __init__(self, config: MoEConfig, classes: int, **kwargs):
        super().__init__(**kwargs)
        self.config, self.classes = config, classes

    def build(self, embedding_shape):
        width, experts, gates = embedding_shape[-1], self.config.mixtures, self.config.mixtures + 1
        glorot = {"initializer": "glorot_uniform", "regularizer": l2(self.config.l2)}
        self.gates = self.add_weight(shape=(width, self.classes * gates), name="gates", **glorot)
        self.experts = self.add_weight(shape=(width, self.classes * experts), name="experts", **glorot)
        self.biases = self.add_weight(shape=(self.classes * experts,), initializer="zeros", name="biases")

    def call(self, embedding):  # (B, H)
        mixtures = self.config.mixtures
        gates = ops.reshape(ops.matmul(embedding, self.gates), (-1, self.classes, mixtures + 1))
        experts = ops.reshape(ops.matmul(embedding, self.experts) + self.biases, (-1, self.classes, mixtures))
        share = ops.softmax(gates, axis=-1)[..., :mixtures]  # (B, C, M); what is left is the dummy's
        return ops.sum(share * ops.sigmoid(experts), axis=-1)  # (B, C)

    def take_classes(self, other: "MoE", ordinals: np.ndarray) -> None:
        """Becomes `other` restricted to these of its classes, in this order."""
        for mine, theirs in zip(self.weights, other.weights, strict=True):
            by_class = np.reshape(theirs, (*theirs.shape[:-1], other.classes, -1))
            mine.assign(np.reshape(by_class[..., ordinals, :], mine.shape))
