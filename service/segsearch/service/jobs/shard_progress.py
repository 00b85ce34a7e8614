"""How far a reindex is, for people: shards, segments and time left.

Where it stands: `reindex` hands in the steps that an engine yields.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from segsearch.core.progress import Advance
from segsearch.service.jobs.shard_scoring import Step


@dataclass(slots=True)
class ShardProgress:
    """Counts steps, and remembers which shards are finished."""

    advance: Advance
    shard_count: int
    finished: set[int]  # numbers of the shards that an earlier run finished, and those that are finished now
    segments: int = 0  # scored by this run
    skipped: int = 0
    started: float = field(default_factory=time.monotonic)

    def wait_for(self, shard: int, steps: Iterator[Step]) -> None:
        """Takes steps until this shard is finished."""
        while shard not in self.finished:
            self._take(next(steps))

    def _take(self, step: Step) -> None:
        self.segments += step.segments
        self.skipped += step.skipped
        if step.finished:
            self.finished.add(step.number)
        rate = self.segments / max(time.monotonic() - self.started, 1e-9)
        shards = f"{len(self.finished)}/{self.shard_count} shards"
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        self.advance(step.records, f"{shards}, {self.segments} segments, {rate:,.0f} segments/s{skipped}")
