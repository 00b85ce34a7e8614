"""The routes: each converts, asks the library once, and converts back.

Plain `def` routes run on worker threads. Of `POST /score` only the reading of the body happens on the event loop.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import Field

from segsearch.service.library import SEARCH_LIMIT
from segsearch.service.rest.access import PUBLIC, READ, WRITE
from segsearch.service.rest.answer_coding import encoded
from segsearch.service.rest.answers import (
    Alive,
    GenerationAnswer,
    MomentsAnswer,
    ProblemPage,
    Ready,
    ScoreAnswer,
    SearchAnswer,
    TagsAnswer,
    Upload,
    score_json,
    search_json,
    tags_answer,
)  # fmt: skip
from segsearch.service.rest.edge import EdgeDep, Nothing, QueryModel, edge_of, failures
from segsearch.service.rest.metrics import MEDIA_TYPE as METRICS_TYPE
from segsearch.service.rest.problems import problem_page
from segsearch.service.rest.request_body import read_body
from segsearch.service.rest.uploads.reader import REQUEST_BODY

TAG_LIMIT: Final = 1000
QUERY_LIMIT: Final = 1000  # characters
JSON_TYPE: Final = "application/json"


class SearchQuery(QueryModel):
    """What to search for."""

    tag: Annotated[
        str,
        Field(
            min_length=1, max_length=QUERY_LIMIT,
            description="Name in any case, label index or graph id; or several with `and`, `or`, `not`, parentheses.",
        ),
    ]  # fmt: skip
    k: Annotated[int, Field(ge=1, le=SEARCH_LIMIT, description="How many segments.")] = 100
    min_score: Annotated[float, Field(ge=0, le=1, description="Only segments with at least this probability.")] = 0.0
    per_video: Annotated[int | None, Field(ge=1, description="No more than so many segments of one video.")] = None
    merge: Annotated[bool, Field(description="Adjacent segments of the answer as one moment.")] = False


class TagsQuery(QueryModel):
    """Which tags to list."""

    prefix: Annotated[str, Field(max_length=256, description="What a word of the tag begins with.")] = ""
    limit: Annotated[int, Field(ge=1, le=TAG_LIMIT, description="How many tags.")] = 20


class ScoreQuery(QueryModel):
    """How to answer for a video."""

    top: Annotated[int, Field(ge=1, le=TAG_LIMIT, description="How many tags a segment.")] = 20
    video_id: Annotated[str | None, Field(max_length=256, description="Names the video, if the body does not.")] = None
    index: Annotated[bool, Field(description="Also add it to the library, in place of what has its id.")] = False


router = APIRouter()


def _json(request: Request, content: bytes) -> Response:
    """A JSON answer, compressed where that is worthwhile and welcome; compressing is work for a worker thread."""
    content, headers = encoded(content, request.headers.get("accept-encoding", ""))
    return Response(content, headers=headers, media_type=JSON_TYPE)


@router.get(
    "/search", response_model=SearchAnswer | MomentsAnswer, responses=failures(404, 422, 503), dependencies=[READ]
)
def search(request: Request, edge: EdgeDep, query: Annotated[SearchQuery, Query()]) -> Response:
    """Segments that show a tag, best first."""
    library, asked = edge.library, (query.tag, query.k)
    if query.merge:
        page = library.moments(*asked, min_score=query.min_score, per_video=query.per_video)
        return _json(request, MomentsAnswer.of(page).model_dump_json().encode())
    return _json(request, search_json(library.search(*asked, min_score=query.min_score, per_video=query.per_video)))


@router.post(
    "/score", response_model=ScoreAnswer, responses=failures(408, 409, 413, 415, 422, 503, 507),
    openapi_extra=REQUEST_BODY, dependencies=[WRITE],
)  # fmt: skip
async def score(request: Request, edge: EdgeDep, query: Annotated[ScoreQuery, Query()]) -> Response:
    """Every 5-second segment of a video with its best tags, from the video's frame features."""
    return await run_in_threadpool(_score, request, await read_body(request, edge.body_limits), query)


def _score(request: Request, body: bytes, query: ScoreQuery) -> Response:
    edge = edge_of(request)
    video_id, upload = edge.reader.read(request.headers.get("content-type", ""), body, query.video_id)
    if query.index:
        scored, stored = edge.library.add(video_id, upload.frames, query.top)
    else:
        scored, stored = edge.library.score(upload.frames, query.top), None
    edge.metrics.scored_segments.inc(len(scored.starts))
    told = Upload(video_id, len(upload.frames), edge.bundle, stored)
    return _json(request, score_json(told, scored, edge.tag_texts))


@router.get("/tags", responses=failures(422, 503), dependencies=[READ])
def tags(edge: EdgeDep, query: Annotated[TagsQuery, Query()]) -> TagsAnswer:
    """Tags that begin with a prefix, with the length of their lists: what an input field completes to."""
    return tags_answer(edge.library.tags(query.prefix, query.limit))


@router.get("/livez", responses=failures(422), dependencies=[PUBLIC])
def livez(_: Nothing) -> Alive:
    """Whether the process answers at all."""
    return Alive()


@router.get("/readyz", responses=failures(422, 503), dependencies=[PUBLIC])
def readyz(edge: EdgeDep, _: Nothing) -> Ready:
    """Whether searches can be answered, from which generation, and what runs the model."""
    return Ready(
        generation=GenerationAnswer.of(edge.library.view().manifest),
        bundle=edge.bundle,
        streams=str(edge.reader.rules.spec),
        provider=edge.library.scorer.provider,
    )


@router.get("/problems/{code}", responses=failures(404, 422), dependencies=[PUBLIC])
def problem(code: str, _: Nothing) -> ProblemPage:
    """What the `type` of a problem document means."""
    return problem_page(code)


@router.get("/metrics", response_class=Response, responses=failures(422), dependencies=[READ])
def metrics(edge: EdgeDep, _: Nothing) -> Response:
    """What is counted and measured, for Prometheus."""
    return Response(edge.metrics.text(), media_type=METRICS_TYPE)


@router.get("/openapi.json", include_in_schema=False, dependencies=[PUBLIC])
def openapi(request: Request) -> JSONResponse:
    """This description."""
    return JSONResponse(request.app.openapi())
