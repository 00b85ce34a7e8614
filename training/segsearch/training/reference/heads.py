"""Which of a reference's variables is which of ours, for each head: config, weights by path below it, classes.

Where it stands: `checkpoints` calls it for every tower; `layouts` has the aggregations in front.
"""

from segsearch.core.errors import CheckpointMismatch
from segsearch.training.aggregations import Head, LogisticConfig, LogitMoEConfig, MoEConfig, ProbabilityGatingConfig
from segsearch.training.reference.parts import batch_norm
from segsearch.training.reference.variables import Variables, Weights


def head_of(variables: Variables, logits: bool) -> tuple[Head, Weights, int]:
    """The head's config, its weights and its classes. logits: a mixture mixes its experts' logits."""
    if "fully_connected/weights" in variables:
        return _logistic(variables)
    weights, classes, mixtures = _moe(variables)
    if variables.reference.system.startswith("linrongc"):
        l2 = _penalty(variables)
        config: Head = LogitMoEConfig(mixtures=mixtures, l2=l2) if logits else MoEConfig(mixtures=mixtures, l2=l2)
        return config, weights, classes
    l2 = 1e-8 if variables.reference.system == "google" else float(variables.flag("moe_l2", 1e-8))
    head = MoEConfig(mixtures=mixtures, l2=l2)
    if "gating_prob_weights" in variables:
        return _gated(variables, head, weights, classes)
    return head, weights, classes


def _logistic(variables: Variables) -> tuple[Head, Weights, int]:
    weights = {"kernel": variables.take("fully_connected/weights"), "biases": variables.take("fully_connected/biases")}
    config = LogisticConfig(l2=1e-8)
    if variables.reference.system.startswith("linrongc"):
        l2 = _penalty(variables)
        config = LogisticConfig(l2=l2, bias_l2=l2, start="he")
    return config, weights, len(weights["biases"])


def _gated(variables: Variables, head: MoEConfig, weights: Weights, classes: int) -> tuple[Head, Weights, int]:
    """The head around a mixture whose probabilities are gated."""
    gated = {f"{head.kind}/{path}": array for path, array in weights.items()}
    gated |= {
        "kernel": variables.take("gating_prob_weights"),
        **batch_norm(variables, "gating_prob_bn", "batch_norm"),
    }
    of_scores = len(gated["kernel"]) == classes and variables.flag("moe_prob_gating_input", "prob") == "prob"
    config = ProbabilityGatingConfig(
        head=head,
        input="scores" if of_scores else "embedding",
        remove_diagonal=bool(variables.flag("gating_remove_diag", False)),
    )
    return config, gated, classes


def _penalty(variables: Variables) -> float:
    return float(variables.flag("l2_penalty", 1e-8))


def _moe(variables: Variables) -> tuple[Weights, int, int]:
    """Weights, classes and mixtures. Gates have one column a class more than experts: their dummy's."""
    if "gates1/weights" in variables:  # moe_low_rank_gating: two thin matrices, whose product is one
        gates = variables.take("gates1/weights") @ variables.take("gates2/weights")
    else:
        gates = variables.take("gates/weights")
    weights = {
        "gates": gates,
        "experts": variables.take("experts/weights"),
        "biases": variables.take("experts/biases"),
    }
    classes = gates.shape[1] - weights["experts"].shape[1]
    if classes < 1 or weights["experts"].shape[1] % classes:
        found = f"gates of shape {gates.shape} and experts of shape {weights['experts'].shape}"
        wanted = "classes x (mixtures + 1) and classes x mixtures columns"
        raise CheckpointMismatch(variables.reference.source, found, wanted)
    return weights, classes, weights["experts"].shape[1] // classes
