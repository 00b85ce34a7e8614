"""The hidden layer between a pooled descriptor and the head, in the three forms that the references have.

B segments, P descriptor size, H hidden units.
"""

import keras
from keras import ops

from segsearch.training.aggregations import HiddenConfig
from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.layers.rows import l2


class Hidden(keras.layers.Layer):
    """(B, P) to (B, H). How `kernel` starts is the aggregation's to say: willow scales by clusters, not by fan-in."""

    def __init__(self, config: HiddenConfig, initializer, **kwargs):
        super().__init__(**kwargs)
        self.config, self.initializer = config, initializer
        self.dropout = keras.layers.Dropout(config.dropout, name="dropout")
        if config.form != "bias":
            self.batch_norm = BatchNorm(config.batch_norm_decay, config.unbiased, name="batch_norm")

    def build(self, pooled_shape):
        shape = (pooled_shape[-1], self.config.units)
        penalty = l2(self.config.l2)
        self.kernel = self.add_weight(shape=shape, initializer=self.initializer, regularizer=penalty, name="kernel")
        if self.config.form == "bias":
            start = keras.initializers.RandomNormal(stddev=0.01)
            self.biases = self.add_weight(shape=(self.config.units,), initializer=start, name="biases")
        else:
            self.batch_norm.build((None, self.config.units))

    def call(self, pooled, training=False):  # (B, P)
        x = ops.matmul(self.dropout(pooled, training=training), self.kernel)  # (B, H)
        if self.config.form == "bias":
            return x + self.biases
        x = self.batch_norm(x, training=training)
        return ops.relu6(x) if self.config.form == "batch_norm_relu6" else x
