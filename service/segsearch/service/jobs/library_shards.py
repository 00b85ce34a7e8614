"""The videos of a library's shards as a reindex reads them: bad records stopped at or counted, bounds known before.

Where it stands: `core.videos` parses records; this decides what a whole library of them must satisfy. That no id comes
twice is looked at where the shards come together, in `assembly`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from segsearch.core.errors import DataError, FeatureSpaceMismatch
from segsearch.core.features import FeatureSpec
from segsearch.core.records import count_records
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.videos import Skips, Video, read_videos, streams_of


@dataclass(frozen=True, slots=True)
class Reading:
    """How records become frames: as `spec` says, and a video longer than `frame_limit` is a bad record.

    skip_bad: bad records are noted and passed over; else the first one stops.
    """

    spec: FeatureSpec
    frame_limit: int
    skip_bad: bool = False

    def skips(self) -> Skips | None:
        """Where a shard's bad records are noted; None: nowhere, they stop."""
        return Skips() if self.skip_bad else None

    def videos(self, shard: Path, skips: Skips | None) -> Iterator[tuple[int, Video]]:
        """Usable videos of one shard with their record numbers: every record before one was either read or skipped."""
        for read, video in enumerate(read_videos([shard], self.spec, limit=self.frame_limit, skips=skips)):
            yield read + (len(skips) if skips is not None else 0), video


@dataclass(frozen=True)
class LibraryShards:
    """Shards in name order, and how they are read."""

    files: Sequence[Path]
    reading: Reading

    @cached_property
    def record_counts(self) -> tuple[int, ...]:
        """How many records each shard frames; reads headers only."""
        return tuple(map(count_records, self.files))

    def segment_bound(self) -> int:
        """No library of these files has more segments: each costs five frames of bytes, or is a video's last."""
        frame_bytes = sum(file.stat().st_size for file in self.files)
        return frame_bytes // (SEGMENT_FRAMES * self.reading.spec.size) + sum(self.record_counts)

    def check_feature_space(self) -> None:
        """Raises FeatureSpaceMismatch if the first shard's first record lacks a stream of `spec` or has it in another
        size; streams beyond those are fine. A record that cannot be read is left to whoever scores it."""
        file, spec = self.files[0], self.reading.spec
        try:
            found = streams_of(file, spec.extractor)
        except DataError:
            return
        sizes = {stream.key: stream.size for stream in found.streams}
        if any(sizes.get(stream.key) != stream.size for stream in spec.streams):
            raise FeatureSpaceMismatch(f"{file} ({found})", found.space, f"{spec.space} ({spec})")
