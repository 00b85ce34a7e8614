"""Deep bag of frames (google/youtube-8m frame_level_models.py, DbofModel).

B segments, W frames of a window, F features a frame, K clusters, H hidden units.
"""

import keras
from keras import ops

from segsearch.training.aggregations import DBoFConfig
from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.layers.rows import l2, normal


class DBoF(keras.layers.Layer):
    """Aggregates (B, W, F) frames into one (B, H) vector a segment."""

    def __init__(self, config: DBoFConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        norm = {"decay": config.batch_norm_decay, "warm_up": config.batch_norm_warm_up}
        self.input_bn = BatchNorm(**norm, name="input_bn")
        self.cluster_bn = BatchNorm(**norm, name="cluster_bn")
        self.hidden_bn = BatchNorm(**norm, name="hidden_bn")
        self.pooled_dropout = keras.layers.Dropout(config.pooled_dropout, name="pooled_dropout")
        self.hidden_dropout = keras.layers.Dropout(config.hidden_dropout, name="hidden_dropout")
        self.activation = getattr(keras.activations, config.activation)

    def build(self, frames_shape):
        width, clusters, hidden = frames_shape[-1], self.config.clusters, self.config.hidden
        penalty = l2(self.config.l2)
        self.clusters = self.add_weight(
            shape=(width, clusters), initializer=normal(width), regularizer=penalty, name="clusters"
        )
        self.hidden = self.add_weight(
            shape=(clusters, hidden), initializer=normal(clusters), regularizer=penalty, name="hidden"
        )
        self.input_bn.build((None, width))
        self.cluster_bn.build((None, clusters))
        self.hidden_bn.build((None, hidden))

    def call(self, frames, frame_mask, training=False):  # (B, W, F), (B, W)
        activation = self.activate(frames, frame_mask, training)  # (B, W, K)
        return self.embed(self.pool(activation, frame_mask), training)

    def activate(self, frames, frame_mask, training=False):
        """Each frame's cluster activations (B, W, K), 0 for padding."""
        weights = ops.reshape(frame_mask, (-1,))  # (B W,)
        x = ops.reshape(frames, (-1, frames.shape[-1]))  # (B W, F)
        x = self.input_bn(x, weights, training=training)
        x = self.cluster_bn(ops.matmul(x, self.clusters), weights, training=training)  # (B W, K)
        x = self.activation(x) * weights[:, None]
        return ops.reshape(x, (-1, ops.shape(frames)[1], self.config.clusters))

    def pool(self, activation, frame_mask):
        """(B, K): the best or mean activation of each cluster over the real frames."""
        if self.config.pooling == "max":
            return ops.max(activation, axis=1)  # activations are never negative, so padding (0) never wins
        count = ops.maximum(ops.sum(frame_mask, axis=1, keepdims=True), 1.0)
        return ops.sum(activation, axis=1) / count

    def embed(self, pooled, training=False):  # (B, K)
        """(B, H): the hidden layer, input of the head."""
        x = ops.matmul(self.pooled_dropout(pooled, training=training), self.hidden)
        x = self.activation(self.hidden_bn(x, training=training))
        return self.hidden_dropout(x, training=training)
