"""What scores the shards of a reindex: in this process, unless told otherwise.

Where it stands: `reindex` knows only `Engine`. Every engine scores by `shard_scoring`, and so leaves the same bytes.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from segsearch.service.jobs.shard_scoring import ShardTask, Step, score_shard
from segsearch.service.scoring.scorer import Scorer


class Engine(Protocol):
    """Scores shards, each by itself."""

    def run(self, tasks: Sequence[ShardTask]) -> Generator[Step]:
        """Scores every task's shard into its piece. Steps of different tasks may mix; each task ends with a finished
        one. Raises what scoring a shard raises; closing the iterator ends the work."""


@dataclass(frozen=True, slots=True)
class InProcess:
    """One shard after the other, with the scorer that is open here."""

    scorer: Scorer

    def run(self, tasks: Sequence[ShardTask]) -> Generator[Step]:
        for task in tasks:
            yield from score_shard(self.scorer, task)
