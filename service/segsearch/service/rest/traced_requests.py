"""Each HTTP request as a trace: the outermost layer of the application, where traces are on.

Where it stands: the twin of `rpc.traced_calls`. `exchange` lies within, and has written down what only it knows.
"""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from segsearch.service.rest.exchange import exchange_of
from segsearch.service.tracing.trace import HEADERS, Fact, Trace, Traces, work_for

_HEADERS: Final = {name.encode(): name for name in HEADERS}
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"))


class TracedRequests:
    """The layer around `app`, in which `Exchanges` is outermost."""

    def __init__(self, app: ASGIApp, traces: Traces):
        self._app, self._traces = app, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"  # a caller must not make up names
        facts = {"http.request.method": method, "url.scheme": scope["scheme"], "url.path": scope["path"]}
        trace = self._traces.begin(method, _headers(scope), facts)
        work_for(trace)
        try:
            await self._app(scope, receive, send)
        finally:
            _end(trace, method, scope)


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        if name in _HEADERS:
            found.setdefault(_HEADERS[name], []).append(value.decode("latin-1"))
    return found


def _end(trace: Trace, method: str, scope: Scope) -> None:
    exchange, route = exchange_of(scope), getattr(scope.get("route"), "path_format", None)  # without converters
    facts: dict[str, Fact] = {"segsearch.request_id": exchange.request_id}
    if route is not None:
        facts["http.route"] = route
    if exchange.status:  # else the client left
        facts["http.response.status_code"] = exchange.status
    if exchange.problem is not None:
        facts["error.type"] = exchange.problem
    trace.end(method if route is None else f"{method} {route}", facts, failed=exchange.status >= 500)
