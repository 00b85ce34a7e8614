"""GRU, two layers on AudioSet-Segments.

    segsearch train gru_audioset --data audioset-segments/ --out build/runs/gru_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.aggregations import GRUConfig
from segsearch.training.recipes import AUDIOSET_HEAD, audioset

RUN = audioset(
    "gru_audioset",
    context_frames=5,
    stage1={"frame_draw": "contiguous"},  # order is what a recurrent network reads
    aggregation=GRUConfig(cells=128, output="hidden"),
    head=AUDIOSET_HEAD,
)
