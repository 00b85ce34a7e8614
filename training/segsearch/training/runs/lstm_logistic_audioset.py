"""Bidirectional LSTM with a logistic head (Table 2, LSTM_logistic) on AudioSet-Segments.

    segsearch train lstm_logistic_audioset --data audioset-segments/ --out build/runs/lstm_logistic_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.aggregations import LSTMConfig
from segsearch.training.recipes import AUDIOSET_HEAD, audioset

RUN = audioset(
    "lstm_logistic_audioset",
    context_frames=5,
    stage1={"frame_draw": "contiguous"},  # order is what a recurrent network reads
    aggregation=LSTMConfig(cells=128, direction="bidirectional", output="cell"),
    head=AUDIOSET_HEAD,
)
