"""The starter code's DBoF with the paper's two stages, on YouTube-8M frame-level features.

    segsearch train dbof_yt8m --data yt8m/ --out build/runs/dbof_yt8m --fold all

Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.config import RunConfig

RUN = RunConfig(name="dbof_yt8m")
