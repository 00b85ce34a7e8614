"""Gated DBoF, on YouTube-8M.

The 1st place of 2018 (miha-skalic/youtube8mchallenge): 4096 clusters, 1024 hidden units, batches of 80.

    segsearch train gated_dbof_yt8m --data yt8m/ --out build/runs/gated_dbof_yt8m --fold all

Hours expected: 6; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import GatedDBoFConfig
from segsearch.training.recipes import YOUTUBE8M_MOE, youtube8m

RUN = youtube8m("gated_dbof_yt8m", aggregation=GatedDBoFConfig(), head=YOUTUBE8M_MOE)
