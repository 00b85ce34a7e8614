"""What several aggregations of the references share: streams, willow's bags, the hidden layer, batch norm.

Where it stands: part of `layouts`; weights are named by our paths below the aggregation.
"""

from typing import Any

import numpy as np

from segsearch.core.errors import CheckpointMismatch, ConfigError
from segsearch.core.features import FeatureSpec
from segsearch.training.aggregations import ContextGatingConfig, HiddenConfig
from segsearch.training.reference.variables import Variables, Weights

BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
BATCH_NORM_EPSILON = 1e-3


def scopes_of(variables: Variables, features: FeatureSpec, kind: str) -> list[tuple[str, Variables]]:
    """Both streams, each with the scope of its variables; ConfigError where there are not two."""
    if len(features.streams) != 2:
        raise ConfigError("features", str(features), "two streams, as this model was made for video and audio")
    video, audio = (stream.name for stream in features.streams)
    return [(video, variables.under(f"video_{kind}")), (audio, variables.under(f"audio_{kind}"))]


def bag_of(
    variables: Variables, features: FeatureSpec, kind: str, remove_diagonal: bool = False
) -> tuple[dict[str, Any], Weights]:
    """What willow's poolings share: config fields and weights of input, assignments, hidden layer and gating."""
    weights = batch_norm(variables, "input_bn", "input_bn", size=features.size)
    clusters, usual = [], 8 if kind == "DBOF" else 2
    for stream, scope in scopes_of(variables, features, kind):
        weights[f"{stream}/assignment/clusters"] = scope.take("cluster_weights")
        weights |= batch_norm(scope, "cluster_bn", f"{stream}/assignment/batch_norm", biases="cluster_biases")
        clusters.append(scope.shape("cluster_weights")[1])
    fields = {
        "clusters": clusters[0],
        "stream_divisor": divisor_of(variables, clusters, usual),
        "hidden": None,
        "gating": None,
    }
    if "hidden1_weights" in variables:
        fields["hidden"], parts = _hidden(variables, {"VLAD": "netvlad_relu", "FV": "fv_relu"}.get(kind, "dbof_relu"))
        weights |= parts
    if "gating_weights_2" in variables:
        fields["gating"] = ContextGatingConfig(form="batch_norm", remove_diagonal=bool(remove_diagonal))
        weights["gating/kernel"] = variables.take("gating_weights_2")
        weights |= batch_norm(variables, "gating_bn", "gating/batch_norm", biases="gating_biases")
    return fields, weights


def takes_best_too(variables: Variables, weights: Weights, features: FeatureSpec) -> bool:
    """Whether soft bags have each cluster's best frame beside its sum: their width says so, else the flag."""
    if "hidden/kernel" not in weights:
        return bool(variables.flag("softdbof_maxpool", False))
    sums = sum(weights[f"{stream.name}/assignment/clusters"].shape[1] for stream in features.streams)
    return len(weights["hidden/kernel"]) > sums


def _hidden(variables: Variables, relu: str) -> tuple[HiddenConfig, Weights]:
    """relu: name of the flag that says whether it is cut off; with batch norm around, the variables say so too."""
    units = variables.shape("hidden1_weights")[1]
    weights = {"hidden/kernel": variables.take("hidden1_weights")}
    linear = "input_bn/gamma" in variables or not variables.flag(relu, True)
    if "hidden1_biases" in variables and linear:
        return HiddenConfig(units=units), {**weights, "hidden/biases": variables.take("hidden1_biases")}
    weights |= batch_norm(variables, "hidden1_bn", "hidden/batch_norm", biases="hidden1_biases")
    return HiddenConfig(units=units, form="batch_norm_relu6"), weights


def divisor_of(variables: Variables, clusters: list[int], usual: int) -> int:
    """What clusters of the second stream are divided by; CheckpointMismatch where that is no whole number."""
    first, further = clusters
    if first // usual == further:
        return usual
    if first // (first // further) != further:
        found = f"clusters {first} and {further} for video and audio"
        raise CheckpointMismatch(variables.reference.source, found, "the second a whole part of the first")
    return first // further


def batch_norm(variables: Variables, theirs: str, ours: str, biases: str = "", size: int = 0) -> Weights:
    """Batch norm's four arrays. A model made without it has `biases`, or nothing, for which a batch norm stands in that
    adds them and changes nothing else.
    """
    if f"{theirs}/gamma" in variables:
        return {f"{ours}/{part}": variables.take(f"{theirs}/{part}") for part in BATCH_NORM}
    if biases and biases in variables:
        shift = variables.take(biases)
    elif size:
        shift = np.zeros(size, np.float32)
    else:
        return {f"{ours}/{part}": variables.take(f"{theirs}/{part}") for part in BATCH_NORM}  # names the missing one
    ones = np.ones_like(shift)
    still = (ones, shift, np.zeros_like(shift), ones * np.float32(1 - BATCH_NORM_EPSILON))
    return {f"{ours}/{part}": array for part, array in zip(BATCH_NORM, still, strict=True)}
