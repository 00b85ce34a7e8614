"""Mixture-of-experts head that mixes logits (linrongc/solution_youtube8m_v3 video_level_models.py, MoeModel).

One gate for all classes, and batch norm and dropout in front, are the 7th place's of 2019 (ceshine/yt8m-2019).

B segments, H features, C classes, M experts a class and one dummy whose logit is 0. Class-major layout, as in `moe`.
"""

import keras
import numpy as np
from keras import ops

from segsearch.training.aggregations import LogitMoEConfig
from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.layers.rows import l2


class LogitMoE(keras.layers.Layer):
    """(B, H) to (B, C) probabilities; `logits` are what they are the sigmoid of."""

    def __init__(self, config: LogitMoEConfig, classes: int, **kwargs):
        super().__init__(**kwargs)
        self.config, self.classes = config, classes
        self.dropout = keras.layers.Dropout(config.dropout, name="dropout")
        if config.batch_norm:
            self.gates_bn = BatchNorm(name="gates_bn")
            self.experts_bn = BatchNorm(name="experts_bn")

    def build(self, embedding_shape):
        width, experts = embedding_shape[-1], self.config.mixtures
        gates = (experts + 1) * (1 if self.config.shared_gate else self.classes)
        self.gates = self._kernel((width, gates), "gates")
        self.experts = self._kernel((width, self.classes * experts), "experts")
        self.biases = self.add_weight(shape=(self.classes * experts,), initializer="zeros", name="biases")
        if self.config.batch_norm:
            self.gates_bn.build((None, width))
            self.experts_bn.build((None, width))

    def call(self, embedding, training=False):  # (B, H)
        return ops.sigmoid(self.logits(embedding, training=training))  # (B, C)

    def logits(self, embedding, training=False):  # (B, H)
        """(B, C)."""
        mixtures, gated, judged = self.config.mixtures, embedding, embedding
        if self.config.batch_norm:
            gated = self.gates_bn(embedding, training=training)
            judged = self.experts_bn(embedding, training=training)
        gated, judged = self.dropout(gated, training=training), self.dropout(judged, training=training)
        gates = ops.reshape(ops.matmul(gated, self.gates), (-1, *self._gate_shape()))  # (B, C or 1, M + 1)
        experts = ops.reshape(ops.matmul(judged, self.experts) + self.biases, (-1, self.classes, mixtures))
        return ops.sum(ops.softmax(gates, axis=-1)[..., :mixtures] * experts, axis=-1)

    def take_classes(self, other: "LogitMoE", ordinals: np.ndarray) -> None:
        """Becomes `other` restricted to these of its classes, in this order."""
        for mine, theirs in zip(self.weights, other.weights, strict=True):
            if tuple(mine.shape) == tuple(theirs.shape):  # knows no classes, or all are taken in order
                mine.assign(theirs)
        by_class = [(self.experts, other.experts), (self.biases, other.biases)]
        for mine, theirs in by_class if self.config.shared_gate else [(self.gates, other.gates), *by_class]:
            columns = np.reshape(theirs, (*theirs.shape[:-1], other.classes, -1))
            mine.assign(np.reshape(columns[..., ordinals, :], mine.shape))

    def _kernel(self, shape, name):
        return self.add_weight(shape=shape, initializer="glorot_uniform", regularizer=l2(self.config.l2), name=name)

    def _gate_shape(self):
        return (1 if self.config.shared_gate else self.classes, self.config.mixtures + 1)
