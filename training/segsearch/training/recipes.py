"""What the runs on one data set share, so that they differ in nothing but what each is about.

Where it stands: each file in `runs/` takes one of these and says what is its own. Imports no TensorFlow.
"""

from typing import Any

from segsearch.training.aggregations import (
    ContextGatingConfig,
    DBoFConfig,
    HiddenConfig,
    LogisticConfig,
    MoEConfig,
    NeXtVLADConfig,
    ProbabilityGatingConfig,
)
from segsearch.training.config import AverageConfig, InputConfig, NetworkConfig, RunConfig, StageConfig, stage_two
from segsearch.training.supervision import LabelConfig

# AudioSet-Segments. Moving statistics start at variance 1 and a run has a thousand steps: the usual decay of 0.999
# would not forget the start.
AUDIOSET_DECAY = 0.99
AUDIOSET_HEAD = LogisticConfig(l2=1e-6)
AUDIOSET_HIDDEN = HiddenConfig(units=512, form="batch_norm_relu6", dropout=0.3, batch_norm_decay=AUDIOSET_DECAY)
AUDIOSET_GATING = ContextGatingConfig(batch_norm_decay=AUDIOSET_DECAY)
AUDIOSET_DBOF = DBoFConfig(
    clusters=512,
    hidden=512,
    pooling="mean",
    activation="relu6",
    hidden_dropout=0.3,
    batch_norm_decay=AUDIOSET_DECAY,
)
AUDIOSET_NEXTVLAD = NeXtVLADConfig(
    clusters=32,
    hidden=HiddenConfig(units=512, form="batch_norm", dropout=0.3, batch_norm_decay=AUDIOSET_DECAY, unbiased=False),
    gating=ContextGatingConfig(form="squeeze", batch_norm_decay=AUDIOSET_DECAY),
    batch_norm_decay=AUDIOSET_DECAY,
)


def audioset(name: str, *, context_frames: int = 1, stage1: dict[str, Any] | None = None, **network: Any) -> RunConfig:
    """A run on AudioSet-Segments: 1,600 training and 709 rated videos of 128-d sound features, 100 segment classes.

    context_frames: few, for a segment is half a clip here and the next clip is another video's. stage1: what differs
    there; stage 2 takes its own settings, whatever those are. Its learning rate is a fifth of stage 1's: at the paper's
    tenth, ten epochs of 80 steps end while rated MAP still rises.
    """
    first = StageConfig(
        **{
            "learning_rate": 0.002,
            "decay": 0.8,
            "decay_examples": 12_800,  # eight epochs
            "batch_size": 64,
            "epochs": 40,
            "average": AverageConfig(decay=0.99),
            "log_every_steps": 25,
            "evaluate_every_epochs": 10,
            **(stage1 or {}),
        }
    )
    return RunConfig(
        name=name,
        # Sound alone is PCA-whitened already: frames are taken as dequantised.
        network=NetworkConfig(**{"normalisation": "none", "input_dropout": 0.2, **network}),
        # Every record fits in memory, and in one shuffle.
        input=InputConfig(shuffle_videos=4096, shuffle_segments=16384, cache=True),
        stage1=first,
        stage2=stage_two(
            first,
            learning_rate=0.0004,
            decay=0.9,
            decay_examples=15_000,
            frame_draw="context",
            labels=LabelConfig(weak_negatives="each", weak_weight=0.1),
            average=AverageConfig(decay=0.99, warm_up=False),  # it starts from finished weights
            evaluate_every_epochs=1,
        ),
        context_frames=context_frames,
    )


# YouTube-8M, frame-level, 2018 release: rgb and audio, 3,862 classes, 3.9 million training videos. Sizes, rates and
# penalties are each winner's own, named in the run; the paper's section 4.1 takes them over.
YOUTUBE8M_MOE = MoEConfig(l2=1e-6)
YOUTUBE8M_GATED_MOE = ProbabilityGatingConfig(head=YOUTUBE8M_MOE)
YOUTUBE8M_NEXTVLAD_HEAD = LogisticConfig(l2=1e-5, bias_l2=1e-5, start="he")
YOUTUBE8M_MIX_STAGE = {"batch_size": 160, "decay_examples": 2_500_000, "epochs": 15}  # linrongc's, of MixNeXtVLAD


def youtube8m(name: str, *, context_frames: int = 5, stage1: dict[str, Any] | None = None, **network: Any) -> RunConfig:
    """A run on YouTube-8M with the paper's two stages: 15 frames drawn in stage 1, EMA in stage 2 alone.

    stage1: what differs from skalic's training, a learning rate of 2e-4 falling by a fifth each 4 million videos.

    The hours that runs expect are arithmetic, not measured: all five folds on one GPU that sustains 5 TFLOP/s (a step
    is three forward passes), or reading 3.9 million videos of 250 kB at 500 MB/s in each epoch where that takes longer,
    and Adam's passes over the weights at 400 GB/s.
    """
    first = StageConfig(
        **{
            "learning_rate": 2e-4,
            "decay": 0.8,
            "decay_examples": 4_000_000,
            "batch_size": 80,
            "epochs": 10,
            "average": None,
            **(stage1 or {}),
        }
    )
    return RunConfig(
        name=name,
        network=NetworkConfig(**network),
        stage1=first,
        stage2=stage_two(first, average=AverageConfig()),
        context_frames=context_frames,
    )


def youtube8m_recurrent(name: str, *, stage1: dict[str, Any], **network: Any) -> RunConfig:
    """As `youtube8m`, all frames of a video in order, and 15 context frames: the paper's section 3 on LSTM."""
    return youtube8m(name, context_frames=15, stage1={"frame_draw": "all", **stage1}, **network)
