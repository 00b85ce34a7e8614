"""Gated DBoF; with sound alone there is no second stream on AudioSet-Segments.

    segsearch train gated_dbof_audioset --data audioset-segments/ --out build/runs/gated_dbof_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.aggregations import GatedDBoFConfig
from segsearch.training.recipes import AUDIOSET_DECAY, AUDIOSET_HEAD, AUDIOSET_HIDDEN, audioset

RUN = audioset(
    "gated_dbof_audioset",
    aggregation=GatedDBoFConfig(clusters=512, hidden=AUDIOSET_HIDDEN, batch_norm_decay=AUDIOSET_DECAY),
    head=AUDIOSET_HEAD,
)
