"""Losses that teach by soft targets: a mix its towers while all train, or finished teachers a student.

Where it stands: `layers.mix` gives the logits, `objective` takes `mix_loss`; `losses` has the plain cross entropy.

B segments, N towers, C classes.
"""

from typing import NamedTuple

from keras import ops

from segsearch.training.aggregations import DistillationConfig
from segsearch.training.losses import cross_entropy

DIVERGENCE_EPSILON = 1e-8  # in all releases of the reference


class MixLoss(NamedTuple):
    """The terms of a mix's loss, scalars; L2 is not among them."""

    mix: object  # cross entropy of the mixed scores
    towers: object  # (N,) cross entropy of each tower's
    divergence: object  # before its weight
    total: object


def mix_loss(outputs, labels, config: DistillationConfig, weights=None) -> MixLoss:
    """Cross entropy of the mix and of each tower, and how far the towers are from the mix (linrongc/youtube-8m
    train.py, nextvlad.py). outputs as `Mix` gives them; labels and weights (B, C), weight 0 for unrated pairs.
    """
    mix = cross_entropy(outputs["scores"], labels, weights, config.epsilon)
    tower_scores = ops.unstack(ops.sigmoid(outputs["tower_logits"]), axis=1)  # N of (B, C)
    towers = ops.stack([cross_entropy(scores, labels, weights, config.epsilon) for scores in tower_scores])
    divergence = mix_divergence(outputs["logits"], outputs["tower_logits"], config.temperature, config.stop_gradient)
    total = mix + config.tower_labels * ops.sum(towers) + config.divergence_weight * divergence
    return MixLoss(mix, towers, divergence, total)


def mix_divergence(logits, tower_logits, temperature: float, stop_gradient: bool = False):  # (B, C), (B, N, C)
    """Mean over segments of the sum over towers of KL(mix, tower); distributions are softmaxes over classes of
    logits / temperature, although classes are no alternatives: so in the reference.
    """
    teacher = ops.softmax(logits / temperature, axis=-1)[:, None, :]  # (B, 1, C)
    students = ops.softmax(tower_logits / temperature, axis=-1)  # (B, N, C)
    if stop_gradient:
        teacher = ops.stop_gradient(teacher)
    apart = ops.log(teacher + DIVERGENCE_EPSILON) - ops.log(students + DIVERGENCE_EPSILON)
    return ops.mean(ops.sum(teacher * apart, axis=(1, 2)))


def mixed_cross_entropy(label_loss, teacher_loss, teacher_share: float):
    """A student's loss between labels and its teachers' scores (miha-skalic/youtube8mchallenge losses.py)."""
    return teacher_share * teacher_loss + (1 - teacher_share) * label_loss
