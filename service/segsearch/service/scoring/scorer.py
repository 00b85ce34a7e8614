"""What the service asks of whatever scores frames.

Where it stands: `library` and the reindex job know only this; `onnx_scorer` is the real one.

T frames of a video, F codes a frame, S segments, C classes, H embedding size, N segments in all.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segsearch.core.bundle import Bundle


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of one video's segments."""

    starts: np.ndarray  # (S,) int64, first frame of each segment
    probabilities: np.ndarray  # (S, C) float32
    embeddings: np.ndarray  # (S, H) float32, the vector before the classifier


class Scorer(Protocol):
    """Scores frames in micro-batches. Batch mates do not matter: a segment's scores move by at most 1e-5 with them."""

    @property
    def bundle(self) -> Bundle:
        """Whose model this is: feature space, vocabulary, name and digest."""

    @property
    def provider(self) -> str:
        """What really runs the model, as ONNX Runtime names it."""

    def score(self, frames: np.ndarray) -> Scores:
        """Scores of one video: frames (T, F) uint8, T at least 1."""

    def codes(self, videos: Iterable[np.ndarray], *, by_class: bool = False) -> Iterator[np.ndarray]:
        """Score codes of many videos as blocks (S, C) uint16; the rows of all blocks are the N segments in order.

        by_class: blocks (C, S), as selection reads them, in place of (S, C).
        videos: frames (T, F) uint8 of each, drawn as they are needed; short videos share a micro-batch.
        """
