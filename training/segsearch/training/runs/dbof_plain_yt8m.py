"""DBoF on the five frames of a segment, no EMA (Table 1, first row), on YouTube-8M.

Else as dbof_yt8m, whose stage 1 it may start from: `--stage1 build/runs/dbof_yt8m`.

    segsearch train dbof_plain_yt8m --data yt8m/ --out build/runs/dbof_plain_yt8m --fold all

Hours expected: 3, of which stage 2 a quarter; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

import dataclasses

from segsearch.training.runs import dbof_context_yt8m

RUN = dataclasses.replace(dbof_context_yt8m.RUN, name="dbof_plain_yt8m", context_frames=0)
