"""DBoF on the five frames of a segment, no EMA (Table 1, first row) on AudioSet-Segments.

    segsearch train dbof_plain_audioset --data audioset-segments/ --out build/runs/dbof_plain_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

import dataclasses

from segsearch.training.runs import dbof_context_audioset

RUN = dataclasses.replace(dbof_context_audioset.RUN, name="dbof_plain_audioset", context_frames=0)
