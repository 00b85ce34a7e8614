"""What a reindex takes from the live store: uploads, in place of what the shards say of the same videos.

Where it stands: `reindex` asks here. A generation holds every upload and deletion up to one sequence number; what comes
later stays live, and `replay` has the new bundle score it, so that it can be found before, during and after the switch.

S segments, C classes.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np

from segsearch.core.errors import LiveStoreCorrupt
from segsearch.core.segments import segment_count
from segsearch.service.events import log
from segsearch.service.index.live.snapshot import Entry
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.shard_scoring import PlacedVideo
from segsearch.service.scoring.scorer import Scorer

_PART_SEQUENCES: Final = 1_000  # changes whose videos are scored into one piece
_REPLAYED_TOGETHER: Final = 64  # videos
_AT_ONCE: Final = 8  # videos of a server that catches up: it may be told to stop
_ROUNDS: Final = 10  # of replay, before a publication that uploads must not be able to put off for ever


@dataclass(frozen=True, slots=True)
class LivePart:
    """Some uploads that follow each other, scored into one piece."""

    store: LiveStore
    entries: tuple[Entry, ...]

    @property
    def facts(self) -> list[object]:
        """What names the piece: whenever the store holds something else here, it is another one."""
        return [[entry.sequence, entry.video_id, entry.digest.hex()] for entry in self.entries]

    def videos(self) -> Iterator[PlacedVideo]:
        """Those that are still as they were; a change since then is behind the generation's sequence number."""
        for entry in self.entries:
            frames = _whole_frames(self.store, entry.video_id, entry.sequence)
            if frames is not None:
                yield PlacedVideo(entry.sequence, entry.video_id, frames)


@dataclass(frozen=True, slots=True)
class LiveVideos:
    """Every video's last change up to one sequence number."""

    store: LiveStore
    sequence: int
    entries: tuple[Entry, ...]  # deletions too, in order

    @classmethod
    def of(cls, store: LiveStore) -> "LiveVideos":
        """As the store is now; raises LiveStoreCorrupt."""
        sequence = store.sequence
        return cls(store, sequence, tuple(entry for entry in store.entries() if entry.sequence <= sequence))

    @property
    def ids(self) -> frozenset[str]:
        """Videos for which the shards no longer speak."""
        return frozenset(entry.video_id for entry in self.entries)

    @property
    def uploads(self) -> list[Entry]:
        """In order of sequence."""
        return [entry for entry in self.entries if not entry.deleted]

    @property
    def segment_count(self) -> int:
        return sum(segment_count(entry.frame_count) for entry in self.uploads)

    def parts(self) -> Iterator[LivePart]:
        """All uploads, in order of sequence."""
        # Bounds by sequence number stay where they are as the store grows, and so do the pieces of a killed reindex.
        for _, part in groupby(self.uploads, key=lambda entry: entry.sequence // _PART_SEQUENCES):
            yield LivePart(self.store, tuple(part))


def replay(scorer: Scorer, store: LiveStore, after: int) -> int:
    """Has the scorer's bundle score what arrived behind `after`, and what arrives meanwhile; returns how many videos.

    Ends after some rounds even if more keeps coming: what is left is shown by the scores of the bundle before.
    """
    count, bundle = 0, scorer.bundle.digest
    for _ in range(_ROUNDS):
        lacking, before = store.lacking(after, bundle), count
        for first in range(0, len(lacking), _REPLAYED_TOGETHER):
            count += _score_again(scorer, store, lacking[first : first + _REPLAYED_TOGETHER])
        if count == before:
            break
    return count


def catch_up(scorer: Scorer, store: LiveStore, after: int) -> int:
    """Has the scorer's bundle score a few of the videos behind `after` that it did not score; returns how many."""
    lacking = store.lacking(after, scorer.bundle.digest)
    for first in range(0, len(lacking), _AT_ONCE):
        if count := _score_again(scorer, store, lacking[first : first + _AT_ONCE]):
            return count
    return 0


def _score_again(scorer: Scorer, store: LiveStore, uploads: list[tuple[int, str]]) -> int:
    """uploads: sequence and id; returns how many were scored."""
    found = [
        (*upload, frames) for upload in uploads if (frames := _whole_frames(store, upload[1], upload[0])) is not None
    ]
    if not found:
        return 0
    codes = np.concatenate(list(scorer.codes(frames for _, _, frames in found)))  # (S, C) uint16, of all of them
    ends = np.cumsum([segment_count(len(frames)) for _, _, frames in found])
    rows = np.split(codes, ends[:-1])
    scored = {video_id: (sequence, own) for (sequence, video_id, _), own in zip(found, rows, strict=True)}
    store.add_codes(scorer.bundle.digest, scored)
    return len(found)


def _whole_frames(store: LiveStore, video_id: str, sequence: int) -> np.ndarray | None:
    """(T, F) u8 of an upload; None where the video changed since, or its frames are damaged, which is said."""
    try:
        return store.frames(video_id, sequence)
    except LiveStoreCorrupt as error:  # one upload may not keep all others from being scored
        log("upload_left_out", level=logging.ERROR, video=video_id, reason=str(error))
        return None
