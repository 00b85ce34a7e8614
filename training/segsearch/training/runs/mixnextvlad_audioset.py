"""MixNeXtVLAD, three towers that learn from their mix on AudioSet-Segments.

    segsearch train mixnextvlad_audioset --data audioset-segments/ --out build/runs/mixnextvlad_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.aggregations import MixConfig, TowerConfig
from segsearch.training.recipes import AUDIOSET_DECAY, AUDIOSET_HEAD, AUDIOSET_NEXTVLAD, audioset

RUN = audioset(
    "mixnextvlad_audioset",
    mix=MixConfig(
        towers=(TowerConfig(aggregation=AUDIOSET_NEXTVLAD, head=AUDIOSET_HEAD),) * 3,
        batch_norm_decay=AUDIOSET_DECAY,
    ),
)
