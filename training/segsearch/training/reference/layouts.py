"""Which of a reference's variables is which of ours, for each aggregation.

Where it stands: `checkpoints` asks for the reader of a model; `heads` has what lies behind, `parts` and `cells` what
aggregations share. A reader gives a config, and the weights by our paths below the aggregation. Sizes are taken from
the variables, whose shapes cannot lie; flags say only what shapes cannot. `variables` names the systems.
"""

from segsearch.core.features import FeatureSpec
from segsearch.training.aggregations import (
    Aggregation,
    ContextGatingConfig,
    DBoFConfig,
    FrameMeanConfig,
    GatedDBoFConfig,
    GRUConfig,
    HiddenConfig,
    LSTMConfig,
    NetFVConfig,
    NetVLADConfig,
    NeXtVLADConfig,
    SoftDBoFConfig,
)
from segsearch.training.reference.cells import both_ways, gru_cell, lstm_cell, stacked
from segsearch.training.reference.parts import bag_of, batch_norm, divisor_of, scopes_of, takes_best_too
from segsearch.training.reference.variables import Variables, Weights


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
    fields, weights = bag_of(variables, features, "DBOF")
    fields["max_pool"] = takes_best_too(variables, weights, features)
    return SoftDBoFConfig(**fields), weights


def _gated_dbof(variables: Variables, features: FeatureSpec) -> tuple[Aggregation, Weights]:
    fields, weights = bag_of(variables, features, "DBOF")
    first, scope = features.streams[0].name, variables.under("video_DBOF")
    weights |= {
        f"{first}/narrow": scope.take("dim_red"),
        f"{first}/widen": scope.take("cluster_weights_2"),
        **batch_norm(scope, "cluster_bn_2", f"{first}/batch_norm"),
    }
    fields["max_pool"] = takes_best_too(variables, weights, features)
    return GatedDBoFConfig(**fields), weights


def _netvlad(variables: Variables, features: FeatureSpec) -> tuple[Aggregation, Weights]:
    fields, weights = bag_of(variables, features, "VLAD", remove_diagonal=variables.flag("gating_remove_diag", False))
    form = "light"
    for stream, scope in scopes_of(variables, features, "VLAD"):
        if "cluster_weights2" in scope:
            form, weights[f"{stream}/centres"] = "residual", scope.take("cluster_weights2")[0]
        elif "gate_weights" in scope:
            form, weights[f"{stream}/gates"] = "gated", scope.take("gate_weights")[0].T
    return NetVLADConfig(form=form, **fields), weights


def _netfv(variables: Variables, features: FeatureSpec) -> tuple[Aggregation, Weights]:
    fields, weights = bag_of(variables, features, "FV")  # its gating knows no gating_remove_diag
    coupled = False
    for stream, scope in scopes_of(variables, features, "FV"):
        weights[f"{stream}/spread"] = scope.take("covar_weights")
        coupled = "cluster_weights2" not in scope
        if not coupled:
            weights[f"{stream}/centres"] = scope.take("cluster_weights2")[0]
    return NetFVConfig(coupled=coupled, coupling=float(variables.flag("fv_coupling_factor", 0.01)), **fields), weights


def _nextvlad(variables: Variables, features: FeatureSpec) -> tuple[Aggregation, Weights]:
    recent, in_mix = variables.reference.system == "linrongc_v3", bool(variables.scope)
    weights: Weights = {}
    clusters, groups, expansion = [], [], 1
    for stream, scope in scopes_of(variables, features, "vlad" if in_mix else "VLAD"):
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
        stream_divisor=divisor_of(variables, clusters, 2),
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
