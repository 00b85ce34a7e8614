"""What can be set about each network: how frames become one vector, how that becomes classes, how networks mix.

Where it stands: `config` holds what a run is made of and names the unions made here; each dataclass belongs to a file
in `layers/`. Defaults are what the reference published, which each docstring names, or the starter code
(google/youtube-8m) where none is: willow is the 1st place of 2017 (antoine77340/Youtube-8M-WILLOW), skalic the 1st of
2018 (miha-skalic/youtube8mchallenge), linrongc the 3rd of 2018 and 2019 (linrongc/youtube-8m,
linrongc/solution_youtube8m_v3). Imports no TensorFlow.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from segsearch.core.errors import ConfigError
from segsearch.training.checks import above_zero, at_least, not_negative, one_of, share


@dataclass(frozen=True, kw_only=True)
class DBoFConfig:
    """Deep bag of frames: every frame is projected onto clusters, then the best (or mean) of each cluster counts."""

    kind: ClassVar[str] = "dbof"

    clusters: int = 8192
    hidden: int = 1024
    pooling: str = "max"
    activation: str = "sigmoid"  # the starter code's since June 2019; older systems use relu6
    batch_norm_decay: float = 0.999
    batch_norm_warm_up: bool = False  # decay min(d, (1 + t) / (10 + t)): a short run forgets its statistics' start
    l2: float = 0.0  # on the cluster and hidden weights; the references have none
    pooled_dropout: float = 0.0
    hidden_dropout: float = 0.0

    def __post_init__(self) -> None:
        at_least("clusters", self.clusters, 1)
        at_least("hidden", self.hidden, 1)
        one_of("pooling", self.pooling, ("max", "mean"))
        one_of("activation", self.activation, ("sigmoid", "relu6"))
        share("batch_norm_decay", self.batch_norm_decay)
        not_negative("l2", self.l2)
        share("pooled_dropout", self.pooled_dropout)
        share("hidden_dropout", self.hidden_dropout)


@dataclass(frozen=True, kw_only=True)
class FrameMeanConfig:
    """The mean of a segment's frames, with no weights of its own; with a logistic head it is FrameLogistic."""

    kind: ClassVar[str] = "frame_mean"


@dataclass(frozen=True, kw_only=True)
class MoEConfig:
    """Mixture of experts: each class mixes `mixtures` logistic experts and a dummy that always says no."""

    kind: ClassVar[str] = "moe"

    mixtures: int = 2
    l2: float = 1e-8  # on gates and experts

    def __post_init__(self) -> None:
        at_least("mixtures", self.mixtures, 1)
        not_negative("l2", self.l2)


@dataclass(frozen=True, kw_only=True)
class LogisticConfig:
    """One logistic regression a class. linrongc's, the heads of its mix, starts as "he", with L2 on biases too."""

    kind: ClassVar[str] = "logistic"

    l2: float = 1e-8
    bias_l2: float = 0.0
    start: str = "glorot"  # or "he"

    def __post_init__(self) -> None:
        not_negative("l2", self.l2)
        not_negative("bias_l2", self.bias_l2)
        one_of("start", self.start, ("glorot", "he"))


@dataclass(frozen=True, kw_only=True)
class HiddenConfig:
    """The hidden layer between a pooled descriptor and the head."""

    units: int = 1024
    form: str = "bias"  # "bias": linear; "batch_norm_relu6"; "batch_norm": linear, the shift is batch norm's
    dropout: float = 0.0  # of the pooled descriptor
    l2: float = 0.0
    batch_norm_decay: float = 0.999
    unbiased: bool = True  # what moving variances follow; False where the reference turns the fused kernel off

    def __post_init__(self) -> None:
        at_least("units", self.units, 1)
        one_of("form", self.form, ("bias", "batch_norm_relu6", "batch_norm"))
        share("dropout", self.dropout)
        not_negative("l2", self.l2)
        share("batch_norm_decay", self.batch_norm_decay)


@dataclass(frozen=True, kw_only=True)
class ContextGatingConfig:
    """Each hidden unit is multiplied by a gate that looks at all of them."""

    form: str = "batch_norm"  # willow; "bias": skalic's recurrent networks; "squeeze": linrongc, two thin layers
    reduction: int = 8  # of "squeeze"
    remove_diagonal: bool = False  # of "batch_norm" and "bias": a unit has no say in its own gate
    batch_norm_decay: float = 0.999
    unbiased: bool = True

    def __post_init__(self) -> None:
        one_of("form", self.form, ("batch_norm", "bias", "squeeze"))
        at_least("reduction", self.reduction, 1)
        share("batch_norm_decay", self.batch_norm_decay)
        if self.remove_diagonal and self.form == "squeeze":
            raise ConfigError("remove_diagonal", True, "false for squeeze, whose matrices are not square")


def _squeeze() -> ContextGatingConfig:
    return ContextGatingConfig(form="squeeze")


