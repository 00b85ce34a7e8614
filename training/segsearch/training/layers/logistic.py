"""Logistic head: one regression a class (google/youtube-8m video_level_models.py, LogisticModel).

B segments, H features, C classes.
"""

import keras
import numpy as np
from keras import ops

from segsearch.training.config import LogisticConfig


class Logistic(keras.layers.Layer):
    """(B, H) to (B, C) probabilities."""

    def __init__(self, config: LogisticConfig, classes: int, **kwargs):
        super().__init__(**kwargs)
        self.config, self.classes = config, classes

    def build(self, embedding_shape):
        penalty = keras.regularizers.L2(self.config.l2 / 2) if self.config.l2 else None  # slim halves the sum
        shape = (embedding_shape[-1], self.classes)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", regularizer=penalty, name="kernel")
        self.biases = self.add_weight(shape=(self.classes,), initializer="zeros", name="biases")

    def call(self, embedding):  # (B, H)
        return ops.sigmoid(ops.matmul(embedding, self.kernel) + self.biases)  # (B, C)

    def take_classes(self, other: "Logistic", ordinals: np.ndarray) -> None:
        """Becomes `other` restricted to these of its classes, in this order."""
        for mine, theirs in zip(self.weights, other.weights, strict=True):
            mine.assign(np.asarray(theirs)[..., ordinals])
