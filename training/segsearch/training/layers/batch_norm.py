"""Batch normalisation over rows, of which some may be padding.

Keras' own layer cannot do what trained YouTube-8M systems depend on: TensorFlow 1's fused kernel normalises with the
biased variance of the batch but feeds the unbiased one, n / (n - 1), to the moving average (tf_slim batch_norm).

N rows, D features.
"""

import keras
from keras import ops

EPSILON = 1e-3


class BatchNorm(keras.layers.Layer):
    """y = gamma (x - mean) / sqrt(variance + 1e-3) + beta; rows of weight 0 count in no statistic.

    unbiased: what the moving variance follows. Without it, the biased variance, as tf_slim with fused=False.
    """

    def __init__(self, decay: float = 0.999, unbiased: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.decay, self.unbiased = decay, unbiased

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")
        self.moving_mean = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False, name="moving_mean")
        self.moving_variance = self.add_weight(
            shape=(shape[-1],), initializer="ones", trainable=False, name="moving_variance"
        )

    def call(self, x, row_weights=None, training=False):  # (N, D), (N,) 1 or 0
        mean, variance = self._batch_moments(x, row_weights) if training else (self.moving_mean, self.moving_variance)
        scale = self.gamma * ops.rsqrt(variance + EPSILON)  # (D,)
        return x * scale + (self.beta - mean * scale)

    def _batch_moments(self, x, row_weights):
        """The batch's mean and biased variance, (D,) each; moves the moving ones."""
        weights = ops.ones_like(x[:, 0]) if row_weights is None else row_weights
        count = ops.sum(weights)
        share = (weights / ops.maximum(count, 1.0))[None, :]  # (1, N)
        mean = ops.matmul(share, x)  # (1, D)
        variance = ops.matmul(share, ops.square(x - mean))[0]  # (D,)
        followed = variance * (count / ops.maximum(count - 1.0, 1.0)) if self.unbiased else variance
        self._move(self.moving_mean, mean[0])
        self._move(self.moving_variance, followed)
        return mean[0], variance

    def _move(self, moving, batch):
        moving.assign(moving - (1 - self.decay) * (moving - ops.stop_gradient(batch)))
