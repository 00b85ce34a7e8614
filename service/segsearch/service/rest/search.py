"""`GET /search`, the plain way: what the fast path in front of it leaves to others, and its twin."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from segsearch.service.rest.access import READ
from segsearch.service.rest.answer_coding import best_coding
from segsearch.service.rest.answers import MomentsAnswer, SearchAnswer
from segsearch.service.rest.edge import EdgeDep, failures
from segsearch.service.rest.search_answers import (
    ARROW,
    LINES,
    Answer,
    SearchAnswers,
    SearchQuery,
    etag_of,
    form_of,
    not_modified,
)

PATH: Final = "/search"
_FOUND: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            LINES: {"schema": {"type": "string", "description": "A line without the hits, then each hit as a line."}},
            ARROW: {"schema": {"type": "string", "format": "binary", "description": "A record batch of the hits."}},
        },
    },
    304: {"description": "The answer that `If-None-Match` names by its `ETag` is still right."},
}  # fmt: skip

router = APIRouter()


@router.get(
    PATH, response_model=SearchAnswer | MomentsAnswer,
    responses={**_FOUND, **failures(400, 404, 406, 410, 422, 503)}, dependencies=[READ],
)  # fmt: skip
def search(request: Request, edge: EdgeDep, query: Annotated[SearchQuery, Query()]) -> Response:
    """Segments that show a tag, best first."""
    accept, codings, known = (
        ", ".join(request.headers.getlist(name)) for name in ("accept", "accept-encoding", "if-none-match")
    )
    form, view = form_of(accept), edge.library.view()
    answer = not_modified(known, etag_of(view, query, form))
    searches: SearchAnswers = request.app.state.searches
    return response_of(answer or searches.answer(view, query, form, best_coding(codings)))


def response_of(answer: Answer) -> Response:
    """The answer with its headers as they are."""
    content, status = answer.content, answer.status
    response = Response(content, status) if isinstance(content, bytes) else StreamingResponse(content, status)
    response.raw_headers = list(answer.headers)
    return response
