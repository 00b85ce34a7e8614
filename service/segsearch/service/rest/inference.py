"""The routes of the Open Inference Protocol, version 2: the model behind `POST /score` for clients who speak that.

Where it stands: `inference_body` reads requests, `inference_answers` writes; `rpc.inference` is the twin over gRPC. An
error is a problem document as everywhere, and has the protocol's `error`, too.
"""

from importlib.metadata import version as release
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response

from segsearch.core.errors import UnsupportedContent
from segsearch.core.segments import segment_count
from segsearch.service.inference import EXTENSIONS, SERVER, Answer, ModelName, begin, check_ready, served
from segsearch.service.library import Begun
from segsearch.service.rest.access import PUBLIC, READ, WRITE
from segsearch.service.rest.answer_coding import encoded
from segsearch.service.rest.edge import Edge, EdgeDep, Nothing, edge_of, failures
from segsearch.service.rest.inference_answers import (
    InferenceAnswer,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    written,
)
from segsearch.service.rest.inference_body import BINARY, BYTES, JSON, LENGTH_HEADER, REQUEST_BODY, Body, read_request
from segsearch.service.rest.request_body import body_of
from segsearch.service.rest.waiting import caller_of, until_scored
from segsearch.service.scoring.scorer import Caller

router = APIRouter()

Name = Annotated[str, Path(description="The bundle's name.", examples=["dbof"])]
Version = Annotated[str, Path(description="The bundle's version.", examples=["3"])]


async def _any_version(name: Name) -> ModelName:
    return ModelName(name)


async def _one_version(name: Name, version: Version) -> ModelName:
    return ModelName(name, version)


AnyVersion = Annotated[ModelName, Depends(_any_version)]
OneVersion = Annotated[ModelName, Depends(_one_version)]

_INFERENCE: Final[dict[str, Any]] = {
    "response_model": InferenceAnswer,
    "responses": {
        200: {"description": "Scores; binary tensors lie behind the JSON.", "content": BYTES},
        **failures(404, 408, 413, 415, 422, 503),
    },
    "openapi_extra": REQUEST_BODY,
    "dependencies": [WRITE],
}


@router.get("/v2", responses=failures(422), dependencies=[PUBLIC])
def server(_: Nothing) -> ServerMetadata:
    """The server, and which extensions of the protocol it has."""
    return ServerMetadata(name=SERVER, version=release("segsearch"), extensions=list(EXTENSIONS))


@router.get("/v2/health/live", responses=failures(422), dependencies=[PUBLIC])
def live(_: Nothing) -> Live:
    """What `/livez` says."""
    return Live()


@router.get("/v2/health/ready", responses=failures(422, 503), dependencies=[PUBLIC])
def ready(edge: EdgeDep, _: Nothing) -> Ready:
    """What `/readyz` says, and whether the model scores."""
    check_ready(edge.library)
    return Ready()


_METADATA: Final[dict[str, Any]] = {
    "responses": failures(404, 422),
    "dependencies": [READ],
    "response_model_exclude_none": True,  # the protocol knows no null
}


@router.get("/v2/models/{name}", **_METADATA)
def model(edge: EdgeDep, _: Nothing, asked: AnyVersion) -> ModelMetadata:
    """Which tensors the model takes and gives."""
    return ModelMetadata.of(served(edge.library, asked), edge.library.refused_load)


@router.get("/v2/models/{name}/versions/{version}", **_METADATA)
def model_version(edge: EdgeDep, _: Nothing, asked: OneVersion) -> ModelMetadata:
    """Which tensors this version of the model takes and gives."""
    return ModelMetadata.of(served(edge.library, asked), edge.library.refused_load)


@router.get("/v2/models/{name}/ready", responses=failures(404, 422, 503), dependencies=[PUBLIC])
def model_ready(edge: EdgeDep, _: Nothing, asked: AnyVersion) -> ModelReady:
    """Whether the model is served and scores, and what `/readyz` says."""
    return _ready(edge, asked)


@router.get("/v2/models/{name}/versions/{version}/ready", responses=failures(404, 422, 503), dependencies=[PUBLIC])
def model_version_ready(edge: EdgeDep, _: Nothing, asked: OneVersion) -> ModelReady:
    """Whether this version of the model is served and scores, and what `/readyz` says."""
    return _ready(edge, asked)


@router.post("/v2/models/{name}/infer", **_INFERENCE)
async def infer(request: Request, edge: EdgeDep, _: Nothing, asked: AnyVersion) -> Response:
    """What the model says of every 5-second segment of a video, as tensors: the frames are scored as `/score` does."""
    return await _infer(request, edge, asked)


@router.post("/v2/models/{name}/versions/{version}/infer", **_INFERENCE)
async def infer_version(request: Request, edge: EdgeDep, _: Nothing, asked: OneVersion) -> Response:
    """The same, by this version of the model or not at all."""
    return await _infer(request, edge, asked)


async def _infer(request: Request, edge: Edge, asked: ModelName) -> Response:
    # Whoever is refused anyway need not send a body.
    _check_kind(request)
    served(edge.library, asked)
    caller = caller_of(request)
    edge.library.check_room(caller)
    lengths = request.headers.getlist(LENGTH_HEADER)
    with await body_of(request, edge.body_limits) as sent:
        body, begun = await edge.in_thread(_begun, edge, lengths, sent.content, asked, caller)
    await until_scored(request, begun.scores)
    return await edge.in_thread(_answered, request, body, begun)


def _begun(edge: Edge, lengths: list[str], content: bytes, asked: ModelName, caller: Caller) -> tuple[Body, Begun]:
    length = ", ".join(lengths) if lengths else None
    body = read_request(content, length, asked, served(edge.library, asked), edge.reader.rules)
    return body, begin(edge.library, body.request, caller)


def _answered(request: Request, body: Body, begun: Begun) -> Response:
    edge = edge_of(request)
    content, headers = written(Answer.of(body.request, begun), body.binary)
    edge.metrics.scored_segments.inc(segment_count(len(begun.frames)))
    if not body.binary:  # there is little to gain from floats as they lie in memory
        content, coding = encoded(content, request.headers.get("accept-encoding", ""))
        headers |= coding
    return Response(content, headers=headers)


def _check_kind(request: Request) -> None:
    """Clients of the protocol name their content's type rarely; one that is something else is refused all the same."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", JSON, BINARY):
        raise UnsupportedContent("content-type", repr(kind[:80]), f"{JSON}, or {BINARY} with {LENGTH_HEADER}")


def _ready(edge: Edge, asked: ModelName) -> ModelReady:
    name = served(edge.library, asked).manifest.name
    check_ready(edge.library)
    return ModelReady(name=name)
