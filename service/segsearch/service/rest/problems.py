"""Our errors as RFC 9457 problem documents: one table, and the handlers that use it.

Only an error whose text speaks of the caller's own request is shown; what names files and directories of this machine
goes to the log under an incident id, and the answer carries the id and the table's sentence instead.
"""

import json
import logging
import secrets
import traceback
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from segsearch.core import errors
from segsearch.core.errors import SegsearchError
from segsearch.service.events import log
from segsearch.service.rest.answers import ProblemPage
from segsearch.service.rest.exchange import exchange_of
from segsearch.service.rest.refusals import Refusals

MEDIA_TYPE: Final = "application/problem+json"
INFERENCE_PATH: Final = "/v2/"  # below it an error is also what the Open Inference Protocol calls one
DETAIL_LIMIT: Final = 1000  # characters: what a request makes us quote need not come back whole

Handler = Callable[[Request, Exception], Response]


class Row(NamedTuple):
    """How one error answers.

    detail: the sentence that stands for it; None shows the error's own words. incident: whether the operator must hear
    of it, as what the error says is hidden from the caller.
    """

    status: HTTPStatus
    detail: str | None = None
    incident: bool = False


_DAMAGED_INDEX = "The index cannot be served; the operator finds the reason in the log."
_BAD_MODEL = "The model cannot be used; the operator finds the reason in the log."
_NOT_INSTALLED = "A package that this needs is not installed here; the operator finds its name in the log."
_NOT_HERE = "This cannot happen while serving; the operator finds the reason in the log."

TABLE: Final[dict[type[SegsearchError], Row]] = {
    errors.InvalidInput: Row(HTTPStatus.UNPROCESSABLE_ENTITY),
    errors.InputTooLarge: Row(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    errors.UnsupportedContent: Row(HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    errors.NotAcceptable: Row(HTTPStatus.NOT_ACCEPTABLE),
    errors.InvalidPageToken: Row(HTTPStatus.BAD_REQUEST),
    errors.PageTokenExpired: Row(HTTPStatus.GONE),
    errors.IdempotencyKeyReused: Row(HTTPStatus.UNPROCESSABLE_ENTITY),
    errors.IdempotencyKeyBusy: Row(HTTPStatus.CONFLICT),
    errors.TooSlow: Row(HTTPStatus.REQUEST_TIMEOUT),
    errors.Unauthorised: Row(HTTPStatus.UNAUTHORIZED),
    errors.Forbidden: Row(HTTPStatus.FORBIDDEN),
    errors.RateLimited: Row(HTTPStatus.TOO_MANY_REQUESTS),
    errors.QueueFull: Row(HTTPStatus.SERVICE_UNAVAILABLE),
    errors.TooManyCalls: Row(HTTPStatus.SERVICE_UNAVAILABLE),
    errors.DeadlinePassed: Row(HTTPStatus.GATEWAY_TIMEOUT),
    errors.Draining: Row(HTTPStatus.SERVICE_UNAVAILABLE),
    errors.NotConfigured: Row(HTTPStatus.CONFLICT),
    errors.KeyFileRefused: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.UnknownTag: Row(HTTPStatus.NOT_FOUND),
    errors.UnknownVideo: Row(HTTPStatus.NOT_FOUND),
    errors.UnknownModel: Row(HTTPStatus.NOT_FOUND),
    errors.NoEmbeddings: Row(HTTPStatus.CONFLICT),
    errors.NoTagInCommon: Row(HTTPStatus.CONFLICT),
    errors.NotIndexing: Row(HTTPStatus.CONFLICT, "This server only searches: nothing can be added or deleted here."),
    errors.NoGeneration: Row(HTTPStatus.SERVICE_UNAVAILABLE, "No generation is published yet; run a reindex first."),
    errors.GenerationCorrupt: Row(HTTPStatus.SERVICE_UNAVAILABLE, _DAMAGED_INDEX, True),
    errors.VocabularyMismatch: Row(HTTPStatus.SERVICE_UNAVAILABLE, _DAMAGED_INDEX, True),
    errors.FeatureSpaceMismatch: Row(HTTPStatus.SERVICE_UNAVAILABLE, _DAMAGED_INDEX, True),
    errors.UnknownGeneration: Row(HTTPStatus.NOT_FOUND, "No such generation; `/generations` lists those there are."),
    errors.LiveStoreMissing: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.LackingScores: Row(HTTPStatus.CONFLICT, "Live videos were scored by another model only; reindex first."),
    errors.IndexBusy: Row(HTTPStatus.CONFLICT, "Another reindex is running."),
    errors.ModelNotLoaded: Row(HTTPStatus.UNPROCESSABLE_ENTITY),
    errors.ModelUnfit: Row(HTTPStatus.CONFLICT),
    errors.UnknownJob: Row(HTTPStatus.NOT_FOUND),
    errors.StorageFailed: Row(HTTPStatus.SERVICE_UNAVAILABLE, "Nothing was stored; try again later.", True),
    errors.StorageFull: Row(HTTPStatus.INSUFFICIENT_STORAGE, "There is no room: nothing was stored.", True),
    errors.LiveStoreCorrupt: Row(HTTPStatus.SERVICE_UNAVAILABLE, _DAMAGED_INDEX, True),
    errors.BundleRefused: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.BundleSpaceMismatch: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.BundleVocabularyMismatch: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.SignatureMismatch: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.SignatureRefused: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.OutputNotFinite: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.GoldenMismatch: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.CheckpointMismatch: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.ExportFailed: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.ConfigError: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.NoFiles: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.DataError: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.BadRecord: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.BadShard: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.MatrixRefused: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.MissingExtra: Row(HTTPStatus.NOT_IMPLEMENTED, _NOT_INSTALLED, True),
    errors.ServiceUnreachable: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.ServiceTooSlow: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.ServiceRefused: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    SegsearchError: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
}

# Codes of problems that no SegsearchError stands for.
HTTP_CODES: Final = {HTTPStatus.NOT_FOUND: "not-found", HTTPStatus.METHOD_NOT_ALLOWED: "method-not-allowed"}


def row_of(error: SegsearchError) -> Row:
    """The table's row for an error, or for the nearest kind above it."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


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
        await refusals.turn()
        return on_segsearch_error(request, error)

    for refused in (errors.QueueFull, errors.RateLimited):
        app.add_exception_handler(refused, on_refusal)
    for kind, handler in {
        SegsearchError: on_segsearch_error,
        RequestValidationError: _on_validation_error,
        HTTPException: _on_http_exception,
        ClientDisconnect: _on_disconnect,
        Exception: on_bug,
    }.items():
        app.add_exception_handler(kind, _on_the_loop(handler))


def _on_the_loop(handler: Handler) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A plain function would cost a hop to a worker thread."""

    async def handle(request: Request, error: Exception) -> Response:
        return handler(request, error)

    return handle


def document(request: Request, status: HTTPStatus, code: str, detail: str, **more: Any) -> Response:
    """A problem document; `more` are its extension members."""
    exchange_of(request.scope).problem = code
    body = {
        "type": f"/problems/{code}", "title": status.phrase, "status": status.value, "detail": detail[:DETAIL_LIMIT],
        "instance": request.url.path, **more,
    }  # fmt: skip
    if f"{request.url.path}/".startswith(INFERENCE_PATH):
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
    if isinstance(error, errors.RateLimited | errors.QueueFull | errors.TooManyCalls | errors.IdempotencyKeyBusy):
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
        path=request.url.path, reason=reason, **facts,
    )  # fmt: skip
    return incident
