"""What the routes answer, as OpenAPI describes it, and the fast way to write a long video's scores.

Where it stands: what can be long is not made of these models, an object for each hit: `search_text` writes searches,
`score_json` uploads; tests hold them equal to what the models would say.
"""

import io
import json
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from segsearch.core.bundle import Bundle
from segsearch.core.score_codes import PROBABILITIES
from segsearch.core.segments import SEGMENT_FRAMES, segment_id
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.service.index.live.operations import Stored
from segsearch.service.index.manifest import BundleName, Manifest
from segsearch.service.pages import MomentPage, Page, ScoredVideo, TagList


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


SegmentId = Annotated[str, Field(description="<video id>:<start frame>", examples=["a1B2:35"])]
Start = Annotated[int, Field(description="First second of the segment.")]
End = Annotated[int, Field(description="Start + 5; a video's last segment may end with the video before that.")]
Score = Annotated[float, Field(ge=0, le=1, description="Probability that the segment shows the tag.")]


class BundleAnswer(_Answer):
    """A model bundle."""

    name: str
    version: int
    digest: Annotated[str, Field(description="SHA-256 of the bundle's manifest.")]

    @classmethod
    def of(cls, bundle: Bundle) -> "BundleAnswer":
        return cls(name=bundle.manifest.name, version=bundle.manifest.version, digest=bundle.digest)


class GenerationAnswer(_Answer):
    """An index generation: every answer comes from exactly one."""

    number: int
    created_at: str
    segments: Annotated[int, Field(description="Segments of the library.")]
    videos: int
    kept_per_tag: Annotated[int, Field(description="The longest list a tag can have.")]
    bundle: Annotated[BundleAnswer, Field(description="The bundle that scored it.")]

    @classmethod
    def of(cls, manifest: Manifest) -> "GenerationAnswer":
        return cls.made_of(
            manifest.number, manifest.created_at, manifest.segment_count, manifest.video_count, manifest.limit,
            manifest.bundle,
        )  # fmt: skip

    @classmethod
    def made_of(
        cls, number: int, created_at: str, segments: int, videos: int, kept_per_tag: int, bundle: BundleName
    ) -> "GenerationAnswer":
        """Of what a manifest says; these can be told apart where a manifest cannot."""
        return cls(
            number=number, created_at=created_at, segments=segments, videos=videos, kept_per_tag=kept_per_tag,
            bundle=BundleAnswer(name=bundle.name, version=bundle.version, digest=bundle.digest),
        )  # fmt: skip


class TagAnswer(_Answer):
    """A class of the vocabulary, as people name it."""

    tag: str
    label_index: Annotated[int, Field(description="YouTube-8M's number for the class.")]
    knowledge_graph_id: str

    @classmethod
    def of(cls, entry: Entry) -> "TagAnswer":
        return cls(tag=entry.name, label_index=entry.label_index, knowledge_graph_id=entry.knowledge_graph_id)


class Hit(_Answer):
    """A segment that shows the tag."""

    segment: SegmentId
    video: str
    start_s: Start
    end_s: End
    score: Score


Sequence = Annotated[int, Field(description="Number of the last upload or deletion that the answer knows.")]
Complete = Annotated[
    bool, Field(description="False where fewer came than were asked for, as the kept lists don't tell what is next.")
]
AskedFor = Annotated[list[TagAnswer], Field(description="The tags of the query.")]


class SearchAnswer(_Answer):
    """The best segments for a query, best first; equal scores in library order."""

    tags: AskedFor
    generation: GenerationAnswer
    sequence: Sequence
    complete: Complete
    next_page_token: Annotated[
        str | None, Field(description="The same query with it as `page_token` gives what comes next; null: nothing.")
    ] = None
    segments: list[Hit]

    @classmethod
    def of(cls, page: Page, next_page_token: str | None = None) -> "SearchAnswer":
        """The plain way; `search_json` gives the same."""
        hits = [
            Hit(segment=segment_id(video, start), video=video, start_s=start, end_s=start + SEGMENT_FRAMES, score=score)
            for video, start, score in zip(
                page.video_ids, page.starts.tolist(), map(float, _score_texts(page)), strict=True
            )
        ]
        return cls(segments=hits, next_page_token=next_page_token, **_head(page))


class Moment(_Answer):
    """Adjacent segments that show the tag."""

    video: str
    start_s: Start
    end_s: End
    peak: Annotated[SegmentId, Field(description="The best of its segments.")]
    score: Score


class MomentsAnswer(_Answer):
    """The best segments with adjacent ones as one moment, by their best segment."""

    tags: AskedFor
    generation: GenerationAnswer
    sequence: Sequence
    complete: Complete
    moments: list[Moment]

    @classmethod
    def of(cls, page: MomentPage) -> "MomentsAnswer":
        columns = (page.starts.tolist(), page.ends.tolist(), page.peaks.tolist(), _score_texts(page))
        moments = [
            Moment(video=video, start_s=start, end_s=end, peak=segment_id(video, peak), score=float(score))
            for video, start, end, peak, score in zip(page.video_ids, *columns, strict=True)
        ]
        return cls(moments=moments, **_head(page))


