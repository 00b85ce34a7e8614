"""LSTM, two layers of one direction on AudioSet-Segments.

    segsearch train lstm_audioset --data audioset-segments/ --out build/runs/lstm_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.aggregations import LSTMConfig
from segsearch.training.recipes import AUDIOSET_HEAD, audioset

RUN = audioset(
    "lstm_audioset",
    context_frames=5,
    stage1={"frame_draw": "contiguous"},  # order is what a recurrent network reads
    aggregation=LSTMConfig(cells=128),
    head=AUDIOSET_HEAD,
)
