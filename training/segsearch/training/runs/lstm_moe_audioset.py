"""Bidirectional LSTM with a mixture of experts (Table 2, LSTM_moe) on AudioSet-Segments.

    segsearch train lstm_moe_audioset --data audioset-segments/ --out build/runs/lstm_moe_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.aggregations import LSTMConfig, MoEConfig
from segsearch.training.recipes import audioset

RUN = audioset(
    "lstm_moe_audioset",
    context_frames=5,
    stage1={"frame_draw": "contiguous"},  # order is what a recurrent network reads
    aggregation=LSTMConfig(cells=128, direction="bidirectional", output="cell"),
    head=MoEConfig(l2=1e-6),
)
