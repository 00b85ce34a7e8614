"""A generation of made-up score codes: the lists that selection makes of them, and the codes themselves if wanted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.service.index.generation import Generation
from segsearch.service.index.manifest import BundleName, Skipped
from segsearch.service.index.selection import select_plain
from segsearch.service.index.writer import GenerationWriter, Origin


def vocabulary_of(classes: int) -> Vocabulary:
    """`tag 0`, `tag 1`, ..."""
    return Vocabulary(Entry(number, f"tag {number}") for number in range(classes))


def write_scored(
    folder: Path, lengths: Sequence[int], codes: np.ndarray, keep: int, *, scores: bool = False,
    bundle: str = "digest", space: str = "space",
) -> Generation:  # fmt: skip
    """Videos `b0`, `b1`, ... of so many segments each, with these codes (N, C), `keep` in each class's list.

    scores: whether the generation keeps the codes, too. bundle: the digest of what scored it.
    """
    origin = Origin(BundleName("bundle", 1, bundle), space, vocabulary_of(codes.shape[1]))
    with GenerationWriter(folder, origin, keep, scores=scores) as writer:
        for number, length in enumerate(lengths):
            writer.add_video(f"b{number}", np.arange(length) * 5)
        for ordinals, kept in select_plain(codes, keep):
            writer.add_postings(ordinals, kept)
        if scores:
            writer.add_scores(codes)
        writer.seal(1, Skipped())
    return Generation.open(folder)
