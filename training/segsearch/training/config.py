"""Everything that can be set about a training run, checked before TensorFlow is imported.

An experiment is a file in `runs/` that makes one `RunConfig`. Defaults follow the starter code (google/youtube-8m
train.py, frame_level_models.py) and, where it speaks, the paper; what the paper leaves open is a field here.
`documents` turns these into JSON and back. A new aggregation or head is a new dataclass with its own `kind`, added to
the union that `NetworkConfig` names.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from segsearch.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DBoFConfig:
    """Deep bag of frames: every frame is projected onto clusters, then the best (or mean) of each cluster counts."""

    kind: ClassVar[str] = "dbof"

    clusters: int = 8192
    hidden: int = 1024
    pooling: str = "max"
    activation: str = "sigmoid"  # the starter code's since June 2019; older systems use relu6
    batch_norm_decay: float = 0.999
    l2: float = 0.0  # on the cluster and hidden weights; the references have none
    pooled_dropout: float = 0.0
    hidden_dropout: float = 0.0

    def __post_init__(self) -> None:
        _at_least("clusters", self.clusters, 1)
        _at_least("hidden", self.hidden, 1)
        _one_of("pooling", self.pooling, ("max", "mean"))
        _one_of("activation", self.activation, ("sigmoid", "relu6"))
        _share("batch_norm_decay", self.batch_norm_decay)
        _not_negative("l2", self.l2)
        _share("pooled_dropout", self.pooled_dropout)
        _share("hidden_dropout", self.hidden_dropout)


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
        _at_least("mixtures", self.mixtures, 1)
        _not_negative("l2", self.l2)


@dataclass(frozen=True, kw_only=True)
class LogisticConfig:
    """One logistic regression a class."""

    kind: ClassVar[str] = "logistic"

    l2: float = 1e-8

    def __post_init__(self) -> None:
        _not_negative("l2", self.l2)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Byte codes to scores: how frames are normalised, how they become one vector, how that becomes classes."""

    normalisation: str = "l2"  # "l2": each frame, all streams together, to unit length; "none": as dequantised
    aggregation: DBoFConfig | FrameMeanConfig = field(default_factory=DBoFConfig)
    head: MoEConfig | LogisticConfig = field(default_factory=MoEConfig)

    def __post_init__(self) -> None:
        _one_of("normalisation", self.normalisation, ("l2", "none"))


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How much of the data is in memory at once, and how well it is mixed."""

    shuffle_videos: int = 1024  # records held for shuffling; a YouTube-8M record is up to 350 kB
    shuffle_segments: int = 16384  # windows held for shuffling in stage 2; 17 kB each with 15 frames
    cache: bool = False  # keep the records of all shards in memory; for data that fits
    readers: int = 16  # shards read side by side, so that neighbours in a file part

    def __post_init__(self) -> None:
        _at_least("shuffle_videos", self.shuffle_videos, 1)
        _at_least("shuffle_segments", self.shuffle_segments, 1)
        _at_least("readers", self.readers, 1)


@dataclass(frozen=True, kw_only=True)
class AverageConfig:
    """Exponential moving average of all weights, batch norm's moving statistics included."""

    decay: float = 0.9995  # 1 - 1/2000, as the 1st place of 2018 has it; the paper gives none
    start_step: int = 0  # before this step the average is a copy of the weights
    warm_up: bool = True  # decay min(d, (1 + t) / (10 + t)), so that a short run is not its first steps

    def __post_init__(self) -> None:
        _share("decay", self.decay)
        _at_least("start_step", self.start_step, 0)


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One of the two trainings: optimiser, data order, frames drawn, how often to look and to save."""

    learning_rate: float = 0.01
    decay: float = 0.95  # the learning rate is multiplied by this ...
    decay_examples: int = 4_000_000  # ... each time so many examples have been seen
    batch_size: int = 1024
    epochs: int = 5
    clip_norm: float = 1.0  # of each variable's gradient; 0 leaves gradients alone
    frame_draw: str = "random"  # or "contiguous"; in stage 2 also "all", or "context": 0 to n context frames a side
    frames: int = 15  # drawn a video or segment; "all" and "context" need none
    average: AverageConfig | None = field(default_factory=AverageConfig)
    evaluate_every_epochs: int = 1
    evaluate_videos: int = 20_000  # stage 1 is judged by at most so many held-out videos
    log_every_steps: int = 50
    save_every_steps: int = 500  # a multiple of log_every_steps; also at the end of every epoch

    def __post_init__(self) -> None:
        _above_zero("learning_rate", self.learning_rate)
        _share("decay", self.decay, top=True)
        for name in (
            "decay_examples",
            "batch_size",
            "epochs",
            "frames",
            "evaluate_every_epochs",
            "evaluate_videos",
            "log_every_steps",
        ):
            _at_least(name, getattr(self, name), 1)
        _not_negative("clip_norm", self.clip_norm)
        _one_of("frame_draw", self.frame_draw, ("random", "contiguous", "all", "context"))
        if self.save_every_steps < 1 or self.save_every_steps % self.log_every_steps:
            raise ConfigError(
                "save_every_steps", self.save_every_steps, f"a multiple of log_every_steps ({self.log_every_steps})"
            )


def stage_two(stage1: StageConfig | None = None, **changes: Any) -> StageConfig:
    """Stage 2 as the paper has it, else like stage 1: a tenth of its learning rate, 10 epochs, all frames in order."""
    stage1 = stage1 or StageConfig()
    changes = {"learning_rate": stage1.learning_rate / 10, "epochs": 10, "frame_draw": "all", **changes}
    return dataclasses.replace(stage1, **changes)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole experiment: one network, trained on video labels and then on rated segments."""

    name: str
    network: NetworkConfig = field(default_factory=NetworkConfig)
    input: InputConfig = field(default_factory=InputConfig)
    stage1: StageConfig = field(default_factory=StageConfig)
    stage2: StageConfig = field(default_factory=stage_two)
    context_frames: int = 5  # each side of a segment, as far as the video has them
    stage2_start: str = "average"  # from stage 1's averaged weights, or from its "last" ones
    deterministic: bool = True  # the same numbers every time on one device; some GPU kernels are slower for it

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError("name", self.name, "letters, digits and _, as a module is named")
        _at_least("context_frames", self.context_frames, 0)
        _one_of("stage2_start", self.stage2_start, ("average", "last"))
        # A video has no segment in its middle to draw context around.
        _one_of("stage1.frame_draw", self.stage1.frame_draw, ("random", "contiguous", "all"))


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(name, value, f"at least {least}")


def _above_zero(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(name, value, "a finite number above 0")


def _not_negative(name: str, value: float) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise ConfigError(name, value, "a finite number, 0 or more")


def _share(name: str, value: float, top: bool = False) -> None:
    if not (0 <= value < 1 or (top and value == 1)):
        raise ConfigError(name, value, "from 0 to 1" if top else "from 0 to below 1")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(name, value, f"one of {', '.join(choices)}")
