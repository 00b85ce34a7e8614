"""The routes: each converts, asks the library once, and converts back.

Plain `def` routes run on worker threads. `POST /score` reads its body and waits for its scores on the event loop, and
has a few threads of its own for the work before and after: however many wait, searches find a thread.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from segsearch.core.errors import InvalidInput
from segsearch.service.index.live.once import Name
from segsearch.service.library import Begun
from segsearch.service.page_making import check_tags
from segsearch.service.rest.access import PUBLIC, READ, WRITE
from segsearch.service.rest.answer_coding import encoded
from segsearch.service.rest.answers import (
    Alive,
    BundleAnswer,
    GenerationAnswer,
    ProblemPage,
    Ready,
    ScoreAnswer,
    TagsAnswer,
    Upload,
    score_json,
    tags_answer,
)  # fmt: skip
from segsearch.service.rest.edge import EdgeDep, Nothing, QueryModel, edge_of, failures
from segsearch.service.rest.idempotency import IdempotencyKey, owner_of, request_digest
from segsearch.service.rest.metrics import MEDIA_TYPE as METRICS_TYPE
from segsearch.service.rest.problems import problem_page
from segsearch.service.rest.request_body import body_of
from segsearch.service.rest.waiting import ROOM, caller_of, until_scored
from segsearch.service.uploads.reader import REQUEST_BODY

TAG_LIMIT: Final = 1000
JSON_TYPE: Final = "application/json"


class TagsQuery(QueryModel):
    """Which tags to list."""

    prefix: Annotated[str, Field(max_length=256, description="What a word of the tag begins with.")] = ""
    limit: Annotated[int, Field(ge=1, le=TAG_LIMIT, description="How many tags.")] = 20


class ScoreQuery(QueryModel):
    """How to answer for a video."""

    top: Annotated[int, Field(ge=1, le=TAG_LIMIT, description="How many tags a segment.")] = 20
    video_id: Annotated[str | None, Field(max_length=256, description="Names the video, if the body does not.")] = None
    index: Annotated[
        bool, Field(description="Also add it to the library, in place of what has its id; it needs one.")
    ] = False


router = APIRouter()


def _json(request: Request, content: bytes) -> Response:
    """A JSON answer, compressed where that is worthwhile and welcome; compressing is work for a worker thread."""
    content, headers = encoded(content, request.headers.get("accept-encoding", ""))
    return Response(content, headers=headers, media_type=JSON_TYPE)


@router.post(
    "/score", response_model=ScoreAnswer, responses=failures(408, 409, 413, 415, 422, 503, 507),
    openapi_extra=REQUEST_BODY, dependencies=[WRITE, ROOM],
)  # fmt: skip
async def score(
    request: Request, edge: EdgeDep, query: Annotated[ScoreQuery, Query()], key: IdempotencyKey = None
) -> Response:
    """Every 5-second segment of a video with its best tags, from the video's frame features."""
    key = key if query.index else None  # scoring alone changes nothing
    with await body_of(request, edge.body_limits) as body:
        asked = await edge.in_thread(request_digest, request, body.content) if key is not None else b""
        with edge.remembered.once(owner_of(request), key, asked) as attempt:
            if attempt.content is None:
                video_id, begun = await edge.in_thread(_begun, request, body.content, query)
                body.let_go()  # the queue has a limit of its own for frames that wait
                await until_scored(request, begun.scores)
                attempt.content, answer = await edge.in_thread(_scored, request, query, video_id, begun, attempt.name)
                return answer
    return await edge.in_thread(_json, request, attempt.content)


def _begun(request: Request, body: bytes, query: ScoreQuery) -> tuple[str, Begun]:
    edge, caller = edge_of(request), caller_of(request)
    video_id, upload = edge.reader.read(request.headers.get("content-type", ""), body, query.video_id)
    if query.index and query.video_id is None and upload.video_id is None:
        raise InvalidInput("query.video_id", "none, nor an id in the body", "an id to store the video under")
    check_tags(edge.library.scorer.bundle, len(upload.frames), query.top, "query.top")
    return video_id, edge.library.begin(upload.frames, caller, add_as=video_id if query.index else None)


def _scored(
    request: Request, query: ScoreQuery, video_id: str, begun: Begun, name: Name | None
) -> tuple[bytes, Response]:
    """The answer's content, to remember, and the answer."""
    edge = edge_of(request)
    scored, stored = edge.library.finish(begun, query.top, name)
    edge.metrics.scored_segments.inc(len(scored.starts))
    told = Upload(video_id, len(begun.frames), BundleAnswer.of(scored.bundle), stored)
    content = score_json(told, scored, edge.tag_texts)
    return content, _json(request, content)


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
    """Whether searches can be answered, from which generation, what runs the model, and whether that scores now."""
    return Ready(
        generation=GenerationAnswer.of(edge.library.ready_view().manifest),
        bundle=BundleAnswer.of(edge.library.scorer.bundle),
        streams=str(edge.reader.rules.spec),
        provider=edge.library.scorer.provider,
        scoring=edge.library.is_scoring(),
    )


@router.get("/problems/{code}", responses=failures(404, 422), dependencies=[PUBLIC])
def problem(code: str, _: Nothing) -> ProblemPage:
    """What the `type` of a problem document means."""
    return problem_page(code)


@router.get(
    "/metrics", response_class=Response, dependencies=[READ],
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **failures(422)},
)  # fmt: skip
def metrics(edge: EdgeDep, _: Nothing) -> Response:
    """What is counted and measured, for Prometheus."""
    return Response(edge.metrics.text(), media_type=METRICS_TYPE)


@router.get("/openapi.json", include_in_schema=False, dependencies=[PUBLIC])
def openapi(request: Request) -> JSONResponse:
    """This description."""
    return JSONResponse(request.app.openapi())
