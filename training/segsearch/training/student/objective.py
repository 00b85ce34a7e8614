"""What a student minimises: people's ratings where there are any, and its teachers' scores everywhere.

Where it stands: `run` gives it to `trainer`, `examples` makes its batches; `config` says how the two are shared out.

B segments of a batch, C classes.
"""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from keras import ops

from segsearch.training.distillation import DIVERGENCE_EPSILON, mixed_cross_entropy
from segsearch.training.losses import EPSILON, cross_entropy
from segsearch.training.models.network import Network
from segsearch.training.objective import Batch
from segsearch.training.student.config import DistilConfig


@dataclass(frozen=True)
class DistilObjective:
    """label_weight times the ratings' cross entropy, the rest times the distance to the teachers."""

    config: DistilConfig

    def loss(self, network: Network, average_network: Network, batch: Batch, step: tf.Tensor) -> Any:  # noqa: ARG002
        """batch: also `teacher` (B, C) float32, the teachers' logits."""
        scores = network(batch["codes"], batch["frame_count"], training=True)["scores"]
        labelled = cross_entropy(scores, batch["labels"], batch["weights"])
        followed = teacher_loss(scores, batch["teacher"], self.config)
        return mixed_cross_entropy(labelled, followed, 1 - self.config.label_weight)


def teacher_loss(scores, teacher, config: DistilConfig):  # (B, C), (B, C)
    """Mean over segments of the distance from the student's scores to the teachers' logits, scalar.

    Times temperature squared, so that gradients keep their size whatever the temperature (Hinton et al., 2015).
    """
    temperature, scale = config.temperature, config.temperature**2
    if config.divergence == "binary":
        if temperature != 1:
            scores = ops.sigmoid(logits_of(scores) / temperature)
        return scale * cross_entropy(scores, ops.sigmoid(teacher / temperature))
    target = ops.softmax(teacher / temperature, axis=-1)
    found = ops.softmax(logits_of(scores) / temperature, axis=-1)
    apart = ops.log(target + DIVERGENCE_EPSILON) - ops.log(found + DIVERGENCE_EPSILON)
    return scale * ops.mean(ops.sum(target * apart, axis=-1))


def logits_of(scores):  # (B, C)
    """The logits of probabilities, at most about 11.5 either way: not every head has some of its own."""
    inside = ops.clip(scores, EPSILON, 1 - EPSILON)
    return ops.log(inside) - ops.log(1 - inside)
