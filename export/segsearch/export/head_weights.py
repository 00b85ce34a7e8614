"""Reads heads off a trained network: every head is one product and what is made of its columns.

Where it stands: `networks` reads what comes before; `heads` says what the columns mean.

H embedding size, C classes, M experts.
"""

from typing import Any

import numpy as np

from segsearch.export.folding import Steps, beside, fold
from segsearch.export.heads import (
    GatedScores,
    HeadLogits,
    LogisticScores,
    LogitMixtureScores,
    MixScores,
    MixtureScores,
    Scores,
    SidedScores,
)
from segsearch.export.steps import Dense, Scale
from segsearch.training.layers.batch_norm import EPSILON, BatchNorm
from segsearch.training.layers.logistic import Logistic
from segsearch.training.layers.logit_moe import LogitMoE
from segsearch.training.layers.moe import MoE
from segsearch.training.layers.probability_gating import ProbabilityGating
from segsearch.training.layers.tower import LOGIT_MARGIN


def read_head(head: Any) -> tuple[Dense, Scores] | None:
    """From the embedding to columns, and from columns to scores; None for a head that is not known."""
    if isinstance(head, ProbabilityGating):
        ungated = _sided(head.head)
        return None if ungated is None else _gated(head, *ungated)
    return _sided(head)


def head_logits(scores: Scores) -> Steps:
    """From a tower's columns to the logits that a mix mixes, as `training.layers.tower` takes them."""
    match scores:
        case LogisticScores() | MixScores():
            return ()
        case LogitMixtureScores():
            return (HeadLogits(scores, None),)
    return (HeadLogits(scores, LOGIT_MARGIN),)


def _sided(head: Any) -> tuple[Dense, SidedScores] | None:
    match head:
        case Logistic():
            return Dense(array(head.kernel), array(head.biases)), LogisticScores()
        case MoE():
            gates = Dense(_by_expert(array(head.gates), head.classes))
            return beside(gates, _experts(head)), MixtureScores(head.classes, head.config.mixtures)
        case LogitMoE():
            shared = head.config.shared_gate
            gates, experts = Dense(_by_expert(array(head.gates), 1 if shared else head.classes)), _experts(head)
            if head.config.batch_norm:
                gates, experts = _behind(head.gates_bn, gates), _behind(head.experts_bn, experts)
            return beside(gates, experts), LogitMixtureScores(head.classes, head.config.mixtures, shared)
    return None


def _gated(head: ProbabilityGating, product: Dense, ungated: SidedScores) -> tuple[Dense, GatedScores]:
    kernel, norm = array(head.kernel), batch_norm(head.batch_norm)
    if head.config.input == "scores":
        if head.config.remove_diagonal:
            kernel = kernel - np.diag(np.diag(kernel))
        return product, GatedScores(head.classes, ungated, fold((Dense(kernel), norm)))
    own = -np.diag(kernel) * norm.scale if head.config.remove_diagonal else None
    (gates,) = fold((Dense(kernel), norm))
    assert isinstance(gates, Dense)
    return beside(gates, product), GatedScores(head.classes, ungated, own=own)


def _experts(head: MoE | LogitMoE) -> Dense:
    return Dense(_by_expert(array(head.experts), head.classes), _by_expert(array(head.biases), head.classes))


def _behind(norm: BatchNorm, product: Dense) -> Dense:
    """A product of what a batch norm leaves."""
    (folded,) = fold((batch_norm(norm), product))
    assert isinstance(folded, Dense)
    return folded


def _by_expert(columns: np.ndarray, classes: int) -> np.ndarray:
    """Columns that run through the experts of one class after the other, reordered to run through the classes."""
    by_class = columns.reshape(*columns.shape[:-1], classes, -1)
    return np.ascontiguousarray(by_class.swapaxes(-1, -2)).reshape(columns.shape)


def batch_norm(norm: BatchNorm) -> Scale:
    """What a batch norm does at inference."""
    scale = array(norm.gamma) / np.sqrt(array(norm.moving_variance) + np.float32(EPSILON))
    return Scale(scale, array(norm.beta) - array(norm.moving_mean) * scale)


def array(weight: Any) -> np.ndarray:
    return np.asarray(weight, np.float32)
