"""From finished pieces to a generation's segments and selection, in the library's order.

Where it stands: `reindex` hands in one piece after the other, as they become finished. Memory holds one block of score
codes, what the selection keeps, and the video ids.

C classes, S segments, H embedding size.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from segsearch.core.errors import BadRecord
from segsearch.core.segments import segment_count, segment_starts
from segsearch.core.videos import Skips
from segsearch.service.index.kernel_selection import Selector
from segsearch.service.index.writer import GenerationWriter
from segsearch.service.jobs.library_shards import Shard
from segsearch.service.jobs.shard_scores import ScoredVideo, ShardScores


@dataclass(slots=True)
class Assembly:
    """Adds pieces to the writer and the selection; notes what was skipped on the way."""

    writer: GenerationWriter
    best: Selector
    left_out: Collection[str] = ()  # ids of videos that shards no longer speak for
    skips: Skips = field(default_factory=Skips)
    _seen: set[str] = field(default_factory=set)

    def add_shard(self, shard: Shard, scores: ShardScores) -> None:
        """The next shard. An id that comes a second time is an error even where bad records are skipped: which of the
        two is meant cannot be known. Raises BadRecord, or DataError for a piece that was damaged since."""
        for video in scores.videos:
            if video.id in self._seen:
                raise BadRecord(shard, video.place, "id", f"{video.id!r} a second time", "each video once")
            self._seen.add(video.id)
        self.skips.errors.extend(scores.skips.errors)
        self._add(scores, [video.id not in self.left_out for video in scores.videos])

    def add_uploads(self, scores: ShardScores) -> None:
        """The next part of the live videos, which come behind all shards."""
        self._add(scores, [True] * len(scores.videos))

    def _add(self, scores: ShardScores, wanted: list[bool]) -> None:
        for video, is_wanted in zip(scores.videos, wanted, strict=True):
            if is_wanted:
                self.writer.add_video(video.id, segment_starts(video.frame_count))
        rows = None if all(wanted) else _segments_of(scores.videos, wanted)
        first = 0
        for codes, embeddings in scores.contents():
            width = codes.shape[1]
            kept = slice(None) if rows is None else rows[first : first + width]
            self._add_block(codes[:, kept], embeddings[kept])
            first += width

    def _add_block(self, codes: np.ndarray, embeddings: np.ndarray) -> None:  # (C, S) uint16, (S, H) float16
        self.best.add_by_class(codes)
        if self.writer.keeps_scores:
            self.writer.add_scores(codes.T)
        if self.writer.keeps_embeddings:
            self.writer.add_embeddings(embeddings)


def _segments_of(videos: tuple[ScoredVideo, ...], wanted: list[bool]) -> np.ndarray:
    """(S,) bool: whether each of the piece's segments is of a wanted video."""
    return np.repeat(np.array(wanted, bool), [segment_count(video.frame_count) for video in videos])
