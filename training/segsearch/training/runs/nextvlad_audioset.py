"""NeXtVLAD (Table 2) on AudioSet-Segments.

    segsearch train nextvlad_audioset --data audioset-segments/ --out build/runs/nextvlad_audioset --fold all

Hardware: 2 CPU cores; see docs/results.md for the processor, the time and what else was tried.
Rated MAP@100k: see docs/results.md.
"""

from segsearch.training.recipes import AUDIOSET_HEAD, AUDIOSET_NEXTVLAD, audioset

RUN = audioset("nextvlad_audioset", aggregation=AUDIOSET_NEXTVLAD, head=AUDIOSET_HEAD)
