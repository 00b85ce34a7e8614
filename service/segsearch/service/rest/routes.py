"""The routes: each converts, asks the library once, and converts back.

Plain `def` routes run on worker threads. Of `POST /score` only the reading of the body happens on the event loop.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from segsearch.service.library import SEARCH_LIMIT, SegmentLibrary
from segsearch.service.rest.answer_coding import encoded
from segsearch.service.rest.answers import (
    Alive,
    BundleAnswer,
    GenerationAnswer,
    ProblemPage,
    Ready,
    ScoreAnswer,
    SearchAnswer,
    TagsAnswer,
    TagTexts,
    score_json,
    search_json,
    tags_answer,
)  # fmt: skip
from segsearch.service.rest.problems import MEDIA_TYPE, problem_page
from segsearch.service.rest.request_body import BodyLimits, read_body
from segsearch.service.rest.uploads.reader import REQUEST_BODY, UploadReader

TAG_LIMIT: Final = 1000
JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Edge:
    """What the routes share: the library, and what is fixed for as long as its bundle serves."""

    library: SegmentLibrary
    reader: UploadReader
    bundle: BundleAnswer
    tag_texts: TagTexts
    body_limits: BodyLimits


def _edge(request: Request) -> Edge:
    edge: Edge = request.app.state.edge
    return edge


EdgeDep = Annotated[Edge, Depends(_edge)]


class _Query(BaseModel):
    """Query parameters; one that is not listed is refused, as whoever sends it expects something of it."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(_Query):
    """A route without parameters."""


class SearchQuery(_Query):
    """What to search for."""

    tag: Annotated[str, Field(min_length=1, max_length=256, description="Name in any case, label index or graph id.")]
    k: Annotated[int, Field(ge=1, le=SEARCH_LIMIT, description="How many segments.")] = 100


class TagsQuery(_Query):
    """Which tags to list."""

    prefix: Annotated[str, Field(max_length=256, description="What a word of the tag begins with.")] = ""
    limit: Annotated[int, Field(ge=1, le=TAG_LIMIT, description="How many tags.")] = 20


class ScoreQuery(_Query):
    """How to answer for a video."""

    top: Annotated[int, Field(ge=1, le=TAG_LIMIT, description="How many tags a segment.")] = 20
    video_id: Annotated[str | None, Field(max_length=256, description="Names the video, if the body does not.")] = None


Nothing = Annotated[NoQuery, Query()]


def _failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI of a route's problem documents."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": "Problem", "content": content} for status in (422, *statuses)}


router = APIRouter()


def _json(request: Request, content: bytes) -> Response:
    """A JSON answer, compressed where that is worthwhile and welcome; compressing is work for a worker thread."""
    content, headers = encoded(content, request.headers.get("accept-encoding", ""))
    return Response(content, headers=headers, media_type=JSON_TYPE)


@router.get("/search", response_model=SearchAnswer, responses=_failures(404, 503))
def search(request: Request, edge: EdgeDep, query: Annotated[SearchQuery, Query()]) -> Response:
    """Segments that show a tag, best first."""
    return _json(request, search_json(edge.library.search(query.tag, query.k)))


@router.post("/score", response_model=ScoreAnswer, responses=_failures(408, 413, 415), openapi_extra=REQUEST_BODY)
async def score(request: Request, edge: EdgeDep, query: Annotated[ScoreQuery, Query()]) -> Response:
    """Every 5-second segment of a video with its best tags, from the video's frame features."""
    return await run_in_threadpool(_score, request, await read_body(request, edge.body_limits), query)


def _score(request: Request, body: bytes, query: ScoreQuery) -> Response:
    edge = _edge(request)
    video_id, upload = edge.reader.read(request.headers.get("content-type", ""), body, query.video_id)
    scored = edge.library.score(upload.frames, query.top)
    return _json(request, score_json(video_id, len(upload.frames), edge.bundle, scored, edge.tag_texts))


@router.get("/tags", responses=_failures(503))
def tags(edge: EdgeDep, query: Annotated[TagsQuery, Query()]) -> TagsAnswer:
    """Tags that begin with a prefix, with the length of their lists: what an input field completes to."""
    return tags_answer(edge.library.tags(query.prefix, query.limit))


@router.get("/livez", responses=_failures())
def livez(_: Nothing) -> Alive:
    """Whether the process answers at all."""
    return Alive()


@router.get("/readyz", responses=_failures(503))
def readyz(edge: EdgeDep, _: Nothing) -> Ready:
    """Whether searches can be answered, from which generation, and what runs the model."""
    return Ready(
        generation=GenerationAnswer.of(edge.library.view().manifest),
        bundle=edge.bundle,
        streams=str(edge.reader.rules.spec),
        provider=edge.library.scorer.provider,
    )


@router.get("/problems/{code}", responses=_failures(404))
def problem(code: str, _: Nothing) -> ProblemPage:
    """What the `type` of a problem document means."""
    return problem_page(code)
