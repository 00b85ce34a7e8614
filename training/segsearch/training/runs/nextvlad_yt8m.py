"""NeXtVLAD (Table 2), on YouTube-8M.

The 3rd place of 2018 (linrongc/youtube-8m): 8 groups, 128 clusters, 2048 hidden units, batches of 160. Frames are of
unit length as in all other runs, where theirs are whitened backwards; the loss's epsilon is 1e-5, theirs 1e-8.

    segsearch train nextvlad_yt8m --data yt8m/ --out build/runs/nextvlad_yt8m --fold all

Hours expected: 3; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import NeXtVLADConfig
from segsearch.training.recipes import YOUTUBE8M_NEXTVLAD_HEAD, youtube8m

RUN = youtube8m(
    "nextvlad_yt8m",
    stage1={"batch_size": 160, "decay_examples": 2_000_000, "epochs": 5},
    aggregation=NeXtVLADConfig(),
    head=YOUTUBE8M_NEXTVLAD_HEAD,
)
