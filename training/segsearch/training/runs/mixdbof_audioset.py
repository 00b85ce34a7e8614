"""MixDBoF, three towers that learn from their mix (Table 1, fourth row; Table 2) on AudioSet-Segments.

    segsearch train mixdbof_audioset --data audioset-segments/ --out build/runs/mixdbof_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.aggregations import MixConfig, TowerConfig
from segsearch.training.recipes import AUDIOSET_DBOF, AUDIOSET_DECAY, AUDIOSET_HEAD, audioset

RUN = audioset(
    "mixdbof_audioset",
    mix=MixConfig(
        towers=(TowerConfig(aggregation=AUDIOSET_DBOF, head=AUDIOSET_HEAD),) * 3,
        batch_norm_decay=AUDIOSET_DECAY,
    ),
)
