"""A small NeXtVLAD on AudioSet-Segments: to be taught by an ensemble, or on labels alone to compare with.

    segsearch distil --teachers TEACHERS --student nextvlad-small --data audioset-segments/ --out OUT --fold all
    segsearch train nextvlad_small_student --data audioset-segments/ --out OUT --fold all

Hardware: 2 CPU cores.
Rated MAP@100k: see docs/results.md.
"""

import dataclasses

from segsearch.training.recipes import AUDIOSET_HEAD, AUDIOSET_NEXTVLAD, audioset

RUN = audioset(
    "nextvlad_small_student",
    aggregation=dataclasses.replace(
        AUDIOSET_NEXTVLAD,
        clusters=16,
        hidden=dataclasses.replace(AUDIOSET_NEXTVLAD.hidden, units=256),
    ),
    head=AUDIOSET_HEAD,
)
