"""Which of a reference's variables is which of ours, part by part: aggregations and heads.

Each reader gives a config and weights by our paths below that part. Sizes are taken from the variables, whose shapes
cannot lie; flags say only what shapes cannot. `variables` names the systems.
"""

from typing import Any

import numpy as np

from segsearch.core.errors import CheckpointMismatch, ConfigError
from segsearch.core.features import FeatureSpec
from segsearch.training.aggregations import (
    Aggregation,
    ContextGatingConfig,
    DBoFConfig,
    FrameMeanConfig,
    GatedDBoFConfig,
    GRUConfig,
    Head,
    HiddenConfig,
    LogisticConfig,
    LogitMoEConfig,
    LSTMConfig,
    MoEConfig,
    NetFVConfig,
    NetVLADConfig,
    NeXtVLADConfig,
    ProbabilityGatingConfig,
    SoftDBoFConfig,
)
from segsearch.training.reference.cells import both_ways, gru_cell, lstm_cell, stacked
from segsearch.training.reference.variables import Variables, Weights

BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
BATCH_NORM_EPSILON = 1e-3

# ---- aggregations: each gives its config and its weights by path below the aggregation ----


def _frame_mean(_variables: Variables, _features: FeatureSpec) -> tuple[Aggregation, Weights]:
    return FrameMeanConfig(), {}


def _dbof(variables: Variables, features: FeatureSpec) -> tuple[Aggregation, Weights]:
    # The starter code's default is sigmoid since June 2019; skalic's copy is older and knows relu6 only.
    default = "sigmoid" if variables.reference.system == "google" else "relu6"
    activation = variables.flag("dbof_activation", default) if default == "sigmoid" else default
    pooling = variables.flag("dbof_pooling_method", "max")
    clusters, hidden = variables.shape("hidden1_weights")
    config = DBoFConfig(
        clusters=clusters,
        hidden=hidden,
        pooling="mean" if pooling == "average" else pooling,
        activation="relu6" if activation == "relu" else activation,
    )
    weights = {
        "clusters": variables.take("cluster_weights"),
        "hidden": variables.take("hidden1_weights"),
        **batch_norm(variables, "input_bn", "input_bn", size=features.size),
        **batch_norm(variables, "cluster_bn", "cluster_bn", biases="cluster_biases"),
        **batch_norm(variables, "hidden1_bn", "hidden_bn", biases="hidden1_biases"),
    }
    return config, weights


def _soft_dbof(variables: Variables, features: FeatureSpec) -> tuple[Aggregation, Weights]:
    fields, weights = _bag(variables, features, "DBOF")
    fields["max_pool"] = _max_pool(variables, weights, features)
    return SoftDBoFConfig(**fields), weights


def _gated_dbof(variables: Variables, features: FeatureSpec) -> tuple[Aggregation, Weights]:
    fields, weights = _bag(variables, features, "DBOF")
    first, scope = features.streams[0].name, variables.under("video_DBOF")
    weights |= {
        f"{first}/narrow": scope.take("dim_red"),
        f"{first}/widen": scope.take("cluster_weights_2"),
        **batch_norm(scope, "cluster_bn_2", f"{first}/batch_norm"),
    }
    fields["max_pool"] = _max_pool(variables, weights, features)
    return GatedDBoFConfig(**fields), weights


def _netvlad(variables: Variables, features: FeatureSpec) -> tuple[Aggregation, Weights]:
    fields, weights = _bag(variables, features, "VLAD", remove_diagonal=variables.flag("gating_remove_diag", False))
    form = "light"
    for stream, scope in _scopes(variables, features, "VLAD"):
        if "cluster_weights2" in scope:
            form, weights[f"{stream}/centres"] = "residual", scope.take("cluster_weights2")[0]
        elif "gate_weights" in scope:
            form, weights[f"{stream}/gates"] = "gated", scope.take("gate_weights")[0].T
    return NetVLADConfig(form=form, **fields), weights


