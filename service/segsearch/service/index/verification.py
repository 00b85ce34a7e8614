"""What checksums cannot say of a generation: that lists are in order and tables have every segment in its place.

Where it stands: `segsearch index verify` runs this after `Generation.verify`, which a server runs too. Each fault is
told by file and place. Costs a pass over the postings, class by class.

C classes, N segments, k postings of a class.
"""

from typing import Final

import numpy as np

from segsearch.core.errors import GenerationCorrupt
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.index.format import CODES, EMBEDDINGS, ORDINALS, SCORES, SEGMENT_STARTS, SEGMENT_VIDEOS
from segsearch.service.index.generation import Generation

_ROWS: Final = 1 << 14  # embeddings looked at together
_LENGTH_SLACK: Final = 0.01  # of half floats' rounding


def verify_order(generation: Generation) -> None:
    """Raises GenerationCorrupt at the first posting or segment that is out of order; the files' sums are not read."""
    _check_segments(generation)
    _check_embeddings(generation)
    for row in range(generation.manifest.class_count):
        _check_list(generation, ClassOrdinal(row))


def _check_segments(generation: Generation) -> None:
    """Videos rise, and the segments of each begin at 0, 5, 10 ...: they are found by counting."""
    videos = generation.segment_videos.astype(np.int64)
    falls = np.flatnonzero(np.diff(videos) < 0)
    if len(falls):
        at = int(falls[0]) + 1
        _refuse(generation, SEGMENT_VIDEOS, f"row {at}", f"video {videos[at]} after {videos[at - 1]}")
    firsts = np.flatnonzero(np.diff(videos, prepend=-1))
    lengths = np.diff(firsts, append=len(videos))
    wanted = (np.arange(len(videos)) - np.repeat(firsts, lengths)) * SEGMENT_FRAMES
    wrong = np.flatnonzero(generation.segment_starts != wanted)
    if len(wrong):
        at = int(wrong[0])
        found = f"start {generation.segment_starts[at]}, wanted {wanted[at]}"
        _refuse(generation, SEGMENT_STARTS, f"row {at}", found)


def _check_embeddings(generation: Generation) -> None:
    """Each has length one, but for those that are zeros as nothing is known."""
    if generation.neighbours is None:
        return
    embeddings = generation.neighbours.embeddings
    for start in range(0, len(embeddings), _ROWS):
        block = embeddings[start : start + _ROWS].astype(np.float32)
        lengths = np.sqrt(np.square(block).sum(axis=1))
        wrong = np.flatnonzero((lengths > 0) & ~(np.abs(lengths - 1) <= _LENGTH_SLACK) | np.isnan(lengths))
        if len(wrong):
            at = int(wrong[0])
            _refuse(generation, EMBEDDINGS, f"row {start + at}", f"length {lengths[at]:g}, wanted 1 or 0")


def _check_list(generation: Generation, row: ClassOrdinal) -> None:
    """Codes fall, equal codes stand by rising ordinal, no segment comes twice; both ends are what the scores say."""
    ordinals, codes = generation.postings(row, generation.posting_count(row))
    place = f"class {row} (label {generation.vocabulary[row].label_index}), place"
    steps = np.diff(codes.astype(np.int64))
    rises = np.flatnonzero(steps > 0)
    if len(rises):
        at = int(rises[0]) + 1
        _refuse(generation, CODES, f"{place} {at}", f"code {codes[at]} after {codes[at - 1]}")
    swaps = np.flatnonzero((steps == 0) & (np.diff(ordinals.astype(np.int64)) <= 0))
    if len(swaps):
        at = int(swaps[0]) + 1
        _refuse(generation, ORDINALS, f"{place} {at}", f"segment {ordinals[at]} after {ordinals[at - 1]} of equal code")
    order = np.argsort(ordinals, kind="stable")
    again = np.flatnonzero(np.diff(ordinals[order].astype(np.int64)) == 0)
    if len(again):
        at = int(order[again + 1].min())
        _refuse(generation, ORDINALS, f"{place} {at}", f"segment {ordinals[at]} a second time")
    if generation.scores is not None:
        for at in (0, len(codes) - 1) if len(codes) else ():
            score = generation.scores[ordinals[at], row]
            if score != codes[at]:
                found = f"code {codes[at]}, {SCORES} has {score} for segment {ordinals[at]}"
                _refuse(generation, CODES, f"{place} {at}", found)


def _refuse(generation: Generation, file: str, place: str, found: str) -> None:
    raise GenerationCorrupt(generation.directory, f"{file}, {place}: {found}")
