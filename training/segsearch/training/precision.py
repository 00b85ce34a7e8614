"""Which floats a training computes with: half-sized ones for products, float32 for everything that sums up.

Weights, optimiser, batch norm and heads stay float32: losses look at probabilities of 1e-5, which half floats round
away. float16 reaches no smaller number than 6e-8, so its losses are scaled up before gradients are taken.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Layers made in here compute in `precision`; their weights are float32 all the same."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class LossScale(keras.optimizers.LossScaleOptimizer):
    """Scales losses so that float16 gradients do not vanish; a step whose gradients overflow is left out.

    It is given gradients that are summed over all devices already, so it need not know of devices.
    """

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        self._common_apply(grads, trainable_variables)
