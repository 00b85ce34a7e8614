"""A small DBoF on AudioSet-Segments: to be taught by an ensemble, or on labels alone to compare with.

    segsearch distil --teachers TEACHERS --student dbof-small --data audioset-segments/ --out OUT --fold all
    segsearch train dbof_small_student --data audioset-segments/ --out OUT --fold all

Hardware: 2 CPU cores.
Rated MAP@100k: see docs/results.md.
"""

import dataclasses

from segsearch.training.recipes import AUDIOSET_DBOF, AUDIOSET_HEAD, audioset

RUN = audioset(
    "dbof_small_student", aggregation=dataclasses.replace(AUDIOSET_DBOF, clusters=256, hidden=256), head=AUDIOSET_HEAD
)
