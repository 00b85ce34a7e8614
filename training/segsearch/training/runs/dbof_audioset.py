"""DBoF on AudioSet-Segments: 1,600 training and 709 rated videos of 128-d sound features, 100 segment classes.

    segsearch train dbof_audioset --data audioset-segments/ --out build/runs/data --fold all

Hardware: 2 CPU cores (AMD EPYC).
Time: 5 minutes, stage 1 and five folds, on a busy machine.
Rated MAP@100k: 0.8721 with five folds pooled, 0.8973 as the mean of the folds (seed 0); see docs/runs.md.
"""

from segsearch.training.aggregations import DBoFConfig, LogisticConfig
from segsearch.training.config import AverageConfig, InputConfig, NetworkConfig, RunConfig, StageConfig, stage_two

_STAGE1 = StageConfig(
    learning_rate=0.002,
    decay=0.8,
    decay_examples=12_800,  # eight epochs
    batch_size=64,
    epochs=40,
    average=AverageConfig(decay=0.99),
    log_every_steps=25,
    evaluate_every_epochs=10,
)

RUN = RunConfig(
    name="dbof_audioset",
    network=NetworkConfig(
        normalisation="none",  # sound alone is PCA-whitened already; batch norm does the rest
        # Moving statistics start at variance 1 and a run has a thousand steps: 0.999 would not forget the start.
        aggregation=DBoFConfig(
            clusters=512, hidden=512, pooling="mean", activation="relu6", hidden_dropout=0.3, batch_norm_decay=0.99
        ),
        head=LogisticConfig(l2=1e-6),
    ),
    # Every record fits in memory, and in one shuffle.
    input=InputConfig(shuffle_videos=4096, shuffle_segments=16384, cache=True),
    stage1=_STAGE1,
    stage2=stage_two(
        _STAGE1, decay=0.9, decay_examples=15_000, frame_draw="context", average=AverageConfig(decay=0.995),
        evaluate_every_epochs=1,
    ),
    # Neighbouring clips are of other videos here, and a segment is half a clip: little context is its own.
    context_frames=2,
)  # fmt: skip
