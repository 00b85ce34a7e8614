"""The mean teacher: on segments without labels, a network learns to score as its own average does.

Where it stands: `objective.objective_of` puts a `MeanTeacherObjective` around what a stage minimises otherwise;
`input.unlabelled` brings the segments, `perturbations` disturbs them. The paper's section 3 and Tarvainen and Valpola,
2017; what they leave open is in `supervision.MeanTeacherConfig`.

U unlabelled segments, W frames of a window, F codes a frame, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from segsearch.training.models.network import Network
from segsearch.training.perturbations import disturb
from segsearch.training.supervision import MeanTeacherConfig

if TYPE_CHECKING:
    from segsearch.training.objective import Batch, Objective

SEED = 0x5EED  # of the disturbances; they differ by step


@dataclass(frozen=True)
class MeanTeacherObjective:
    """What the labels ask for, and the weighted distance between student and teacher on unlabelled segments."""

    labelled: Objective
    config: MeanTeacherConfig

    def loss(self, network: Network, average_network: Network, batch: Batch, step: tf.Tensor) -> Any:
        """batch: also `unlabelled_codes` (U, W, F) uint8 and `unlabelled_frame_count` (U,) int32."""
        labelled = self.labelled.loss(network, average_network, batch, step)
        codes, frame_count = batch["unlabelled_codes"], batch["unlabelled_frame_count"]
        apart = consistency(network, average_network, codes, frame_count, self.config, step)
        return labelled + consistency_weight(self.config, step) * apart


def consistency(
    network: Network,
    average_network: Network,
    codes: tf.Tensor,  # (U, W, F) uint8
    frame_count: tf.Tensor,  # (U,) int32
    config: MeanTeacherConfig,
    step: tf.Tensor,
) -> tf.Tensor:
    """Mean over segments and classes of the squared difference between the student's and the teacher's scores, scalar.

    The teacher, the averaged network as at inference, sees the segments as they are and gets no gradient.
    """
    features = network.features
    seed = tf.stack([tf.constant(SEED, tf.int64), step])
    seen = disturb(config, codes, frame_count, (features.high - features.low) / 255, seed)
    target = average_network(codes, frame_count, training=False)["scores"]  # (U, C)
    target += seen.share * (tf.roll(target, 1, axis=0) - target)
    # Inference meets undisturbed segments: batch norm's moving statistics must not learn from these.
    statistics = [tf.identity(weight) for weight in network.non_trainable_weights]
    scores = network(seen.codes, seen.frame_count, training=True)["scores"]
    for weight, before in zip(network.non_trainable_weights, statistics, strict=True):
        weight.assign(before)
    return tf.reduce_mean(tf.math.squared_difference(scores, tf.stop_gradient(target)))


def consistency_weight(config: MeanTeacherConfig, step: tf.Tensor) -> tf.Tensor:
    """weight * exp(-5 (1 - t/T)^2) at step t of T, and `weight` from step T on; scalar float32."""
    if not config.ramp_up_steps:
        return tf.constant(config.weight)
    missing = 1.0 - tf.minimum(tf.cast(step, tf.float32) / config.ramp_up_steps, 1.0)
    return config.weight * tf.exp(-5.0 * tf.square(missing))
