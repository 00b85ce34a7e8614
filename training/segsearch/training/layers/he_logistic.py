"""Logistic head as linrongc has it (linrongc/youtube-8m video_level_models.py, LogisticModel): the towers of its mix.

B segments, H features, C classes.
"""

import keras
import numpy as np
from keras import ops

from segsearch.training.aggregations import HeLogisticConfig
from segsearch.training.layers.rows import he, l2


class HeLogistic(keras.layers.Layer):
    """(B, H) to (B, C) probabilities; `logits` are what they are the sigmoid of."""

    def __init__(self, config: HeLogisticConfig, classes: int, **kwargs):
        super().__init__(**kwargs)
        self.config, self.classes = config, classes

    def build(self, embedding_shape):
        width, penalty = embedding_shape[-1], l2(self.config.l2)
        self.kernel = self.add_weight(
            shape=(width, self.classes), initializer=he(width), regularizer=penalty, name="kernel"
        )
        self.biases = self.add_weight(shape=(self.classes,), initializer="zeros", regularizer=penalty, name="biases")

    def call(self, embedding):  # (B, H)
        return ops.sigmoid(self.logits(embedding))  # (B, C)

    def logits(self, embedding):  # (B, H)
        """(B, C)."""
        return ops.matmul(embedding, self.kernel) + self.biases

    def take_classes(self, other: "HeLogistic", ordinals: np.ndarray) -> None:
        """Becomes `other` restricted to these of its classes, in this order."""
        for mine, theirs in zip(self.weights, other.weights, strict=True):
            mine.assign(np.asarray(theirs)[..., ordinals])
