"""What the service answers: frozen, and as numpy arrays where there is much of it.

Where it stands: `calls` names one of these for each call; its `of` reads the answer's JSON. Members that it does not
know are left alone, so that a service may say more than its clients understand.

k hits, m moments, S segments of a video, R tags that were asked for, n best tags of a segment.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model bundle."""

    name: str
    version: int
    digest: str  # SHA-256 of its manifest

    @classmethod
    def of(cls, told: Any) -> "Bundle":
        return cls(told["name"], told["version"], told["digest"])


@dataclass(frozen=True, slots=True)
class Generation:
    """An index generation."""

    number: int
    created_at: str
    segments: int
    videos: int
    kept_per_tag: int  # the longest list that a tag can have
    bundle: Bundle  # that scored it

    @classmethod
    def of(cls, told: Any) -> "Generation":
        return cls(
            told["number"], told["created_at"], told["segments"], told["videos"], told["kept_per_tag"],
            Bundle.of(told["bundle"]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tag:
    """A class of the vocabulary, as people name it."""

    name: str
    label_index: int
    knowledge_graph_id: str

    @classmethod
    def of(cls, told: Any) -> "Tag":
        return cls(told["tag"], told["label_index"], told["knowledge_graph_id"])


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult:
    """The best segments for a query, best first."""

    tags: tuple[Tag, ...]  # of the query
    generation: Generation
    sequence: int  # of the last upload or deletion that the answer knows
    complete: bool  # False: fewer than asked for, as the kept lists don't tell what comes next
    video_ids: np.ndarray  # (k,) str
    starts: np.ndarray  # (k,) int64, first second
    scores: np.ndarray  # (k,) float32, falling

    @property
    def bundle(self) -> Bundle:
        """What scored the generation."""
        return self.generation.bundle

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of(cls, told: Any) -> "SearchResult":
        hits = told["segments"]
        return cls(**_head(told), **_columns(hits, video_ids="video", starts="start_s", scores="score"))


@dataclass(frozen=True, slots=True, eq=False)
class MomentsResult:
    """The same segments with adjacent ones as one moment; each ranks by its best segment."""

    tags: tuple[Tag, ...]
    generation: Generation
    sequence: int
    complete: bool
    video_ids: np.ndarray  # (m,) str
    starts: np.ndarray  # (m,) int64, first second
    ends: np.ndarray  # (m,) int64, second behind the last
    peaks: np.ndarray  # (m,) int64, first second of the best segment
    scores: np.ndarray  # (m,) float32, falling: of the best segment

    @property
    def bundle(self) -> Bundle:
        """What scored the generation."""
        return self.generation.bundle

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of(cls, told: Any) -> "MomentsResult":
        moments = told["moments"]
        columns = _columns(moments, video_ids="video", starts="start_s", ends="end_s", scores="score")
        peaks = _integers(int(moment["peak"].rpartition(":")[2]) for moment in moments)
        return cls(**_head(told), **columns, peaks=peaks)


@dataclass(frozen=True, slots=True, eq=False)
class SimilarResult:
    """The segments most alike, the most alike first."""

    generation: Generation
    sequence: int
    recall: float  # share of the 100 nearest that is found, as measured
    video_ids: np.ndarray  # (k,) str
    starts: np.ndarray  # (k,) int64, first second
    similarities: np.ndarray  # (k,) float32, falling: cosines of the embeddings

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of(cls, told: Any) -> "SimilarResult":
        columns = _columns(told["segments"], video_ids="video", starts="start_s", similarities="similarity")
        return cls(Generation.of(told["generation"]), told["sequence"], told["recall"], **columns)


@dataclass(frozen=True, slots=True)
class Stored:
    """An upload or a deletion that is on disk, and in every later answer."""

    sequence: int  # its number among all changes
    unchanged: bool  # it was stored so already

    @classmethod
    def of(cls, told: Any) -> "Stored":
        return cls(told["sequence"], told["unchanged"])


@dataclass(frozen=True, slots=True, eq=False)
class ScoreResult:
    """Every segment of a video that was sent, in time order, with its best tags."""

    video_id: str
    frame_count: int
    bundle: Bundle
    stored: Stored | None  # where it was to be indexed
    starts: np.ndarray  # (S,) int64, first second
    tags: np.ndarray  # (S, n) str, best first
    label_indices: np.ndarray  # (S, n) int64
    scores: np.ndarray  # (S, n) float32, falling along each row

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of(cls, told: Any) -> "ScoreResult":
        segments, stored = told["segments"], told["stored"]
        return cls(
            told["video"], told["frames"], Bundle.of(told["bundle"]), Stored.of(stored) if stored else None,
            _integers(segment["start_s"] for segment in segments),
            *(
                np.array([[tag[name] for tag in segment["tags"]] for segment in segments], kind)
                for name, kind in (("tag", np.str_), ("label_index", np.int64), ("score", np.float32))
            ),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TagCount:
    """A tag with the length of its list."""

    tag: Tag
    segments: int


@dataclass(frozen=True, slots=True)
class TagsResult:
    """Tags that begin with what was asked; those whose name itself begins so come first."""

    generation: int
    tags: tuple[TagCount, ...]

    @classmethod
    def of(cls, told: Any) -> "TagsResult":
        return cls(told["generation"], tuple(TagCount(Tag.of(tag), tag["segments"]) for tag in told["tags"]))


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """One video's scores over time."""

    video_id: str
    generation: Generation
    sequence: int
    tags: tuple[Tag, ...]  # R of them, as asked
    starts: np.ndarray  # (S,) int64, first second
    scores: np.ndarray  # (R, S) float32; NaN: below all that the tag's list holds, and not kept

    @classmethod
    def of(cls, told: Any) -> "Strip":
        rows = told["tags"]
        return cls(
            told["video"], Generation.of(told["generation"]), told["sequence"],
            tuple(Tag.of(row["tag"]) for row in rows), _integers(told["starts_s"]),
            np.array([row["scores"] for row in rows], np.float32),  # None becomes NaN
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Generations:
    """The generations of the index."""

    serving: int
    numbers: tuple[int, ...]  # oldest first

    @classmethod
    def of(cls, told: Any) -> "Generations":
        return cls(told["serving"], tuple(told["numbers"]))


@dataclass(frozen=True, slots=True)
class TagChange:
    """What became of the best k segments of a tag."""

    tag: Tag
    overlap: float  # segments of both lists, as a share of the longer one
    gone: int  # segments that only a's list has
    come: int
    median_move: float  # places between the ranks of a segment that both have
    largest_move: int

    @classmethod
    def of(cls, told: Any) -> "TagChange":
        return cls(
            Tag.of(told["tag"]), told["overlap"], told["gone"], told["come"], told["median_move"], told["largest_move"]
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two generations side by side."""

    a: Generation
    b: Generation
    k: int
    compared: int  # tags that both have
    only_a: int  # tags that b lacks
    only_b: int
    mean_overlap: float  # of all that were compared
    tags: tuple[TagChange, ...]  # those of which least stayed first

    @classmethod
    def of(cls, told: Any) -> "Comparison":
        return cls(
            Generation.of(told["a"]), Generation.of(told["b"]), told["k"], told["compared"], told["only_a"],
            told["only_b"], told["mean_overlap"], tuple(map(TagChange.of, told["tags"])),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ready:
    """What is being served."""

    generation: Generation
    bundle: Bundle  # that scores uploads
    streams: str  # of a frame, as "rgb:1024,audio:128"
    provider: str  # what ONNX Runtime really runs on
    scoring: bool  # False: the model failed with the last uploads; searches are answered all the same

    @classmethod
    def of(cls, told: Any) -> "Ready":
        return cls(
            Generation.of(told["generation"]), Bundle.of(told["bundle"]), told["streams"], told["provider"],
            told.get("scoring", True),
        )  # fmt: skip


def _head(told: Any) -> dict[str, Any]:
    """What every answer to a query begins with."""
    return {
        "tags": tuple(map(Tag.of, told["tags"])), "generation": Generation.of(told["generation"]),
        "sequence": told["sequence"], "complete": told["complete"],
    }  # fmt: skip


_KINDS: Final = {
    "video": np.str_, "start_s": np.int64, "end_s": np.int64, "score": np.float32, "similarity": np.float32,
}  # fmt: skip


def _columns(rows: list[Any], **names: str) -> dict[str, Any]:
    """A column for each name of ours, from the member that the service has it under."""
    return {ours: np.array([row[theirs] for row in rows], _KINDS[theirs]) for ours, theirs in names.items()}


def _integers(values: Iterable[int]) -> np.ndarray:
    return np.fromiter(values, np.int64)
