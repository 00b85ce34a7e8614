"""GRU, two layers, on YouTube-8M.

The 1st place of 2017 (antoine77340/Youtube-8M-WILLOW): 1200 cells, batches of 128.

    segsearch train gru_yt8m --data yt8m/ --out build/runs/gru_yt8m --fold all

Hours expected: 51; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import GRUConfig
from segsearch.training.recipes import YOUTUBE8M_MOE, youtube8m_recurrent

RUN = youtube8m_recurrent(
    "gru_yt8m",
    stage1={"batch_size": 128, "decay": 0.9},
    aggregation=GRUConfig(),
    head=YOUTUBE8M_MOE,
)
