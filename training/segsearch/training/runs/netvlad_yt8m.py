"""NetVLAD with context gating (Table 2), on YouTube-8M.

The 1st place of 2018 (miha-skalic/youtube8mchallenge): 256 clusters, hidden vector and probabilities gated, batches of
160.

    segsearch train netvlad_yt8m --data yt8m/ --out build/runs/netvlad_yt8m --fold all

Hours expected: 8; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import NetVLADConfig
from segsearch.training.recipes import YOUTUBE8M_GATED_MOE, youtube8m

RUN = youtube8m("netvlad_yt8m", stage1={"batch_size": 160}, aggregation=NetVLADConfig(), head=YOUTUBE8M_GATED_MOE)
