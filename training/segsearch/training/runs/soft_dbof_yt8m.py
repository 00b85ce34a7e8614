"""SoftDBoF, on YouTube-8M.

The 1st place of 2017 (antoine77340/Youtube-8M-WILLOW): 8000 clusters, 1024 hidden units, batches of 80.

    segsearch train soft_dbof_yt8m --data yt8m/ --out build/runs/soft_dbof_yt8m --fold all

Hours expected: 6; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import SoftDBoFConfig
from segsearch.training.recipes import YOUTUBE8M_MOE, youtube8m

RUN = youtube8m("soft_dbof_yt8m", aggregation=SoftDBoFConfig(), head=YOUTUBE8M_MOE)
