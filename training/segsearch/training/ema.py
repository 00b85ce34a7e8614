"""Exponential moving average of a network's weights, kept as a second network.

The average is a `Network` like any other: evaluating, saving or teaching with it needs no swapping of weights.
"""

import tensorflow as tf

from segsearch.training.config import AverageConfig
from segsearch.training.models.network import Network


class Average:
    """Follows a network: after each step, average <- average - (1 - d) (average - weight), for every weight.

    Batch norm's moving statistics are weights too and are averaged with the rest. Without a config the average is
    the network itself.
    """

    def __init__(self, network: Network, config: AverageConfig | None):
        self.followed, self.config = network, config
        self.network = network if config is None else network.copy()

    def update(self, step: tf.Tensor) -> None:
        """Call once after optimiser step `step` (scalar int64, counted from 0)."""
        if self.config is None:
            return
        keep = decay_at(self.config, step)
        for average, weight in zip(self.network.weights, self.followed.weights, strict=True):
            average.assign(average - (1.0 - keep) * (average - weight))


def decay_at(config: AverageConfig, step: tf.Tensor) -> tf.Tensor:
    """The decay d of one step, scalar float32: 0 before the start, then constant or warming up to it."""
    since = tf.cast(step - config.start_step, tf.float32)
    decay = tf.constant(config.decay, tf.float32)
    if config.warm_up:
        decay = tf.minimum(decay, (1.0 + since) / (10.0 + since))
    return tf.where(since < 0, 0.0, decay)
