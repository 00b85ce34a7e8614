"""What the service answers to those who run it: the model in use, and jobs. See `answers`, which has all the rest."""

from dataclasses import dataclass
from typing import Any, Literal

from segsearch.client.answers import Bundle

State = Literal["running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class RefusedLoad:
    """A load that left the bundle in use where it was."""

    path: str  # as it was asked for
    reason: str
    at: str  # ISO 8601, UTC

    @classmethod
    def of(cls, told: Any) -> "RefusedLoad":
        return cls(told["path"], told["reason"], told["at"])


@dataclass(frozen=True, slots=True)
class Model:
    """The model that scores uploads."""

    bundle: Bundle
    provider: str  # what ONNX Runtime really runs on
    precision: str  # which of the bundle's models
    refused_load: RefusedLoad | None = None  # the last load, where it was refused; an older service tells none

    @classmethod
    def of(cls, told: Any) -> "Model":
        refused = told.get("refused_load")
        return cls(
            Bundle.of(told["bundle"]), told["provider"], told["precision"], RefusedLoad.of(refused) if refused else None
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is."""

    doing: str
    done: int
    total: int
    unit: str  # of done and total
    left_s: int | None  # as its rate so far foretells

    @classmethod
    def of(cls, told: Any) -> "Progress":
        return cls(told["doing"], told["done"], told["total"], told["unit"], told["left_s"])


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What a reindex made."""

    generation: int
    videos: int
    segments: int
    skipped: int  # records that could not be read
    resumed_shards: int  # that an earlier job had finished
    seconds: float

    @classmethod
    def of(cls, told: Any) -> "Reindexed":
        return cls(
            told["generation"], told["videos"], told["segments"], told["skipped"], told["resumed_shards"],
            told["seconds"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """A reindex in a process of its own."""

    id: str
    state: State
    created_at: str
    shards: tuple[str, ...]
    bundle: str | None  # None: the one that was in use
    progress: Progress | None  # as it said last, some seconds ago at most
    result: Reindexed | None  # once it is done
    error: str | None  # why it failed

    @classmethod
    def of(cls, told: Any) -> "Job":
        progress, result = told["progress"], told["result"]
        return cls(
            told["job"], told["state"], told["created_at"], tuple(told["shards"]), told["bundle"],
            Progress.of(progress) if progress else None, Reindexed.of(result) if result else None, told["error"],
        )  # fmt: skip
