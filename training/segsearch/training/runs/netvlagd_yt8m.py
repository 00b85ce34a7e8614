"""NetVLAGD, NetVLAD-light with a gate on each descriptor, on YouTube-8M.

The 1st place of 2017 (antoine77340/Youtube-8M-WILLOW): 256 clusters, batches of 80.

    segsearch train netvlagd_yt8m --data yt8m/ --out build/runs/netvlagd_yt8m --fold all

Hours expected: 9; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import NetVLADConfig
from segsearch.training.recipes import YOUTUBE8M_GATED_MOE, youtube8m

RUN = youtube8m("netvlagd_yt8m", aggregation=NetVLADConfig(form="gated"), head=YOUTUBE8M_GATED_MOE)
