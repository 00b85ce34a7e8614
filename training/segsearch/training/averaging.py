"""The average of a network's weights over its training, kept as a second network.

The average is a `Network` like any other: evaluating, saving or teaching with it needs no swapping of weights.
Exponential after every step, or the plain mean of the weights that epochs ended with.
"""

import tensorflow as tf

from segsearch.training.config import AverageConfig, SwaConfig
from segsearch.training.models.network import Network


class Average:
    """Follows a network as its config says; without a config the average is the network itself.

    Exponential: after each step, average <- average - (1 - d) (average - weight), for every weight; batch norm's moving
    statistics are weights too, unless the config has them copied. Plain (SWA): the mean over the ends of epochs, and
    until the first that counts a copy of the last one.

    SWA averages the moving statistics as well, where Izmailov et al. take them anew in a pass over the training data.
    They are means over many steps already, and the epochs of a fine-tuning lie close together; a pass with dropout on
    would measure other variances than inference meets, one with it off would be a third way to run every network.
    """

    def __init__(self, network: Network, config: AverageConfig | SwaConfig | None):
        self.followed, self.config = network, config
        self.network = network if config is None else network.copy()

    def update(self, step: tf.Tensor) -> None:
        """Call once after optimiser step `step` (scalar int64, counted from 0)."""
        if not isinstance(self.config, AverageConfig):
            return
        self._blend(self.network.trainable_weights, self.followed.trainable_weights, decay_at(self.config, step))
        copied = self.config.batch_norm == "copied"
        keep = tf.constant(0.0) if copied else decay_at(self.config, step)
        self._blend(self.network.non_trainable_weights, self.followed.non_trainable_weights, keep)

    def end_epoch(self, epochs: int) -> None:
        """Call once after each epoch, before evaluation; epochs: how many are done."""
        if not isinstance(self.config, SwaConfig):
            return
        counted = max(epochs - self.config.start_epoch + 1, 1)  # this one included
        self._blend(self.network.weights, self.followed.weights, tf.constant(1.0 - 1.0 / counted))

    def _blend(self, averages: list, weights: list, keep: tf.Tensor) -> None:
        for average, weight in zip(averages, weights, strict=True):
            average.assign(average - (1.0 - keep) * (average - weight))


def decay_at(config: AverageConfig, step: tf.Tensor) -> tf.Tensor:
    """The decay d of one step, scalar float32: 0 before the start, then constant or warming up to it."""
    since = tf.cast(step - config.start_step, tf.float32)
    decay = tf.constant(config.decay, tf.float32)
    if config.warm_up:
        decay = tf.minimum(decay, (1.0 + since) / (10.0 + since))
    return tf.where(since < 0, 0.0, decay)
