"""NetVLAD-light, without centres (Table 2), on YouTube-8M.

The 1st place of 2018 (miha-skalic/youtube8mchallenge, its `light` switch), else as netvlad_yt8m.

    segsearch train netvlad_light_yt8m --data yt8m/ --out build/runs/netvlad_light_yt8m --fold all

Hours expected: 8; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import NetVLADConfig
from segsearch.training.recipes import YOUTUBE8M_GATED_MOE, youtube8m

RUN = youtube8m(
    "netvlad_light_yt8m",
    stage1={"batch_size": 160},
    aggregation=NetVLADConfig(form="light"),
    head=YOUTUBE8M_GATED_MOE,
)
