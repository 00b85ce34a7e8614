"""The folder in which a reindex keeps its finished pieces, so that one that was killed goes on where it was.

Where it stands: inside the index directory, whose lock the reindex holds. The folder is named by everything that
decides a score, a piece by its shard: pieces are found again by the next run that would make the same ones, be its
list of shards longer or another one. A shard that was changed meanwhile is another shard.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segsearch.core.errors import DataError
from segsearch.core.progress import say
from segsearch.service.jobs.library_shards import Reading, Shard, identity_of
from segsearch.service.jobs.shard_scores import FORMAT_VERSION, ShardScores

PREFIX: Final = ".work-"
_DIGEST_LETTERS: Final = 16


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Pieces of one way of scoring; nothing is created before it is opened."""

    root: Path  # the index directory
    directory: Path

    @classmethod
    def of(cls, root: Path, manner: Mapping[str, object], reading: Reading) -> "WorkFolder":
        """manner: what decides a score beside the frames."""
        spec = reading.spec
        # Whether bad records are skipped is left out: a piece without any is the same either way.
        facts = [FORMAT_VERSION, manner, str(spec), spec.extractor, spec.low, spec.high, reading.frame_limit]
        return cls(root, root / f"{PREFIX}{_digest(facts)}")

    def open(self) -> None:
        """Makes the folder, and removes what a killed process was writing."""
        self.directory.mkdir(exist_ok=True)
        for unfinished in self.directory.glob(".*.part"):
            unfinished.unlink(missing_ok=True)

    def piece_of(self, shard: Shard) -> Path:
        """Where a shard's scores go; another path once the shard was changed."""
        return self.piece(identity_of(shard))

    def piece(self, facts: list[object]) -> Path:
        """Where scores go that these facts tell from all others."""
        return self.directory / f"{_digest(facts)}.scores"

    def finished(self, piece: Path, *, skip_bad: bool = True) -> bool:
        """Whether an earlier run finished a piece, read and proved here; a damaged one is removed.

        skip_bad: without, a piece whose shard has bad records does not count: it must be read to meet the first one.
        """
        try:
            scores = ShardScores.open(piece)
            scores.verify()
        except FileNotFoundError:
            return False
        except DataError as error:
            say(f"scored again: {error}")
            piece.unlink()
            return False
        return skip_bad or not scores.skips

    def leave(self) -> None:
        """After a failure: what was finished stays for the next run; where that is nothing, so does the folder."""
        with suppress(OSError):
            self.directory.rmdir()

    def remove_all(self) -> None:
        """After a generation was published: this folder and those of other ways of scoring."""
        for folder in self.root.glob(f"{PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:_DIGEST_LETTERS]