@dataclass(frozen=True, kw_only=True)
class SoftDBoFConfig:
    """Frames softly assigned to clusters; how much each cluster got (willow and skalic, SoftDbofModelLF)."""

    kind: ClassVar[str] = "soft_dbof"

    clusters: int = 8000  # of the first stream
    stream_divisor: int = 8  # every further stream has clusters // this
    max_pool: bool = False  # beside the sum, the best frame of each cluster
    hidden: HiddenConfig | None = field(default_factory=HiddenConfig)  # without it the descriptor is the embedding
    gating: ContextGatingConfig | None = None
    batch_norm_decay: float = 0.999

    def __post_init__(self) -> None:
        _check_clusters(self.clusters, self.stream_divisor, self.batch_norm_decay)


@dataclass(frozen=True, kw_only=True)
class GatedDBoFConfig:
    """As SoftDBoF, the first stream's clusters gated by their best frames (willow and skalic, GatedDbofModelLF)."""

    kind: ClassVar[str] = "gated_dbof"

    clusters: int = 4096
    stream_divisor: int = 8
    max_pool: bool = False  # of the further streams, which are SoftDBoF
    hidden: HiddenConfig | None = field(default_factory=HiddenConfig)
    gating: ContextGatingConfig | None = None
    batch_norm_decay: float = 0.999

    def __post_init__(self) -> None:
        _check_clusters(self.clusters, self.stream_divisor, self.batch_norm_decay)


@dataclass(frozen=True, kw_only=True)
class NetVLADConfig:
    """Residuals of frames from the clusters they are assigned to (willow and skalic, NetVLADModelLF)."""

    kind: ClassVar[str] = "netvlad"

    clusters: int = 256
    stream_divisor: int = 2
    form: str = "residual"  # "light": no centres, the paper's NetVLAD_light; "gated": light with a gate, NetVLAGD
    hidden: HiddenConfig = field(default_factory=HiddenConfig)
    gating: ContextGatingConfig | None = field(default_factory=ContextGatingConfig)
    batch_norm_decay: float = 0.999

    def __post_init__(self) -> None:
        _check_clusters(self.clusters, self.stream_divisor, self.batch_norm_decay)
        one_of("form", self.form, ("residual", "light", "gated"))


@dataclass(frozen=True, kw_only=True)
class NetFVConfig:
    """First and second moments of frames around clusters, a Fisher vector (willow, NetFVModelLF)."""

    kind: ClassVar[str] = "netfv"

    clusters: int = 128
    stream_divisor: int = 2
    coupled: bool = False  # the centres are the assignment's own weights, scaled
    coupling: float = 0.01
    hidden: HiddenConfig = field(default_factory=HiddenConfig)
    gating: ContextGatingConfig | None = field(default_factory=ContextGatingConfig)
    batch_norm_decay: float = 0.999

    def __post_init__(self) -> None:
        _check_clusters(self.clusters, self.stream_divisor, self.batch_norm_decay)
        above_zero("coupling", self.coupling)


def _nextvlad_hidden() -> HiddenConfig:
    return HiddenConfig(units=2048, form="batch_norm", dropout=0.5, unbiased=False)


@dataclass(frozen=True, kw_only=True)
class NeXtVLADConfig:
    """NetVLAD over groups of expanded features, each with an attention (linrongc, NeXtVLADModel)."""

    kind: ClassVar[str] = "nextvlad"

    clusters: int = 128
    groups: int = 8
    stream_divisor: int = 2  # of clusters and groups
    expansion: int = 2
    hidden: HiddenConfig = field(default_factory=_nextvlad_hidden)
    gating: ContextGatingConfig | None = field(default_factory=_squeeze)
    masked: bool = True  # padding weighs nothing; the reference's 5-frame models of 2019 let it count
    padding_in_statistics: bool = False  # batch norm also counts padded rows, as the reference does in training
    batch_norm_decay: float = 0.999
    unbiased: bool = False

    def __post_init__(self) -> None:
        _check_clusters(self.clusters, self.stream_divisor, self.batch_norm_decay)
        at_least("groups", self.groups, 1)
        at_least("expansion", self.expansion, 1)


@dataclass(frozen=True, kw_only=True)
class LSTMConfig:
    """Stacked LSTM. The default is the starter code's LstmModel; skalic's Lstmbidirect, most likely the LSTM of the
    paper's tables, is direction "bidirectional" and output "cell"; willow's LstmModel is output "states".
    """

    kind: ClassVar[str] = "lstm"

    cells: int = 1024
    layers: int = 2
    direction: str = "forward"  # "backward": from the last frame; "bidirectional": layer 1 both ways, cells / 2 each
    output: str = "hidden"  # of the last layer's last step; "cell": its memory; "states": both, of every layer
    gating: ContextGatingConfig | None = None

    def __post_init__(self) -> None:
        one_of("output", self.output, ("hidden", "cell", "states"))
        _check_recurrent(self)