def _netfv(variables: Variables, features: FeatureSpec) -> tuple[Aggregation, Weights]:
    fields, weights = _bag(variables, features, "FV")  # its gating knows no gating_remove_diag
    coupled = False
    for stream, scope in _scopes(variables, features, "FV"):
        weights[f"{stream}/spread"] = scope.take("covar_weights")
        coupled = "cluster_weights2" not in scope
        if not coupled:
            weights[f"{stream}/centres"] = scope.take("cluster_weights2")[0]
    return NetFVConfig(coupled=coupled, coupling=float(variables.flag("fv_coupling_factor", 0.01)), **fields), weights


def _nextvlad(variables: Variables, features: FeatureSpec) -> tuple[Aggregation, Weights]:
    recent, in_mix = variables.reference.system == "linrongc_v3", bool(variables.scope)
    weights: Weights = {}
    clusters, groups, expansion = [], [], 1
    for stream, scope in _scopes(variables, features, "vlad" if in_mix else "VLAD"):
        weights |= {
            f"{stream}/expand": scope.take("fully_connected/weights"),
            f"{stream}/expand_biases": scope.take("fully_connected/biases"),
            f"{stream}/attend": scope.take("fully_connected_1/weights"),
            f"{stream}/attend_biases": scope.take("fully_connected_1/biases"),
            f"{stream}/assign": scope.take("cluster_weights"),
            f"{stream}/centres": scope.take("cluster_weights2")[0],
            **batch_norm(scope, "cluster_bn", f"{stream}/cluster_bn"),
            **batch_norm(scope, "vlad_bn", f"{stream}/vlad_bn"),
        }
        clusters.append(scope.shape("cluster_weights2")[2])
        groups.append(scope.shape("fully_connected_1/weights")[1])
        expansion = scope.shape("fully_connected/weights")[1] // scope.shape("fully_connected/weights")[0]
    width, reduced = variables.shape("gating_weights_1")
    hidden = HiddenConfig(
        units=width, form="batch_norm", dropout=float(variables.flag("drop_rate", 0.5)), unbiased=False
    )
    config = NeXtVLADConfig(
        clusters=clusters[0],
        groups=groups[0],
        stream_divisor=_divisor(variables, clusters, 2),
        expansion=expansion,
        hidden=hidden,
        gating=ContextGatingConfig(form="squeeze", reduction=width // reduced, unbiased=not recent),
        masked=not (recent and variables.flag("segment_labels", False)),
        padding_in_statistics=True,
    )
    weights |= {
        "hidden/kernel": variables.take("hidden1_weights"),
        **batch_norm(variables, "hidden1_bn", "hidden/batch_norm"),
        "gating/squeeze": variables.take("gating_weights_1"),
        "gating/excite": variables.take("gating_weights_2"),
        **batch_norm(variables, "gating_bn", "gating/batch_norm"),
    }
    return config, weights


def _lstm(variables: Variables, _features: FeatureSpec) -> tuple[Aggregation, Weights]:
    willow = variables.reference.system == "willow"
    scope = variables.under("RNN/rnn") if willow else variables.under("rnn")
    weights, cells, layers = stacked(scope, lstm_cell, "basic_lstm_cell", "lstm_cell")
    backward = willow and variables.flag("lstm_backward", False)
    config = LSTMConfig(
        cells=cells,
        layers=layers,
        direction="backward" if backward else "forward",
        output="states" if willow else "hidden",
    )
    return config, weights


def _bidirectional_lstm(variables: Variables, _features: FeatureSpec) -> tuple[Aggregation, Weights]:
    weights, cells = both_ways(variables, lstm_cell, "basic_lstm_cell", "lstm_cell")
    return LSTMConfig(cells=cells, layers=2, direction="bidirectional", output="cell"), weights


def _gru(variables: Variables, _features: FeatureSpec) -> tuple[Aggregation, Weights]:
    weights, cells, layers = stacked(variables.under("RNN/rnn"), gru_cell, "gru_cell", "gru_cell")
    direction = "backward" if variables.flag("gru_backward", False) else "forward"
    return GRUConfig(cells=cells, layers=layers, direction=direction, output="states"), weights


def _bidirectional_gru(variables: Variables, _features: FeatureSpec) -> tuple[Aggregation, Weights]:
    weights, cells = both_ways(variables, gru_cell, "gru_cell", "gru_cell")
    gating = None
    if "gating_weights_2" in variables:
        gating = ContextGatingConfig(form="bias")
        weights["gating/kernel"] = variables.take("gating_weights_2")
        weights["gating/biases"] = variables.take("gating_biases")
    return GRUConfig(cells=cells, layers=2, direction="bidirectional", output="hidden", gating=gating), weights


AGGREGATIONS = {
    "FrameLevelLogisticModel": _frame_mean,
    "DbofModel": _dbof,
    "SoftDbofModelLF": _soft_dbof,
    "GatedDbofModelLF": _gated_dbof,
    "NetVLADModelLF": _netvlad,
    "NetFVModelLF": _netfv,
    "NeXtVLADModel": _nextvlad,
    "MixNeXtVladModel": _nextvlad,  # one branch of it
    "LstmModel": _lstm,
    "Lstmbidirect": _bidirectional_lstm,
    "GruModel": _gru,
    "GRUbidirect": _bidirectional_gru,
}


# ---- parts ----


def _scopes(variables: Variables, features: FeatureSpec, kind: str) -> list[tuple[str, Variables]]:
    if len(features.streams) != 2:
        raise ConfigError("features", str(features), "two streams, as this model was made for video and audio")
    video, audio = (stream.name for stream in features.streams)
    return [(video, variables.under(f"video_{kind}")), (audio, variables.under(f"audio_{kind}"))]


def _bag(
    variables: Variables, features: FeatureSpec, kind: str, remove_diagonal: bool = False
) -> tuple[dict[str, Any], Weights]:
    """What willow's poolings share: config fields and weights of input, assignments, hidden layer and gating."""
    weights = batch_norm(variables, "input_bn", "input_bn", size=features.size)
    clusters, usual = [], 8 if kind == "DBOF" else 2
    for stream, scope in _scopes(variables, features, kind):
        weights[f"{stream}/assignment/clusters"] = scope.take("cluster_weights")
        weights |= batch_norm(scope, "cluster_bn", f"{stream}/assignment/batch_norm", biases="cluster_biases")
        clusters.append(scope.shape("cluster_weights")[1])
    fields = {
        "clusters": clusters[0],
        "stream_divisor": _divisor(variables, clusters, usual),
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


def _max_pool(variables: Variables, weights: Weights, features: FeatureSpec) -> bool:
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


def _divisor(variables: Variables, clusters: list[int], usual: int) -> int:
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


# ---- heads: config, weights by path below the head, classes ----


def head_of(variables: Variables, logits: bool) -> tuple[Head, Weights, int]:
    system = variables.reference.system
    if "fully_connected/weights" in variables:
        weights = {
            "kernel": variables.take("fully_connected/weights"),
            "biases": variables.take("fully_connected/biases"),
        }
        classes = len(weights["biases"])
        if system.startswith("linrongc"):
            l2 = float(variables.flag("l2_penalty", 1e-8))
            return LogisticConfig(l2=l2, bias_l2=l2, start="he"), weights, classes
        return LogisticConfig(l2=1e-8), weights, classes
    weights, classes, mixtures = _moe(variables)
    if system.startswith("linrongc"):
        l2 = float(variables.flag("l2_penalty", 1e-8))
        config: Head = LogitMoEConfig(mixtures=mixtures, l2=l2) if logits else MoEConfig(mixtures=mixtures, l2=l2)
        return config, weights, classes
    l2 = 1e-8 if system == "google" else float(variables.flag("moe_l2", 1e-8))
    head = MoEConfig(mixtures=mixtures, l2=l2)
    if "gating_prob_weights" not in variables:
        return head, weights, classes
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
