"""MixDBoF, three towers that learn from their mix (Table 1, fourth row; Table 2), on YouTube-8M.

Towers are dbof_yt8m's with logistic heads, whose logits can be mixed; training is the MixNeXtVLAD's of the 3rd place
of 2018 (linrongc/youtube-8m). The paper gives neither.

    segsearch train mixdbof_yt8m --data yt8m/ --out build/runs/mixdbof_yt8m --fold all

Hours expected: 9; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import MixConfig
from segsearch.training.recipes import YOUTUBE8M_MIX_STAGE, youtube8m

RUN = youtube8m("mixdbof_yt8m", stage1=YOUTUBE8M_MIX_STAGE, mix=MixConfig())
