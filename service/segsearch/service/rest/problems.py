"""Our errors as RFC 9457 problem documents: the handlers that answer by the table in `error_rows`. `rpc.status` is the
twin of this.
"""

import asyncio
import json
import logging
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from segsearch.core import errors
from segsearch.core.errors import SegsearchError
from segsearch.service.error_rows import TABLE, row_of
from segsearch.service.events import log
from segsearch.service.refusals import REFUSED, Refusals
from segsearch.service.rest.answers import ProblemPage
from segsearch.service.rest.exchange import exchange_of

MEDIA_TYPE: Final = "application/problem+json"
INFERENCE_PATH: Final = "/v2/"  # below it an error is also what the Open Inference Protocol calls one
DETAIL_LIMIT: Final = 1000  # characters: what a request makes us quote need not come back whole

# What says itself when to come back.
_COME_BACK: Final = (
    errors.RateLimited, errors.QueueFull, errors.TooManyCalls, errors.IdempotencyKeyBusy, errors.ScoringFailed
)  # fmt: skip

Handler = Callable[[Request, Exception], Response]


# Codes of problems that no SegsearchError stands for.
HTTP_CODES: Final = {
    HTTPStatus.NOT_FOUND: "not-found", HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed",
    HTTPStatus.BAD_REQUEST: "bad-request",
}  # fmt: skip


def problem_page(code: str) -> ProblemPage:
    """What a problem's `type` stands for: its status, and the error's own description."""
    for kind, row in TABLE.items():
        if kind.code == code:
            meaning = (kind.__doc__ or "").split("\n")[0]
            return ProblemPage(type=f"/problems/{code}", status=row.status, meaning=meaning)
    for status, name in HTTP_CODES.items():
        if name == code:
            return ProblemPage(type=f"/problems/{code}", status=status, meaning=status.description)
    raise HTTPException(HTTPStatus.NOT_FOUND, f"no problem type {code[:80]!r}")


def add_handlers(app: FastAPI) -> None:
    """Makes every error of `app` a problem document: ours, FastAPI's, the router's, and bugs."""
    refusals = Refusals()

    async def on_refusal(request: Request, error: Exception) -> Response:
        error.__traceback__ = None  # or whoever waits would keep what the route had: a whole body, where it was read
        now_s = time.monotonic()
        await asyncio.sleep(refusals.next_s(now_s) - now_s)
        return on_segsearch_error(request, error)

    for refused in REFUSED:
        app.add_exception_handler(refused, on_refusal)
    for kind, handler in {
        SegsearchError: on_segsearch_error,
        RequestValidationError: _on_validation_error,
        HTTPException: _on_http_exception,
        ClientDisconnect: _on_disconnect,
        Exception: on_bug,
    }.items():
        app.add_exception_handler(kind, _on_the_loop(handler))


async def problem_of(request: Request, error: Exception) -> Response:
    """What the application that a request came to answers to an error, for what stands in front of its own layers."""
    handlers = request.app.exception_handlers
    answer: Response = await next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)(request, error)
    return answer


def _on_the_loop(handler: Handler) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A plain function would cost a hop to a worker thread."""

    async def handle(request: Request, error: Exception) -> Response:
        return handler(request, error)

    return handle


def document(request: Request, status: HTTPStatus, code: str, detail: str, **more: Any) -> Response:
    """A problem document; `more` are its extension members."""
    exchange_of(request.scope).problem = code
    path = request.scope["path"]  # its URL is made of the `Host` that came, which may be none
    body = {
        "type": f"/problems/{code}", "title": status.phrase, "status": status.value, "detail": detail[:DETAIL_LIMIT],
        "instance": path, **more,
    }  # fmt: skip
    if f"{path}/".startswith(INFERENCE_PATH):
        body["error"] = body["detail"]  # where clients of the Open Inference Protocol look
    # Escaped to ASCII: a request can make us quote text that UTF-8 has no bytes for.
    return Response(json.dumps(body), status, media_type=MEDIA_TYPE)


def on_segsearch_error(request: Request, error: Exception) -> Response:
    """What the table says of one of our errors."""
    assert isinstance(error, SegsearchError)
    row = row_of(error)
    more: dict[str, Any] = {}
    if row.incident:
        more["incident"] = _incident(request, error)
    if row.detail is None:
        more.update(_facts(error))
    answer = document(request, row.status, error.code, row.detail or str(error), **more)
    answer.headers.update(_headers(error))
    return answer


def _facts(error: SegsearchError) -> dict[str, Any]:
    """What an error that may be shown is about, for clients that raise it again: `field`, `nearest`, and the like."""
    facts = {name: fact for name, fact in vars(error).items() if isinstance(fact, str | int | float | list)}
    return {name: fact[:DETAIL_LIMIT] if isinstance(fact, str) else fact for name, fact in facts.items()}


def _headers(error: SegsearchError) -> dict[str, str]:
    """What an error tells a client's machinery."""
    if isinstance(error, errors.Unauthorised):
        return {"WWW-Authenticate": 'Bearer realm="segsearch"'}
    if isinstance(error, _COME_BACK):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, errors.TooSlow):
        return {"Connection": "close"}  # or the rest of the body, which nobody waits for, would keep it open
    return {}


def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [
        {"field": ".".join(map(str, fault["loc"])), "detail": fault["msg"], "code": fault["type"]}
        for fault in error.errors()
    ]
    detail = "; ".join(f"{fault['field']}: {fault['detail']}" for fault in found)
    # The first fault as the facts of an InvalidInput.
    came = repr(error.errors()[0].get("input"))[:80]
    facts = {"field": found[0]["field"], "found": came, "wanted": found[0]["detail"]}
    return document(request, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-input", detail, errors=found, **facts)


def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = HTTP_CODES.get(status, "bad-request")
    answer = document(request, status, code, str(error.detail))
    answer.headers.update(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["Allow"] = _methods_at(request)
    return answer


def _methods_at(request: Request) -> str:
    """The methods of all routes with the path that a request came to; the router itself names one route's."""
    path = request.scope["route"].path
    same = (route.methods for route in request.app.routes if route.path == path)
    return ", ".join(sorted(set().union(*same)))


def _on_disconnect(_request: Request, _error: Exception) -> Response:
    """The client left while its body was read: nobody is there to answer, and nothing is wrong here."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


def on_bug(request: Request, error: Exception) -> Response:
    """A bare 500 with an incident id: what went wrong stands in the log."""
    incident = _incident(request, error, trace="".join(traceback.format_exception(error)))
    return document(request, HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "An unforeseen error.", incident=incident)


def _incident(request: Request, error: Exception, **facts: str) -> str:
    """Logs what the caller must not see; the id ties the answer to the log."""
    incident = secrets.token_hex(6)
    reason = f"{type(error).__name__}: {error}"
    exchange = exchange_of(request.scope)
    log(
        "request_failed", level=logging.ERROR, incident=incident, request=exchange.request_id, key=exchange.key_id,
        path=request.scope["path"], reason=reason, **facts,
    )  # fmt: skip
    return incident
