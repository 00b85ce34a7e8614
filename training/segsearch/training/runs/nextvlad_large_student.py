"""A large NeXtVLAD on AudioSet-Segments: to be taught by an ensemble, or on labels alone to compare with.

    segsearch distil --teachers TEACHERS --student nextvlad-large --data audioset-segments/ --out OUT --fold all
    segsearch train nextvlad_large_student --data audioset-segments/ --out OUT --fold all

Hardware: 2 CPU cores.
Rated MAP@100k: see docs/results.md.
"""

import dataclasses

from segsearch.training.recipes import AUDIOSET_HEAD, AUDIOSET_NEXTVLAD, audioset

RUN = audioset(
    "nextvlad_large_student",
    aggregation=dataclasses.replace(
        AUDIOSET_NEXTVLAD,
        clusters=64,
        hidden=dataclasses.replace(AUDIOSET_NEXTVLAD.hidden, units=1024),
    ),
    head=AUDIOSET_HEAD,
)
