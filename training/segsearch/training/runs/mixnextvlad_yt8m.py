"""MixNeXtVLAD, three towers that learn from their mix, on YouTube-8M.

The 3rd place of 2018 (linrongc/youtube-8m): 112 clusters, squeeze by 16, temperature 3, batches of 160. Frames are of
unit length as in all other runs, where theirs are whitened backwards.

    segsearch train mixnextvlad_yt8m --data yt8m/ --out build/runs/mixnextvlad_yt8m --fold all

Hours expected: 10; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import ContextGatingConfig, MixConfig, NeXtVLADConfig, TowerConfig
from segsearch.training.recipes import YOUTUBE8M_MIX_STAGE, YOUTUBE8M_NEXTVLAD_HEAD, youtube8m

_TOWER = TowerConfig(
    aggregation=NeXtVLADConfig(clusters=112, gating=ContextGatingConfig(form="squeeze", reduction=16)),
    head=YOUTUBE8M_NEXTVLAD_HEAD,
)

RUN = youtube8m("mixnextvlad_yt8m", stage1=YOUTUBE8M_MIX_STAGE, mix=MixConfig(towers=(_TOWER,) * 3))
