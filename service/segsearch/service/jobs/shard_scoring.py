"""One shard from records to finished scores, wherever that is done: in this process, in another, on another machine.

Where it stands: engines call this. A shard always begins a new micro-batch, so that its scores are the same to the bit
whoever scores it and whatever was scored before.

T frames, F codes a frame, S segments, C classes, H embedding size.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segsearch.core.videos import Skips
from segsearch.service.index.vectors import packed
from segsearch.service.jobs.library_shards import Reading, Shard
from segsearch.service.jobs.shard_scores import ScoredVideo, writing_shard_scores
from segsearch.service.scoring.scorer import EmbeddingScorer


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard to score, and where its scores go."""

    number: int  # in the library's order
    shard: Shard
    piece: Path
    reading: Reading
    embeddings: bool = False  # they are kept, too


@dataclass(frozen=True, slots=True)
class Step:
    """So much more of a task is done."""

    number: int  # the task's
    records: int = 0  # read or skipped
    segments: int = 0
    skipped: int = 0
    finished: bool = False  # its scores are on disk


class PlacedVideo(NamedTuple):
    """A video to score."""

    place: int  # see ScoredVideo
    id: str
    frames: np.ndarray  # (T, F) uint8


def score_shard(scorer: EmbeddingScorer, task: ShardTask) -> Iterator[Step]:
    """Scores all videos of a shard into its piece; the last step is the finished one.

    Raises BadRecord or BadShard where bad records are not skipped, OSError, and whatever the scorer raises; then there
    is no piece.
    """
    skips = task.reading.skips()
    found = task.reading.videos(task.shard, skips)
    videos = (PlacedVideo(record, video.id, video.frames) for record, video in found)
    yield from score_videos(scorer, task.piece, task.number, videos, skips, embeddings=task.embeddings)


def score_videos(
    scorer: EmbeddingScorer,
    piece: Path,
    number: int,
    videos: Iterable[PlacedVideo],
    skips: Skips | None = None,
    *,
    embeddings: bool = False,
) -> Iterator[Step]:
    """The same for videos from anywhere. number: the task's. skips: where `videos` notes what it passes over."""
    skips = Skips() if skips is None else skips
    scored: list[ScoredVideo] = []

    def frames() -> Iterator[np.ndarray]:  # (T, F) uint8 of each video
        for video in videos:
            scored.append(ScoredVideo(video.place, video.id, len(video.frames)))
            yield video.frames

    told = Step(number)

    def step(segments: int = 0, *, finished: bool = False) -> Step:
        nonlocal told
        before, told = told, Step(number, len(scored) + len(skips), skipped=len(skips))
        return Step(number, told.records - before.records, segments, told.skipped - before.skipped, finished)

    size = scorer.bundle.manifest.embedding_size if embeddings else 0
    with writing_shard_scores(piece, len(scorer.bundle.vocabulary), size) as writer:
        for codes, found in _blocks(scorer, frames(), embeddings):
            writer.add(codes, found)
            yield step(codes.shape[1])
        writer.finish(scored, skips)
    yield step(finished=True)


def _blocks(
    scorer: EmbeddingScorer, videos: Iterator[np.ndarray], embeddings: bool
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Score codes (C, S) uint16 of a block of segments, and their embeddings (S, H) as they are kept."""
    if not embeddings:
        yield from ((codes, None) for codes in scorer.codes(videos, by_class=True))
        return
    for codes, found in scorer.codes_and_embeddings(videos):
        yield codes, packed(found)
