"""One request and its answer, as logs and metrics see them: everything else of the edge lies inside this.

It gives each request an id, which comes back as `X-Request-Id` and stands in every line that is logged about it; counts
and times it; and leaves an audit line of each deletion, and of what an admin's key was needed for, whether it was
allowed or not.

The layers within write down here what only they know: whose key it was, what went wrong.
"""

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segsearch.service.bounded import Asked
from segsearch.service.events import log
from segsearch.service.request_id import HEADER, request_id
from segsearch.service.rest.metrics import Metrics
from segsearch.service.security.keys import Scope as KeyScope

_KEY: Final = "segsearch.exchange"  # where it lies in the ASGI scope
_ID_HEADER: Final = HEADER.encode()


@dataclass(slots=True)
class Exchange:
    """What is known of one request so far."""

    request_id: str
    key_id: str | None = None
    needs: KeyScope | None = None  # what its route asks of a key
    let_in: KeyScope | None = None  # as what its key was let in: that is looked at, and counted, once
    asked: Asked | None = None  # what its body asks for, where an audit line is to say it; None: not read
    problem: str | None = None  # code of the problem document that answers it
    status: int = 0  # 0: no answer was begun


def exchange_of(scope: Scope) -> Exchange:
    """The exchange that a request belongs to."""
    found: Exchange = scope[_KEY]
    return found


def client_of(request: HTTPConnection) -> str:
    """Whose share of things a request takes: that of its key, else that of its address."""
    return exchange_of(request.scope).key_id or (request.client.host if request.client else "")


class Exchanges:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, log_requests: bool):
        self._app, self._metrics, self._log_requests = app, metrics, log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = scope[_KEY] = Exchange(_request_id(scope))

        def answer(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), (_ID_HEADER, exchange.request_id.encode())]
                self._audit(scope, exchange)
            return send(message)

        started_s = time.perf_counter()
        try:
            await self._app(scope, receive, answer)
        finally:
            if not exchange.status:
                self._audit(scope, exchange)
            self._note(scope, exchange, time.perf_counter() - started_s)

    def _audit(self, scope: Scope, exchange: Exchange) -> None:
        """Before the answer leaves: who has it can count on its line being there."""
        if exchange.needs is KeyScope.admin or scope["method"] == "DELETE":
            asked: dict[str, Any] = {} if exchange.asked is None else {"asked": exchange.asked}
            log("admin_action", **_facts(scope, exchange), **asked)

    def _note(self, scope: Scope, exchange: Exchange, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", None)  # without converters
        self._metrics.answered(route, exchange.status, exchange.problem, seconds)
        if self._log_requests:
            log("request", **_facts(scope, exchange), problem=exchange.problem, seconds=round(seconds, 6))


def _facts(scope: Scope, exchange: Exchange) -> dict[str, Any]:
    return {
        "request": exchange.request_id, "key": exchange.key_id, "method": scope["method"], "path": scope["path"],
        "status": exchange.status,
    }  # fmt: skip


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == _ID_HEADER:
            return request_id(value.decode("latin-1"))
    return request_id()
