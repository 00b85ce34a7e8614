"""The videos of a library's shards as a reindex reads them: each id once, bad records stopped at or counted.

Where it stands: `core.videos` parses records; this decides what a whole library of them must satisfy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from segsearch.core.errors import BadRecord, DataError, FeatureSpaceMismatch
from segsearch.core.features import FeatureSpec
from segsearch.core.records import count_records
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.videos import Skips, Video, read_videos, streams_of


@dataclass
class LibraryShards:
    """Shards in name order, read as frames of `spec`; a video longer than `frame_limit` is a bad record.

    With `skips`, bad records are noted there and passed over; without, the first one stops.
    """

    files: Sequence[Path]
    spec: FeatureSpec
    frame_limit: int
    skips: Skips | None = None
    _seen: set[str] = field(default_factory=set)

    @cached_property
    def record_count(self) -> int:
        """How many records the shards frame; reads headers only."""
        return sum(map(count_records, self.files))

    def segment_bound(self) -> int:
        """No library of these files has more segments: each costs five frames of bytes, or is a video's last."""
        frame_bytes = sum(file.stat().st_size for file in self.files)
        return frame_bytes // (SEGMENT_FRAMES * self.spec.size) + self.record_count

    def check_feature_space(self) -> None:
        """Raises FeatureSpaceMismatch if the first shard's first record lacks a stream of `spec` or has it in another
        size; streams beyond those are fine. A record that cannot be read is left to `videos`."""
        file = self.files[0]
        try:
            found = streams_of(file, self.spec.extractor)
        except DataError:
            return
        sizes = {stream.key: stream.size for stream in found.streams}
        if any(sizes.get(stream.key) != stream.size for stream in self.spec.streams):
            raise FeatureSpaceMismatch(f"{file} ({found})", found.space, f"{self.spec.space} ({self.spec})")

    def videos(self) -> Iterator[Video]:
        """Every usable video. An id that comes a second time is an error even where others are skipped: which of the
        two is meant cannot be known. Memory grows by the ids alone."""
        for file in self.files:
            for record, video in self._records(file):
                if video.id in self._seen:
                    raise BadRecord(file, record, "id", f"{video.id!r} a second time", "each video once")
                self._seen.add(video.id)
                yield video

    def _records(self, file: Path) -> Iterator[tuple[int, Video]]:
        """Videos of one file with their record numbers: every record before one was either read or skipped."""
        skipped_before = len(self.skips) if self.skips is not None else 0
        for read, video in enumerate(read_videos([file], self.spec, limit=self.frame_limit, skips=self.skips)):
            skipped = len(self.skips) - skipped_before if self.skips is not None else 0
            yield read + skipped, video
