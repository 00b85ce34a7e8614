"""A medium NeXtVLAD on AudioSet-Segments: to be taught by an ensemble, or on labels alone to compare with.

    segsearch distil --teachers TEACHERS --student nextvlad-medium --data audioset-segments/ --out OUT --fold all
    segsearch train nextvlad_medium_student --data audioset-segments/ --out OUT --fold all

Hardware: 2 CPU cores.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.recipes import AUDIOSET_HEAD, AUDIOSET_NEXTVLAD, audioset

RUN = audioset("nextvlad_medium_student", aggregation=AUDIOSET_NEXTVLAD, head=AUDIOSET_HEAD)
