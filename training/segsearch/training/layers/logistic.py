"""Logistic head: one regression a class (google/youtube-8m and linrongc/youtube-8m video_level_models.py,
LogisticModel).

B segments, H features, C classes.
"""

import keras
import numpy as np
from keras import ops

from segsearch.training.aggregations import LogisticConfig
from segsearch.training.layers.rows import he, l2


class Logistic(keras.layers.Layer):
    """(B, H) to (B, C) probabilities; `logits` are what they are the sigmoid of."""

    def __init__(self, config: LogisticConfig, classes: int, **kwargs):
        super().__init__(**kwargs)
        self.config, self.classes = config, classes

    def build(self, embedding_shape):
        width, config = embedding_shape[-1], self.config
        start = he(width) if config.start == "he" else "glorot_uniform"
        self.kernel = self.add_weight(
            shape=(width, self.classes), initializer=start, regularizer=l2(config.l2), name="kernel"
        )
        self.biases = self.add_weight(
            shape=(self.classes,), initializer="zeros", regularizer=l2(config.bias_l2), name="biases"
        )

    def call(self, embedding):  # (B, H)
        return ops.sigmoid(self.logits(embedding))  # (B, C)

    def logits(self, embedding):  # (B, H)
        """(B, C)."""
        return ops.matmul(embedding, self.kernel) + self.biases

    def take_classes(self, other: "Logistic", ordinals: np.ndarray) -> None:
        """Becomes `other` restricted to these of its classes, in this order."""
        for mine, theirs in zip(self.weights, other.weights, strict=True):
            mine.assign(np.asarray(theirs)[..., ordinals])
