"""Probability gating: each class's probability times a gate that looks at all of them, or at the embedding
(antoine77340/Youtube-8M-WILLOW video_level_models.py, moe_prob_gating).

B segments, H features, C classes.
"""

import keras
import numpy as np
from keras import ops

from segsearch.training.aggregations import ProbabilityGatingConfig
from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.layers.rows import normal
from segsearch.training.sizes import gate_inputs


class ProbabilityGating(keras.layers.Layer):
    """A head around a head: (B, H) to (B, C) probabilities, p sigmoid(BN(p A))."""

    def __init__(self, config: ProbabilityGatingConfig, head: keras.layers.Layer, classes: int, **kwargs):
        super().__init__(**kwargs)
        self.config, self.head, self.classes = config, head, classes
        self.batch_norm = BatchNorm(config.batch_norm_decay, name="batch_norm")

    def build(self, embedding_shape):
        width = gate_inputs(self.config, embedding_shape[-1], self.classes)
        self.head.build(embedding_shape)
        self.kernel = self.add_weight(shape=(width, self.classes), initializer=normal(self.classes), name="kernel")
        self.batch_norm.build((None, self.classes))

    def call(self, embedding, training=False):  # (B, H)
        scores = self.head(embedding)  # (B, C)
        gates = ops.matmul(scores if self.config.input == "scores" else embedding, self.kernel)
        if self.config.remove_diagonal:
            gates = gates - ops.diagonal(self.kernel) * scores  # of the scores, whatever the input: so in the reference
        return scores * ops.sigmoid(self.batch_norm(gates, training=training))

    def take_classes(self, other: "ProbabilityGating", ordinals: np.ndarray) -> None:
        """Becomes `other` restricted to these of its classes, in this order.

        With scores as input, the gates no longer see the classes left out: training on is needed.
        """
        self.head.take_classes(other.head, ordinals)
        rows = ordinals if self.config.input == "scores" else slice(None)
        self.kernel.assign(np.asarray(other.kernel)[rows][:, ordinals])
        for mine, theirs in zip(self.batch_norm.weights, other.batch_norm.weights, strict=True):
            mine.assign(np.asarray(theirs)[ordinals])
