"""Batch normalisation over rows, of which some may be padding.

Keras' own layer cannot do what trained YouTube-8M systems depend on: TensorFlow 1's fused kernel normalises with the
biased variance of the batch but feeds the unbiased one, n / (n - 1), to the moving average (tf_slim batch_norm).
Moments are those of the whole batch, on however many devices it is computed, and float32 whatever the rows are.

N rows, D features.
"""

import keras
import tensorflow as tf
from keras import ops

EPSILON = 1e-3


class BatchNorm(keras.layers.Layer):
    """y = gamma (x - mean) / sqrt(variance + 1e-3) + beta; rows of weight 0 count in no statistic.

    unbiased: what the moving variance follows. Without it, the biased variance, as tf_slim with fused=False.
    warm_up: the decay of move t is min(decay, (1 + t) / (10 + t)), so that a short run forgets the start at variance 1.
    """

    def __init__(self, decay: float = 0.999, unbiased: bool = True, warm_up: bool = False, **kwargs):
        # Rows come as they are, half floats too: only what is made of them has to be float32.
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self.decay, self.unbiased, self.warm_up = decay, unbiased, warm_up

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")
        self.moving_mean = self._statistic((shape[-1],), "zeros", "moving_mean")
        self.moving_variance = self._statistic((shape[-1],), "ones", "moving_variance")
        if self.warm_up:
            self.moves = self._statistic((), "zeros", "moves")

    def call(self, x, row_weights=None, training=False):  # (N, D), (N,) 1 or 0
        return ops.cast(self._normalise(ops.cast(x, "float32"), row_weights, training), x.dtype)

    def _normalise(self, x, row_weights, training):
        mean, variance = self._batch_moments(x, row_weights) if training else (self.moving_mean, self.moving_variance)
        scale = self.gamma * ops.rsqrt(variance + EPSILON)  # (D,)
        return x * scale + (self.beta - mean * scale)

    def _batch_moments(self, x, row_weights):
        """The batch's mean and biased variance, (D,) each; moves the moving ones."""
        weights = ops.ones_like(x[:, 0]) if row_weights is None else ops.cast(row_weights, "float32")
        count = _over_devices(ops.sum(weights))
        share = (weights / ops.maximum(count, 1.0))[None, :]  # (1, N)
        mean = _over_devices(ops.matmul(share, x))  # (1, D)
        variance = _over_devices(ops.matmul(share, ops.square(x - mean)))[0]  # (D,)
        followed = variance * (count / ops.maximum(count - 1.0, 1.0)) if self.unbiased else variance
        self._move(self.moving_mean, mean[0])
        self._move(self.moving_variance, followed)
        if self.warm_up:
            self.moves.assign(self.moves + 1.0)
        return mean[0], variance

    def _move(self, moving, batch):
        moving.assign(moving - (1 - self._decay_now()) * (moving - ops.stop_gradient(batch)))

    def _decay_now(self):
        return ops.minimum(self.decay, (1.0 + self.moves) / (10.0 + self.moves)) if self.warm_up else self.decay

    def _statistic(self, shape, initializer, name):
        # The same on every device, as it is made of the whole batch's moments.
        return self.add_weight(
            shape=shape, initializer=initializer, trainable=False, aggregation="only_first_replica", name=name
        )


def _over_devices(part):
    """The sum of what each device has; on one device, `part` itself."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return part
    return context.all_reduce(tf.distribute.ReduceOp.SUM, part)
