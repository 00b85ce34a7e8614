"""LSTM, two layers of one direction, on YouTube-8M.

Network and training are the starter code's (google/youtube-8m), at the learning rate its documentation asks for.

    segsearch train lstm_yt8m --data yt8m/ --out build/runs/lstm_yt8m --fold all

Hours expected: 26; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import LSTMConfig, MoEConfig
from segsearch.training.recipes import youtube8m_recurrent

RUN = youtube8m_recurrent(
    "lstm_yt8m",
    stage1={"learning_rate": 0.001, "decay": 0.95, "batch_size": 1024, "epochs": 5},
    aggregation=LSTMConfig(),
    head=MoEConfig(),
)
