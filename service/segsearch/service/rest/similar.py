"""The route of neighbours: what is like a segment of the library, or like frames that are sent."""

import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segsearch.core.errors import InvalidInput
from segsearch.core.segments import SEGMENT_FRAMES, segment_count, segment_id
from segsearch.core.videos import VIDEO_ID_LIMIT
from segsearch.service.library import SIMILAR_LIMIT, Begun
from segsearch.service.pages import SimilarPage
from segsearch.service.rest.access import READ
from segsearch.service.rest.answer_coding import encoded
from segsearch.service.rest.answers import End, GenerationAnswer, SegmentId, Start
from segsearch.service.rest.edge import Edge, EdgeDep, QueryModel, edge_of, failures
from segsearch.service.rest.request_body import body_of
from segsearch.service.rest.waiting import caller_of, until_scored
from segsearch.service.scoring.scorer import Caller
from segsearch.service.uploads.reader import JSON, REQUEST_BODY

router = APIRouter()

_NAMING_LIMIT_BYTES: Final = 4_096  # of a body that names a segment: an id whose every letter is spelt `\\u0000` fits

Count = Annotated[int, Field(ge=1, le=SIMILAR_LIMIT, description="How many segments.")]
Second = Annotated[int, Field(ge=0, le=1 << 31, description="First second of a segment.")]


class SimilarQuery(QueryModel):
    """What of the frames that are sent."""

    start_s: Annotated[Second | None, Field(description="Of the frames sent; none: the mean of their segments.")] = None
    k: Count = 100


class NamedSegment(BaseModel):
    """A segment of the library."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    video_id: Annotated[str, Field(min_length=1, max_length=VIDEO_ID_LIMIT)]
    start_s: Second
    k: Count = 100


class SimilarHit(BaseModel):
    """A segment that is like what was asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    segment: SegmentId
    video: str
    start_s: Start
    end_s: End
    similarity: Annotated[float, Field(ge=-1, le=1, description="Cosine of the embeddings.")]


class SimilarAnswer(BaseModel):
    """The segments most alike, the most alike first; equally alike ones in library order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    generation: GenerationAnswer
    sequence: Annotated[int, Field(description="Number of the last upload or deletion that the answer knows.")]
    recall: Annotated[float, Field(ge=0, le=1, description="Share of the 100 nearest that is found, as measured.")]
    segments: list[SimilarHit]

    @classmethod
    def of(cls, page: SimilarPage) -> "SimilarAnswer":
        columns = zip(page.video_ids, page.starts.tolist(), page.similarities.tolist(), strict=True)
        hits = [
            SimilarHit(
                segment=segment_id(video, start), video=video, start_s=start, end_s=start + SEGMENT_FRAMES,
                similarity=round(similarity, 6),
            )
            for video, start, similarity in columns
        ]  # fmt: skip
        generation = GenerationAnswer.of(page.generation)
        return cls(generation=generation, sequence=page.sequence, recall=page.recall, segments=hits)


def _request_body() -> dict[str, Any]:
    """OpenAPI of the body: what `POST /score` reads, or a segment's name."""
    content: dict[str, Any] = dict(REQUEST_BODY["requestBody"]["content"])
    content[JSON] = {"schema": {"oneOf": [NamedSegment.model_json_schema(), content[JSON]["schema"]]}}
    text = "A segment of the library, or frames of one video; `Content-Encoding` gzip and zstd are read."
    return {"requestBody": {"required": True, "description": text, "content": content}}


@router.post(
    "/similar", response_model=SimilarAnswer, responses=failures(404, 408, 409, 413, 415, 422, 501, 503),
    openapi_extra=_request_body(), dependencies=[READ],
)  # fmt: skip
async def similar(request: Request, edge: EdgeDep, query: Annotated[SimilarQuery, Query()]) -> Response:
    """Segments that are like one of the library, or like frames that are sent: neighbours of its embedding.

    Found are the segments of the generation. What was uploaded since can be asked for, and is found after a reindex.
    """
    caller, kind = caller_of(request), request.headers.get("content-type", "")
    if _must_be_frames(request, kind):  # whoever is refused anyway need not send them
        edge.library.check_room(caller)
    with await body_of(request, edge.body_limits) as body:
        named = named_segment(kind, body.content)
        if named is None:
            start_s, k = query.start_s, query.k
            begun = await edge.in_thread(_begun, edge, kind, body.content, caller)
    if named is not None:
        if request.query_params:
            raise InvalidInput("query", "given beside a body that names a segment", "start_s and k in the body")
        start_s, k = named.start_s, named.k
        found = await run_in_threadpool(_of_segment, request, named, caller)
        if isinstance(found, Response):
            return found
        begun = found
    await until_scored(request, begun.scores)
    return await edge.in_thread(_of_frames, request, begun, start_s, k)


def _must_be_frames(request: Request, kind: str) -> bool:
    """Whether a body that is still to come names no segment for sure."""
    announced = request.headers.get("content-length", "")
    return not _is_json(kind) or (announced.isdecimal() and int(announced) > _NAMING_LIMIT_BYTES)


def _of_segment(request: Request, named: NamedSegment, caller: Caller) -> Response | Begun:
    """The answer, or what is being scored for it."""
    library = edge_of(request).library
    found = library.begin_similar_segment(named.video_id, named.start_s, named.k, caller)
    return _answer(request, found) if isinstance(found, SimilarPage) else found


def _begun(edge: Edge, kind: str, body: bytes, caller: Caller) -> Begun:
    _, upload = edge.reader.read(kind, body, None)
    return edge.library.begin_similar(upload.frames, caller)


def _of_frames(request: Request, begun: Begun, start_s: int | None, k: int) -> Response:
    edge = edge_of(request)
    page = edge.library.similar_of(begun, start_s, k)
    edge.metrics.scored_segments.inc(segment_count(len(begun.frames)))
    return _answer(request, page)


def _answer(request: Request, page: SimilarPage) -> Response:
    answer = SimilarAnswer.of(page).model_dump_json().encode()
    content, headers = encoded(answer, request.headers.get("accept-encoding", ""))
    return Response(content, headers=headers, media_type=JSON)


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == JSON


def named_segment(content_type: str, body: bytes) -> NamedSegment | None:
    """The segment that a body names; None for a body of frames, or of something else, which their reader refuses.

    Raises InvalidInput naming the member that is wrong.
    """
    if not _is_json(content_type) or len(body) > _NAMING_LIMIT_BYTES:
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or "frames" in document:
        return None
    try:
        return NamedSegment.model_validate(document)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        raise InvalidInput(field[:80], fault["msg"], "video_id, start_s, and k if you like; or frames") from None
