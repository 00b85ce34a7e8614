"""Everything that can be set about a training run, checked before TensorFlow is imported.

An experiment is a file in `runs/` that makes one `RunConfig`. Defaults follow the starter code (google/youtube-8m
train.py, frame_level_models.py) and, where it speaks, the paper; what the paper leaves open is a field here.
`aggregations` has what can be set about each network, `documents` turns all of these into JSON and back.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

from segsearch.core.errors import ConfigError
from segsearch.training.aggregations import Aggregation, DBoFConfig, Head, MixConfig, MoEConfig, TowerConfig
from segsearch.training.checks import above_zero, at_least, not_negative, one_of, share
from segsearch.training.supervision import LabelConfig, MeanTeacherConfig


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Byte codes to scores: how frames are normalised, how they become one vector, how that becomes classes."""

    normalisation: str = "l2"  # "l2": each frame, all streams together, to unit length; "none": as dequantised
    input_dropout: float = 0.0  # of each value of each normalised frame, while training; the references have none
    aggregation: Aggregation = field(default_factory=DBoFConfig)
    head: Head = field(default_factory=MoEConfig)
    mix: MixConfig | None = None  # towers, each with its own aggregation and head, instead of the two above

    def __post_init__(self) -> None:
        one_of("normalisation", self.normalisation, ("l2", "none"))
        share("input_dropout", self.input_dropout)
        if self.mix is not None and (self.aggregation, self.head) != (DBoFConfig(), MoEConfig()):
            found = (self.aggregation, self.head)
            raise ConfigError("aggregation, head", found, "left as they are beside a mix, whose towers have their own")

    @property
    def body(self) -> TowerConfig | MixConfig:
        """All between frames and scores."""
        return self.mix or TowerConfig(aggregation=self.aggregation, head=self.head)


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How much of the data is in memory at once, and how well it is mixed."""

    shuffle_videos: int = 1024  # records held for shuffling; a YouTube-8M record is up to 350 kB
    shuffle_segments: int = 16384  # windows held for shuffling in stage 2; 17 kB each with 15 frames
    cache: bool = False  # keep the records of all shards in memory; for data that fits
    readers: int = 16  # shards read side by side, so that neighbours in a file part
    on_error: str = "stop"  # at a record that cannot be used; "skip": train without it, and say how many there were

    def __post_init__(self) -> None:
        one_of("on_error", self.on_error, ("stop", "skip"))
        at_least("shuffle_videos", self.shuffle_videos, 1)
        at_least("shuffle_segments", self.shuffle_segments, 1)
        at_least("readers", self.readers, 1)


@dataclass(frozen=True, kw_only=True)
class AverageConfig:
    """Exponential moving average of all weights, batch norm's moving statistics included."""

    kind: ClassVar[str] = "ema"

    decay: float = 0.9995  # 1 - 1/2000, as the 1st place of 2018 has it; the paper gives none
    start_step: int = 0  # before this step the average is a copy of the weights
    warm_up: bool = True  # decay min(d, (1 + t) / (10 + t)), so that a short run is not its first steps
    batch_norm: str = "averaged"  # moving statistics like weights; or "copied" from the network as they stand

    def __post_init__(self) -> None:
        share("decay", self.decay)
        at_least("start_step", self.start_step, 0)
        one_of("batch_norm", self.batch_norm, ("averaged", "copied"))


@dataclass(frozen=True, kw_only=True)
class SwaConfig:
    """Stochastic weight averaging (Izmailov et al., 2018): the plain mean of the weights at the ends of epochs."""

    kind: ClassVar[str] = "swa"

    start_epoch: int = 1  # the first epoch whose end counts; before it the average is a copy of the weights

    def __post_init__(self) -> None:
        at_least("start_epoch", self.start_epoch, 1)


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
    average: AverageConfig | SwaConfig | None = field(default_factory=AverageConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)  # stage 2 only
    mean_teacher: MeanTeacherConfig | None = None  # stage 2 only; needs unlabelled segments
    evaluate_every_epochs: int = 1
    evaluate_videos: int = 20_000  # stage 1 is judged by at most so many held-out videos
    evaluate_shift: int = 0  # stage 2: scores are means over windows shifted by so many frames either way (9th place)
    log_every_steps: int = 50
    save_every_steps: int = 500  # a multiple of log_every_steps; also at the end of every epoch

    def __post_init__(self) -> None:
        above_zero("learning_rate", self.learning_rate)
        share("decay", self.decay, top=True)
        for name in (
            "decay_examples",
            "batch_size",
            "epochs",
            "frames",
            "evaluate_every_epochs",
            "evaluate_videos",
            "log_every_steps",
        ):
            at_least(name, getattr(self, name), 1)
        not_negative("clip_norm", self.clip_norm)
        at_least("evaluate_shift", self.evaluate_shift, 0)
        one_of("frame_draw", self.frame_draw, ("random", "contiguous", "all", "context"))
        if self.mean_teacher is not None and not isinstance(self.average, AverageConfig):
            raise ConfigError("average", self.average, "an exponential moving average, which the mean teacher is")
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
class EngineConfig:
    """How steps are computed, not what they compute: the same training faster, in less memory, or on more devices."""

    precision: str = "float32"  # or "bfloat16", "float16": of products; weights, statistics and scores stay float32
    accumulation: int = 1  # parts a batch is computed in, one after the other; batch norm sees a part at a time
    xla: bool = False  # compile the step with XLA
    early_stop: int = 0  # stop after so many epochs without a better held-out metric; 0: never
    strategy: str = "none"  # "mirrored": all GPUs of this machine; "multiworker": the machines in TF_CONFIG

    def __post_init__(self) -> None:
        one_of("precision", self.precision, ("float32", "bfloat16", "float16"))
        at_least("accumulation", self.accumulation, 1)
        at_least("early_stop", self.early_stop, 0)
        one_of("strategy", self.strategy, ("none", "mirrored", "multiworker"))
        if self.xla and self.strategy != "none":
            raise ConfigError("xla", self.xla, f"false with strategy {self.strategy}, whose sums XLA cannot compile")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole experiment: one network, trained on video labels and then on rated segments."""

    name: str
    network: NetworkConfig = field(default_factory=NetworkConfig)
    input: InputConfig = field(default_factory=InputConfig)
    stage1: StageConfig = field(default_factory=StageConfig)
    stage2: StageConfig = field(default_factory=stage_two)
    context_frames: int = 5  # each side of a segment, as far as the video has them
    engine: EngineConfig = field(default_factory=EngineConfig)
    stage2_start: str = "average"  # from stage 1's averaged weights, or from its "last" ones
    deterministic: bool = True  # the same numbers every time on one device; some GPU kernels are slower for it

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError("name", self.name, "letters, digits and _, as a module is named")
        at_least("context_frames", self.context_frames, 0)
        one_of("stage2_start", self.stage2_start, ("average", "last"))
        # A video has no segment in its middle to draw context around.
        one_of("stage1.frame_draw", self.stage1.frame_draw, ("random", "contiguous", "all"))
        usual = StageConfig()
        for name in ("labels", "mean_teacher", "evaluate_shift"):
            if (found := getattr(self.stage1, name)) != getattr(usual, name):
                raise ConfigError(f"stage1.{name}", found, "left as it is: only segments know it; set stage2's")
