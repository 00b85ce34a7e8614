"""The learning rate of each step, and the optimiser as the reference systems set it."""

import keras

from segsearch.training.config import EngineConfig, StageConfig
from segsearch.training.precision import LossScale


def learning_rate_at(config: StageConfig, step: int) -> float:
    """Staircase exponential decay: one factor `decay` each `decay_examples` examples (google/youtube-8m train.py)."""
    return config.learning_rate * config.decay ** (step * config.batch_size // config.decay_examples)


def optimiser_of(config: StageConfig, precision: str = EngineConfig.precision) -> keras.optimizers.Optimizer:
    """Adam with TensorFlow 1's epsilon, each variable's gradient clipped by its own norm."""
    adam = keras.optimizers.Adam(config.learning_rate, epsilon=1e-8, clipnorm=config.clip_norm or None)
    return LossScale(adam) if precision == "float16" else adam
