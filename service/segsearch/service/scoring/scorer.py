"""What the service asks of whatever scores frames.

Where it stands: `library` and the reindex job know only this; `onnx_scorer` is the real one, `batching_scorer` puts a
queue before it.

T frames of a video, F codes a frame, S segments, C classes, H embedding size, N segments in all.
"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.errors import DeadlinePassed


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of one video's segments."""

    starts: np.ndarray  # (S,) int64, first frame of each segment
    probabilities: np.ndarray  # (S, C) float32
    embeddings: np.ndarray  # (S, H) float32, the vector before the classifier


@dataclass(frozen=True, slots=True)
class Caller:
    """Who waits for scores."""

    client: str = ""  # a key's id, or an address: clients take turns
    until_s: float | None = None  # of `time.monotonic`: beyond it nobody waits any more


NOBODY: Final = Caller()


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


class EmbeddingScorer(Scorer, Protocol):
    """A scorer whose embeddings can be kept."""

    def codes_and_embeddings(self, videos: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What `codes` gives by class, each block (C, S) with the embeddings (S, H) float32 of its segments."""


@runtime_checkable
class QueueingScorer(Scorer, Protocol):
    """A scorer that many callers share."""

    def check_room(self, caller: Caller) -> None:
        """Raises QueueFull where not even a short video of the caller's would be taken now."""

    def submit(self, frames: np.ndarray, caller: Caller = NOBODY) -> Future[Scores]:
        """Scores to come, of frames (T, F) uint8; whoever cancels them leaves the queue. Raises QueueFull."""


def submitted(scorer: Scorer, frames: np.ndarray, caller: Caller) -> Future[Scores]:
    """Scores to come; a scorer without a queue makes them here and now. Raises QueueFull."""
    if isinstance(scorer, QueueingScorer):
        return scorer.submit(frames, caller)
    done: Future[Scores] = Future()
    try:
        done.set_result(scorer.score(frames))
    except Exception as error:  # whoever waits for the scores gets it, as from a queue
        done.set_exception(error)
    return done


def awaited(scores: Future[Scores], caller: Caller) -> Scores:
    """The scores once they are there; raises what scoring raises, or DeadlinePassed: then nobody works on them."""
    left_s = None if caller.until_s is None else max(0.0, caller.until_s - time.monotonic())
    try:
        return scores.result(left_s)
    except (TimeoutError, CancelledError):
        scores.cancel()
        raise DeadlinePassed from None
