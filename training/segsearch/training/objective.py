"""What a stage minimises: how a batch and a network become one number. The networks' L2 is not part of it.

Where it stands: `stages` asks `objective_of` once a stage; `trainer.OptimiserStep` calls `loss` inside its gradient
tape and adds the L2. `losses` and `distillation` have the formulas.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

from segsearch.training.aggregations import DistillationConfig
from segsearch.training.config import RunConfig, StageConfig
from segsearch.training.distillation import mix_loss
from segsearch.training.losses import cross_entropy
from segsearch.training.models.network import Network
from segsearch.training.teachers import MeanTeacherObjective

# codes (B, W, F) uint8, frame_count (B,), labels (B, C); weights (B, C) where pairs are unrated; for a mean teacher
# also unlabelled_codes (U, W, F) uint8 and unlabelled_frame_count (U,)
Batch = Mapping[str, tf.Tensor]


class Objective(Protocol):
    def loss(self, network: Network, average_network: Network, batch: Batch, step: tf.Tensor) -> Any:
        """The batch's loss, scalar, as a function of `network`'s weights at step `step` (scalar int64, from 0)."""
        ...


@dataclass(frozen=True)
class CrossEntropyObjective:
    """Labels alone: what every plain network learns from."""

    def loss(self, network: Network, average_network: Network, batch: Batch, step: tf.Tensor) -> Any:  # noqa: ARG002
        outputs = network(batch["codes"], batch["frame_count"], training=True)
        return cross_entropy(outputs["scores"], batch["labels"], batch.get("weights"))


@dataclass(frozen=True)
class MixObjective:
    """Labels for a mix and for each of its towers, which the mix also teaches."""

    distillation: DistillationConfig

    def loss(self, network: Network, average_network: Network, batch: Batch, step: tf.Tensor) -> Any:  # noqa: ARG002
        outputs = network(batch["codes"], batch["frame_count"], training=True)
        return mix_loss(outputs, batch["labels"], self.distillation, batch.get("weights")).total


def objective_of(config: RunConfig, stage: StageConfig) -> Objective:
    """What `stage` of a run minimises."""
    mix = config.network.mix
    labelled: Objective = CrossEntropyObjective() if mix is None else MixObjective(mix.distillation)
    return labelled if stage.mean_teacher is None else MeanTeacherObjective(labelled, stage.mean_teacher)
