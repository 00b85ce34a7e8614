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
from segsearch.core.files import matching_files
from segsearch.core.records import count_records
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.videos import Skips, Video, read_videos, streams_of
from segsearch.service.jobs.remote_shards import RemoteShard, is_url, remote_shards

Shard = Path | RemoteShard


def matching_shards(patterns: Sequence[str]) -> list[Shard]:
    """The shards that paths and URLs name, each once: in name order, and those of this machine first.

    Raises NoFiles for one that names none, and what `remote_shards` raises.
    """
    remote = {shard for pattern in patterns if is_url(pattern) for shard in remote_shards(pattern)}
    local = matching_files(pattern for pattern in patterns if not is_url(pattern))
    return [*local, *sorted(remote, key=lambda shard: shard.url.split("/"))]  # as paths are ordered


def identity_of(shard: Shard) -> list[object]:
    """Where a shard lies, how long it is, and what changes with its content; see `RemoteShard` for one behind a URL."""
    if isinstance(shard, RemoteShard):
        return [shard.url, shard.bytes, shard.version]
    status = shard.stat()
    return [str(shard.resolve()), status.st_size, status.st_mtime_ns]


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

    def videos(self, shard: Shard, skips: Skips | None) -> Iterator[tuple[int, Video]]:
        """Usable videos of one shard with their record numbers: every record before one was either read or skipped."""
        for read, video in enumerate(read_videos([shard], self.spec, limit=self.frame_limit, skips=skips)):
            yield read + (len(skips) if skips is not None else 0), video


@dataclass(frozen=True)
class LibraryShards:
    """Shards in name order, and how they are read."""

    files: Sequence[Shard]
    reading: Reading

    def record_count(self, numbers: Sequence[int]) -> int | None:
        """How many records these of the shards frame; None where one would have to be fetched to be counted."""
        counts = [count for number in numbers if (count := self._record_counts[number]) is not None]
        return sum(counts) if len(counts) == len(numbers) else None

    def segment_bound(self) -> int:
        """No library of these files has more segments: each costs five frames of bytes, or is a video's last."""
        return sum(map(self._segment_bound, self.files, self._record_counts))

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

    @cached_property
    def _record_counts(self) -> tuple[int | None, ...]:
        """How many records each shard frames, by their headers alone; None for a remote one."""
        return tuple(None if isinstance(file, RemoteShard) else count_records(file) for file in self.files)

    def _segment_bound(self, file: Shard, record_count: int | None) -> int:
        size, frame_bytes = _byte_count(file), self.reading.spec.size
        videos = size // frame_bytes if record_count is None else record_count  # a usable one has a frame
        return size // (SEGMENT_FRAMES * frame_bytes) + videos


def _byte_count(shard: Shard) -> int:
    return shard.bytes if isinstance(shard, RemoteShard) else shard.stat().st_size
