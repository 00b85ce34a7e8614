"""MixNeXtVLAD, three towers that learn from their mix on AudioSet-Segments.

    segsearch train mixnextvlad_audioset --data audioset-segments/ --out build/runs/mixnextvlad_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

import dataclasses

from segsearch.training.aggregations import MixConfig, TowerConfig
from segsearch.training.recipes import AUDIOSET_DECAY, AUDIOSET_HEAD, AUDIOSET_NEXTVLAD, audioset

# Smaller towers than the network that stands alone, as the reference has them (112 clusters and 128).
_TOWER = TowerConfig(aggregation=dataclasses.replace(AUDIOSET_NEXTVLAD, clusters=16), head=AUDIOSET_HEAD)

RUN = audioset(
    "mixnextvlad_audioset",
    mix=MixConfig(
        towers=(_TOWER,) * 3,
        batch_norm_decay=AUDIOSET_DECAY,
    ),
)
