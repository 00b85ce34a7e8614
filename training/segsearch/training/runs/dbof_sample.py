"""A small DBoF for the shards that `segsearch sample` makes, as `make demo` trains it.

    segsearch sample build/sample --videos 400 --seed 1
    segsearch train dbof_sample --data build/sample --out build/runs/dbof_sample --fold 0

Hardware: 2 CPU cores (AMD EPYC).
Time: 40 seconds of CPU; see `make demo`.
Rated MAP@100k: 0.7907 on fold 0; 0.7238 on the test split.
"""

from segsearch.training.aggregations import DBoFConfig, MoEConfig
from segsearch.training.config import AverageConfig, InputConfig, NetworkConfig, RunConfig, StageConfig, stage_two

_STAGE1 = StageConfig(
    learning_rate=0.005, batch_size=32, epochs=8, average=AverageConfig(decay=0.99), log_every_steps=10
)

RUN = RunConfig(
    name="dbof_sample",
    network=NetworkConfig(
        # Moving statistics start at variance 1, a hundred times that of unit frames: 0.999 would take thousands of
        # steps to forget it, and until then inference sees other inputs than training did.
        aggregation=DBoFConfig(clusters=512, hidden=128, activation="relu6", batch_norm_decay=0.9),
        head=MoEConfig(mixtures=2),
    ),
    input=InputConfig(shuffle_videos=512, shuffle_segments=8192),
    stage1=_STAGE1,
    stage2=stage_two(_STAGE1),
)
