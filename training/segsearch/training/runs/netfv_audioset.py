"""NetFV on AudioSet-Segments.

    segsearch train netfv_audioset --data audioset-segments/ --out build/runs/netfv_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.aggregations import NetFVConfig
from segsearch.training.recipes import AUDIOSET_DECAY, AUDIOSET_GATING, AUDIOSET_HEAD, AUDIOSET_HIDDEN, audioset

RUN = audioset(
    "netfv_audioset",
    aggregation=NetFVConfig(
        clusters=16, hidden=AUDIOSET_HIDDEN, gating=AUDIOSET_GATING, batch_norm_decay=AUDIOSET_DECAY
    ),
    head=AUDIOSET_HEAD,
)
