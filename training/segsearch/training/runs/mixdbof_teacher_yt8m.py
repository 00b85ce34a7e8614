"""MixDBoF with a mean teacher on the test split's segments (Table 1, fifth row), on YouTube-8M.

Segments are reversed, as in the paper, and lose frames, for reversal changes nothing that a bag of frames sees. Stage 1
may be mixdbof_yt8m's: `--stage1 build/runs/mixdbof_yt8m`.

    segsearch train mixdbof_teacher_yt8m --data yt8m/ --out build/runs/mixdbof_teacher_yt8m --fold all

Hours expected: 10; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

import dataclasses

from segsearch.training.runs import mixdbof_yt8m
from segsearch.training.supervision import MeanTeacherConfig

RUN = dataclasses.replace(
    mixdbof_yt8m.RUN,
    name="mixdbof_teacher_yt8m",
    stage2=dataclasses.replace(mixdbof_yt8m.RUN.stage2, mean_teacher=MeanTeacherConfig(drop=0.3)),
)
