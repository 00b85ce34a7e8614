"""DBoF with context and EMA (Table 1, third row; Table 2), on YouTube-8M.

Network and training are the starter code's (google/youtube-8m): 8192 clusters, 1024 hidden units, batches of 1024.

    segsearch train dbof_yt8m --data yt8m/ --out build/runs/dbof_yt8m --fold all

Hours expected: 3; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.recipes import youtube8m

RUN = youtube8m(
    "dbof_yt8m",
    stage1={"learning_rate": 0.01, "decay": 0.95, "batch_size": 1024, "epochs": 5},
)
