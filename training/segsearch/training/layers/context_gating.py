"""Context gating: each hidden unit times a gate that looks at all of them (Miech et al. 2017, section 3.3).

The squeeze form, two thin layers, is NeXtVLAD's (Lin et al. 2018; linrongc/youtube-8m nextvlad.py); the one with a bias
and no batch norm is that of skalic's recurrent networks (miha-skalic/youtube8mchallenge frame_level_models.py).

B segments, H hidden units, R reduced ones.
"""

import keras
from keras import ops

from segsearch.training.aggregations import ContextGatingConfig
from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.layers.rows import he, normal
from segsearch.training.sizes import reduced_size


class ContextGating(keras.layers.Layer):
    """(B, H) to (B, H): a sigmoid(BN(a U)), or a sigmoid(a U + b)."""

    def __init__(self, config: ContextGatingConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        if config.form == "batch_norm":
            self.batch_norm = BatchNorm(config.batch_norm_decay, config.unbiased, name="batch_norm")

    def build(self, hidden_shape):
        width = hidden_shape[-1]
        self.kernel = self.add_weight(shape=(width, width), initializer=normal(width), name="kernel")
        if self.config.form == "batch_norm":
            self.batch_norm.build((None, width))
        else:
            self.biases = self.add_weight(shape=(width,), initializer=normal(width), name="biases")

    def call(self, hidden, training=False):  # (B, H)
        gates = ops.matmul(hidden, self.kernel)  # (B, H)
        if self.config.remove_diagonal:
            gates = gates - ops.diagonal(self.kernel) * hidden
        gates = self.batch_norm(gates, training=training) if self.config.form == "batch_norm" else gates + self.biases
        return hidden * ops.sigmoid(gates)


class SqueezeGating(keras.layers.Layer):
    """(B, H) to (B, H): a sigmoid(relu(BN(a U)) V), with U (H, R) and V (R, H)."""

    def __init__(self, config: ContextGatingConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.batch_norm = BatchNorm(config.batch_norm_decay, config.unbiased, name="batch_norm")

    def build(self, hidden_shape):
        width = hidden_shape[-1]
        reduced = reduced_size(self.config, width)
        self.squeeze = self.add_weight(shape=(width, reduced), initializer=he(width), name="squeeze")
        self.excite = self.add_weight(shape=(reduced, width), initializer=he(reduced), name="excite")
        self.batch_norm.build((None, reduced))

    def call(self, hidden, training=False):  # (B, H)
        reduced = ops.relu(self.batch_norm(ops.matmul(hidden, self.squeeze), training=training))  # (B, R)
        return hidden * ops.sigmoid(ops.matmul(reduced, self.excite))


def gating_of(config: ContextGatingConfig | None) -> keras.layers.Layer:
    """The layer a config asks for; without one, a layer that changes nothing."""
    if config is None:
        return keras.layers.Identity(name="gating")
    return (SqueezeGating if config.form == "squeeze" else ContextGating)(config, name="gating")
