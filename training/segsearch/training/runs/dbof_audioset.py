"""DBoF with context and EMA (Table 1, third row; Table 2) on AudioSet-Segments.

    segsearch train dbof_audioset --data audioset-segments/ --out build/runs/dbof_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.recipes import AUDIOSET_DBOF, AUDIOSET_HEAD, audioset

RUN = audioset("dbof_audioset", aggregation=AUDIOSET_DBOF, head=AUDIOSET_HEAD)
