"""Bidirectional LSTM with a logistic head (Table 2, LSTM_logistic), on YouTube-8M.

The 1st place of 2018 (miha-skalic/youtube8mchallenge, Lstmbidirect): 1024 cells, batches of 256.

    segsearch train lstm_logistic_yt8m --data yt8m/ --out build/runs/lstm_logistic_yt8m --fold all

Hours expected: 46; `recipes.youtube8m` says on what.
Hardware:
Time:
Rated MAP@100k, five folds pooled:
"""

from segsearch.training.aggregations import LogisticConfig, LSTMConfig
from segsearch.training.recipes import youtube8m_recurrent

RUN = youtube8m_recurrent(
    "lstm_logistic_yt8m",
    stage1={"batch_size": 256},
    aggregation=LSTMConfig(direction="bidirectional", output="cell"),
    head=LogisticConfig(),
)