class TagScore(_Answer):
    """A tag of one segment."""

    tag: str
    label_index: int
    score: Score


class ScoredSegment(_Answer):
    """A segment with its best tags, best first."""

    segment: SegmentId
    start_s: Start
    end_s: End
    tags: list[TagScore]


class StoredAnswer(_Answer):
    """An upload or a deletion that is on disk and in every later answer."""

    sequence: Annotated[int, Field(description="Its number among all changes; answers say up to which one they know.")]
    unchanged: Annotated[bool, Field(description="It was stored so already, and nothing was written.")]

    @classmethod
    def of(cls, stored: Stored) -> "StoredAnswer":
        return cls(sequence=stored.sequence, unchanged=stored.unchanged)


class ScoreAnswer(_Answer):
    """Every segment of the video sent, in time order."""

    video: str
    frames: int
    bundle: BundleAnswer
    stored: Annotated[StoredAnswer | None, Field(description="Where it was to be indexed.")]
    segments: list[ScoredSegment]


class TagListing(_Answer):
    """A tag with the length of its list."""

    tag: str
    label_index: int
    knowledge_graph_id: str
    segments: Annotated[int, Field(description="Segments in this tag's list.")]


class TagsAnswer(_Answer):
    """Tags that begin with what was asked; those whose name itself begins so come first."""

    generation: int
    tags: list[TagListing]


class Alive(_Answer):
    """The process answers."""

    status: str = "alive"


class Ready(_Answer):
    """What is being served."""

    status: str = "ready"
    generation: GenerationAnswer
    bundle: Annotated[BundleAnswer, Field(description="The bundle that scores uploads.")]
    streams: Annotated[str, Field(description="Feature streams of a frame, in order.", examples=["rgb:1024,audio:128"])]
    provider: Annotated[str, Field(description="The ONNX Runtime provider that really runs.")]
    scoring: Annotated[bool, Field(description="False while the model fails: uploads are refused, searches are not.")]


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: Annotated[str, Field(examples=["/problems/unknown-tag"])]
    title: str
    status: int
    detail: str
    instance: str
    error: Annotated[str | None, Field(description="Below /v2: the detail, where that protocol has it.")] = None


class ProblemPage(_Answer):
    """What a problem type means."""

    type: str
    status: int
    meaning: str


def tags_answer(found: TagList) -> TagsAnswer:
    """Tags with their counts."""
    tags = [TagListing(**TagAnswer.of(tag).model_dump(), segments=count) for tag, count in found.counts]
    return TagsAnswer(generation=found.generation.number, tags=tags)


@dataclass(frozen=True, slots=True)
class Upload:
    """What the answer to a video says beside its scores."""

    video_id: str
    frames: int
    bundle: BundleAnswer
    stored: Stored | None = None


def score_json(upload: Upload, scored: ScoredVideo, names: "TagTexts") -> bytes:
    """The bytes of a `ScoreAnswer`; a long video has as many tags as a long search has hits."""
    video_id, stored = upload.video_id, upload.stored
    head = json.dumps({
        "video": video_id, "frames": upload.frames, "bundle": upload.bundle.model_dump(),
        "stored": StoredAnswer.of(stored).model_dump() if stored is not None else None,
    })  # fmt: skip
    answer = io.BytesIO()  # gives its bytes away without a copy
    answer.write(f'{head[:-1]}, "segments": ['.encode())
    for place, part in enumerate(scored.parts()):
        answer.write(b"," if place else b"")
        answer.write(_segments_json(json.dumps(video_id)[1:-1], part, names).encode())
    answer.write(b"]}")
    return answer.getvalue()


def _segments_json(video: str, scored: ScoredVideo, names: "TagTexts") -> str:
    return ",".join([
        f'{{"segment":"{video}:{start}","start_s":{start},"end_s":{start + SEGMENT_FRAMES},"tags":['
        + ",".join([f'{{{names[row]},"score":{score}}}' for row, score in zip(classes, scores, strict=True)])
        + "]}"
        for start, classes, scores in zip(
            scored.starts.tolist(), scored.classes.tolist(), scored.probabilities.astype(str).tolist(), strict=True
        )
    ])  # fmt: skip


TagTexts = tuple[str, ...]  # by class ordinal: the JSON members that name a tag


def tag_texts(vocabulary: Vocabulary) -> TagTexts:
    """The naming members of `TagScore` for every class."""
    return tuple(
        json.dumps({"tag": entry.name, "label_index": entry.label_index})[1:-1] for entry in vocabulary.entries
    )


def _head(page: Page | MomentPage) -> dict[str, Any]:
    """What every answer to a query begins with."""
    tags, generation = [TagAnswer.of(tag) for tag in page.tags], GenerationAnswer.of(page.generation)
    return {"tags": tags, "generation": generation, "sequence": page.sequence, "complete": page.complete}


def _score_texts(page: Page | MomentPage) -> list[str]:
    table = score_texts()
    return [table[code] for code in page.codes.tolist()]


@cache
def score_texts() -> tuple[str, ...]:
    """By score code: the shortest decimal that gives the code's float32 probability back. Made once, in 0.1 s."""
    return tuple(map(str, PROBABILITIES))
