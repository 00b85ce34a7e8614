"""NetFV, on YouTube-8M.

The 1st place of 2017 (antoine77340/Youtube-8M-WILLOW): 128 clusters with their own centres, batches of 80.

    segsearch train netfv_yt8m --data yt8m/ --out build/runs/netfv_yt8m --fold all

Hours expected: 9; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import NetFVConfig
from segsearch.training.recipes import YOUTUBE8M_GATED_MOE, youtube8m

RUN = youtube8m("netfv_yt8m", aggregation=NetFVConfig(), head=YOUTUBE8M_GATED_MOE)
