"""The routes of one video: its scores over time, and its deletion."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from segsearch.core.score_codes import PROBABILITIES
from segsearch.core.videos import VIDEO_ID_LIMIT
from segsearch.service.pages import Strip
from segsearch.service.rest.access import READ, WRITE
from segsearch.service.rest.answers import GenerationAnswer, StoredAnswer, TagAnswer
from segsearch.service.rest.edge import EdgeDep, Nothing, QueryModel, failures
from segsearch.service.rest.idempotency import IdempotencyKey, owner_of, request_digest
from segsearch.service.rest.search_answers import QUERY_LIMIT

router = APIRouter()

VideoId = Annotated[str, Path(max_length=VIDEO_ID_LIMIT, description="Id of a video of the library.")]


class StripQuery(QueryModel):
    """Which scores of a video."""

    tag: Annotated[
        list[Annotated[str, Field(max_length=QUERY_LIMIT)]],
        Field(min_length=1, max_length=100, description="Tags; may be given more than once."),
    ]


class TagStrip(BaseModel):
    """One tag's scores, segment by segment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tag: TagAnswer
    scores: Annotated[list[float | None], Field(description="None: below all that the tag's list holds, and not kept.")]


class VideoAnswer(BaseModel):
    """A video's scores over time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    video: str
    generation: GenerationAnswer
    sequence: Annotated[int, Field(description="Number of the last upload or deletion that the answer knows.")]
    starts_s: Annotated[list[int], Field(description="First second of each segment.")]
    tags: list[TagStrip]

    @classmethod
    def of(cls, strip: Strip) -> "VideoAnswer":
        rows = [
            [score if known else None for score, known in zip(scores, there, strict=True)]
            for scores, there in zip(PROBABILITIES[strip.codes].tolist(), strip.known.tolist(), strict=True)
        ]
        return cls(
            video=strip.video_id, generation=GenerationAnswer.of(strip.generation), sequence=strip.sequence,
            starts_s=strip.starts.tolist(),
            tags=[TagStrip(tag=TagAnswer.of(tag), scores=row) for tag, row in zip(strip.tags, rows, strict=True)],
        )  # fmt: skip


@router.get("/videos/{video_id:path}", responses=failures(404, 422, 503), dependencies=[READ])
def video(edge: EdgeDep, video_id: VideoId, query: Annotated[StripQuery, Query()]) -> VideoAnswer:
    """How much each segment of a video shows some tags."""
    return VideoAnswer.of(edge.library.strip(video_id, query.tag))


@router.delete("/videos/{video_id:path}", responses=failures(404, 409, 422, 503, 507), dependencies=[WRITE])
def delete(request: Request, edge: EdgeDep, video_id: VideoId, _: Nothing, key: IdempotencyKey = None) -> StoredAnswer:
    """Takes a video out of the library, for good."""
    with edge.remembered.once(owner_of(request), key, request_digest(request)) as attempt:
        if attempt.content is None:
            attempt.content = StoredAnswer.of(edge.library.delete(video_id, attempt.name)).model_dump_json().encode()
    return StoredAnswer.model_validate_json(attempt.content)