@dataclass(frozen=True, kw_only=True)
class GRUConfig:
    """Stacked GRU. The default is willow's published GruModel; skalic's GRUbidirect has 1024 cells, direction
    "bidirectional" and output "hidden", and may have a gating of form "bias".
    """

    kind: ClassVar[str] = "gru"

    cells: int = 1200
    layers: int = 2
    direction: str = "forward"
    output: str = "states"  # of every layer; "hidden": of the last
    gating: ContextGatingConfig | None = None

    def __post_init__(self) -> None:
        one_of("output", self.output, ("hidden", "states"))
        _check_recurrent(self)


@dataclass(frozen=True, kw_only=True)
class LogitMoEConfig:
    """Mixture of experts that mixes logits rather than probabilities (linrongc 2019); the dummy expert's logit is 0."""

    kind: ClassVar[str] = "logit_moe"

    mixtures: int = 4
    l2: float = 1e-8  # on gates and experts
    shared_gate: bool = False  # one gate for all classes (7th place of 2019, ceshine/yt8m-2019)
    batch_norm: bool = False  # in front of gates and of experts, with `dropout` behind it (7th place: both, 0.5)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        at_least("mixtures", self.mixtures, 1)
        not_negative("l2", self.l2)
        share("dropout", self.dropout)


def _willow_moe() -> MoEConfig:
    return MoEConfig(l2=1e-6)


@dataclass(frozen=True, kw_only=True)
class ProbabilityGatingConfig:
    """A head whose probabilities are gated by all of them, or by the embedding (willow, moe_prob_gating)."""

    kind: ClassVar[str] = "probability_gating"

    head: MoEConfig | LogisticConfig | LogitMoEConfig = field(default_factory=_willow_moe)
    input: str = "scores"  # or "embedding"
    remove_diagonal: bool = False
    batch_norm_decay: float = 0.999

    def __post_init__(self) -> None:
        one_of("input", self.input, ("scores", "embedding"))
        share("batch_norm_decay", self.batch_norm_decay)


Aggregation = (
    DBoFConfig
    | FrameMeanConfig
    | SoftDBoFConfig
    | GatedDBoFConfig
    | NetVLADConfig
    | NetFVConfig
    | NeXtVLADConfig
    | LSTMConfig
    | GRUConfig
)
Head = MoEConfig | LogisticConfig | LogitMoEConfig | ProbabilityGatingConfig


@dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """An aggregation and a head: a network by itself, or one of a mix."""

    kind: ClassVar[str] = "tower"

    aggregation: Aggregation = field(default_factory=DBoFConfig)
    head: Head = field(default_factory=MoEConfig)


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How a mix teaches its towers while they train (linrongc, MixNeXtVladModel)."""

    temperature: float = 3.0
    weight: float | None = None  # of the divergence; absent, temperature squared, as published
    stop_gradient: bool = False  # the divergence moves the towers only, not the mix; the reference moves both
    tower_labels: float = 1.0  # weight of each tower's own cross entropy
    epsilon: float = 1e-8  # inside the logarithms; the 2019 reference has 1e-5 for labels

    def __post_init__(self) -> None:
        above_zero("temperature", self.temperature)
        if self.weight is not None:
            not_negative("weight", self.weight)
        not_negative("tower_labels", self.tower_labels)
        above_zero("epsilon", self.epsilon)

    @property
    def divergence_weight(self) -> float:
        return self.temperature**2 if self.weight is None else self.weight


def _three_towers() -> tuple[TowerConfig, ...]:
    return (TowerConfig(head=LogisticConfig()),) * 3


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """Towers whose logits are mixed by a gate that looks at the frames (linrongc, MixNeXtVladModel).

    The default is the paper's MixDBoF, "a mixture of 3 DBoF models"; towers need not be alike.
    """

    kind: ClassVar[str] = "mix"

    towers: tuple[TowerConfig, ...] = field(default_factory=_three_towers)
    gate_input: str = "real"  # mean of the real frames; "padded": sum over all rows / rows, as the reference
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    batch_norm_decay: float = 0.999
    unbiased: bool = True

    def __post_init__(self) -> None:
        if len(self.towers) < 2:
            raise ConfigError("towers", len(self.towers), "at least 2")
        one_of("gate_input", self.gate_input, ("real", "padded"))
        share("batch_norm_decay", self.batch_norm_decay)


def _check_clusters(clusters: int, stream_divisor: int, batch_norm_decay: float) -> None:
    at_least("clusters", clusters, 1)
    at_least("stream_divisor", stream_divisor, 1)
    share("batch_norm_decay", batch_norm_decay)


def _check_recurrent(config: LSTMConfig | GRUConfig) -> None:
    at_least("cells", config.cells, 1)
    at_least("layers", config.layers, 1)
    one_of("direction", config.direction, ("forward", "backward", "bidirectional"))
    if config.direction == "bidirectional" and (config.cells % 2 or config.layers < 2 or config.output == "states"):
        found = (config.cells, config.layers, config.output)
        raise ConfigError(
            "cells, layers, output", found, "for bidirectional an even number, at least 2, and no output of states"
        )
