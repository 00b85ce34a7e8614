"""A medium DBoF on AudioSet-Segments: to be taught by an ensemble, or on labels alone to compare with.

    segsearch distil --teachers TEACHERS --student dbof-medium --data audioset-segments/ --out OUT --fold all
    segsearch train dbof_medium_student --data audioset-segments/ --out OUT --fold all

Hardware: 2 CPU cores.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.recipes import AUDIOSET_DBOF, AUDIOSET_HEAD, audioset

RUN = audioset("dbof_medium_student", aggregation=AUDIOSET_DBOF, head=AUDIOSET_HEAD)
