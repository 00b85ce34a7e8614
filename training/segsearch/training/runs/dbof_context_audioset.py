"""DBoF with context, no EMA (Table 1, second row) on AudioSet-Segments.

    segsearch train dbof_context_audioset --data audioset-segments/ --out build/runs/dbof_context_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

import dataclasses

from segsearch.training.runs import dbof_audioset

RUN = dataclasses.replace(
    dbof_audioset.RUN,
    name="dbof_context_audioset",
    stage2=dataclasses.replace(dbof_audioset.RUN.stage2, average=None),
)
