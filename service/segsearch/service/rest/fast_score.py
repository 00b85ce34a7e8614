"""`POST /score`, in front of the framework: finding the route and what it depends on takes a quarter of all the time
that an upload keeps the event loop, and the searches that wait for it.

Where it stands: before the router, as `fast_search` is. The route's own function answers, and the application's own
handlers say what is wrong; of what leads to them this is the twin. Handed on is a request with an `Idempotency-Key`, or
with parameters that `query_string` leaves to the framework. A bug is answered and told, and not raised again.
"""

from typing import Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from segsearch.service.rest.access import let_in
from segsearch.service.rest.edge import edge_of
from segsearch.service.rest.exchange import exchange_of
from segsearch.service.rest.problems import problem_of
from segsearch.service.rest.query_string import query_of
from segsearch.service.rest.routes import ScoreQuery, score
from segsearch.service.rest.waiting import check_room
from segsearch.service.security.keys import Scope as KeyScope

_HANDED_ON: Final = b"idempotency-key"


class FastScore:
    """The layer in front of `app`."""

    def __init__(self, app: FastAPI, *, route: APIRoute):
        """route: the plain twin, by whose path requests are told and counted."""
        self._app, self._route = app, route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._is_ours(scope):
            await self._app(scope, receive, send)
            return
        scope["route"], scope["app"] = self._route, self._app
        request = Request(scope, receive)
        try:
            let_in(self._app.state.guard, exchange_of(scope), scope["headers"], KeyScope.write)
            check_room(request)
            answer = await self._answer(request)
        except Exception as error:
            answer = await problem_of(request, error)
        await (answer or self._app)(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        return (
            scope["type"] == "http"
            and scope["path"] == self._route.path
            and scope["method"] == "POST"
            and all(name != _HANDED_ON for name, _ in scope["headers"])
        )

    async def _answer(self, request: Request) -> Response | None:
        """None: the parameters are none, or put in a way that is left to the route."""
        try:
            query = query_of(ScoreQuery, request.scope["query_string"])
        except ValidationError:
            return None
        return await score(request, edge_of(request), query)
