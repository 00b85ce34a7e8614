"""`GET /search` in JSON, in front of the framework: an answer that was given before is bytes out of a dictionary.

Where it stands: inside `exchange`, which counts and logs what passes here as it does all else; before the router. What
it does not know how to answer it hands on, and the plain route, its twin, answers or says what is wrong. The route is
what OpenAPI describes.
"""

from functools import lru_cache
from typing import Final

from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from segsearch.core.errors import SegsearchError
from segsearch.service.index.view import View
from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.access import Headers, let_in
from segsearch.service.rest.answer_cache import AnswerCache
from segsearch.service.rest.answer_coding import best_coding
from segsearch.service.rest.exchange import exchange_of
from segsearch.service.rest.problems import on_bug, on_segsearch_error
from segsearch.service.rest.query_string import query_of
from segsearch.service.rest.search_answers import (
    JSON,
    Answer,
    SearchAnswers,
    SearchQuery,
    etag_of,
    form_of,
    not_modified,
)
from segsearch.service.security.guard import Guard
from segsearch.service.security.keys import Scope as KeyScope

_READ: Final = frozenset((b"accept", b"accept-encoding", b"if-none-match"))
_LIGHT_HITS: Final = 1000


class FastSearch:
    """The layer in front of `app`."""

    def __init__(
        self, app: ASGIApp, *, route: APIRoute, library: SegmentLibrary, searches: SearchAnswers, guard: Guard,
        cache_bytes: int,
    ):  # fmt: skip
        """route: the plain twin, by whose path requests are told and counted."""
        self._app, self._route, self._path = app, route, route.path
        self._library, self._searches, self._guard = library, searches, guard
        self._cache = AnswerCache(cache_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        try:
            answer = await self._answer(scope)
        except (SegsearchError, ValidationError):
            answer = None  # the route finds the same, and says so
        except Exception as error:
            answer = _said(on_bug(Request(scope), error))
        if answer is None:
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.content})

    async def _answer(self, scope: Scope) -> Answer | None:
        """The answer, unless it is the route's to give."""
        let_in(self._guard, exchange_of(scope), scope["headers"], KeyScope.read)
        headers = _headers(scope["headers"])
        form, coding = _wanted(headers.get(b"accept", b""), headers.get(b"accept-encoding", b""))
        if form != JSON:
            return None
        view = self._library.view_at_hand()
        if view is None:
            view = await run_in_threadpool(self._library.view)
        asked = scope["query_string"], coding
        answer, known = self._cache.get(view, asked), headers.get(b"if-none-match")
        if known is not None:
            etag = answer.etag if answer is not None else etag_of(view, _query(scope["query_string"]), JSON)
            if unchanged := not_modified(known.decode("latin-1"), etag):
                return unchanged
        try:
            return answer or await self._built(view, *asked)
        except SegsearchError as error:  # it may have taken a while: the route need not find it again
            return _said(on_segsearch_error(Request(scope), error))

    async def _built(self, view: View, query_string: bytes, coding: str | None) -> Answer:
        query = _query(query_string)
        if _is_light(view, query):
            answer = self._searches.answer(view, query, JSON, coding)
        else:
            answer = await run_in_threadpool(self._searches.answer, view, query, JSON, coding)
        self._cache.put(view, (query_string, coding), answer)
        return answer


def _headers(given: Headers) -> dict[bytes, bytes]:
    """Of a request's headers those that are looked at here; what came in several lines is one list."""
    found: dict[bytes, bytes] = {}
    for name, value in given:
        if name in _READ:
            found[name] = b"%s, %s" % (found[name], value) if name in found else value
    return found


@lru_cache(256)
def _wanted(accept: bytes, accept_encoding: bytes) -> tuple[str, str | None]:
    """Form and coding of the answer; raises NotAcceptable."""
    return form_of(accept.decode("latin-1")), best_coding(accept_encoding.decode("latin-1"))


def _query(query_string: bytes) -> SearchQuery:
    return query_of(SearchQuery, query_string)


def _is_light(view: View, query: SearchQuery) -> bool:
    """Whether a thread would cost more than the answer: one known tag whose list holds all that is asked for."""
    return (
        query.k <= _LIGHT_HITS
        and query.per_video is None
        and not query.merge
        and not query.page_token
        and view.vocabulary.knows(query.tag)
        and view.holds_best(view.vocabulary.find(query.tag), query.k)
    )


def _said(problem: Response) -> Answer:
    return Answer(problem.status_code, tuple(problem.raw_headers), bytes(problem.body), "")
