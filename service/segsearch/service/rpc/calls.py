"""One rpc and its answer, as keys, logs and metrics see it: every method runs inside this.

Where it stands: the twin of `rest.exchange`; `methods` begins a call, `patience` watches it. A call gets an id, which
comes back as `x-request-id`; its key is looked at before its request is read; what is raised becomes a `status`. Work
is not begun for a client that has gone.
"""

import logging
import math
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final
from urllib.parse import unquote

import grpc
from google.rpc.status_pb2 import Status

from segsearch.core.errors import DeadlinePassed, InvalidInput, SegsearchError, TooManyCalls
from segsearch.service.bounded import Asked
from segsearch.service.error_rows import row_of
from segsearch.service.events import log
from segsearch.service.fair_share import FairShare
from segsearch.service.refusals import REFUSED, Refusals
from segsearch.service.request_id import HEADER, request_id
from segsearch.service.rpc import traced_calls
from segsearch.service.rpc.access import NEEDS, key_of
from segsearch.service.rpc.metrics import RpcMetrics
from segsearch.service.rpc.patience import Patience
from segsearch.service.rpc.status import bug_status, rich_status
from segsearch.service.rpc.threads import Later
from segsearch.service.security.guard import Guard
from segsearch.service.security.keys import Scope
from segsearch.service.tracing.trace import Traces

REQUEST_S: Final = 10.0  # for a request to arrive, where it is short
TAKE_S: Final = 60.0  # to take an answer, or some of one that is sent in pieces
# Calls of a kind that may have a thread at a time, so that there are some left for searches.
SCORING_LIMIT: Final = 12
PUBLIC_LIMIT: Final = 8
REFLECTION_LIMIT: Final = 4  # apart, as it may take a minute, and whoever asks after our health gets an answer
_REFLECTION: Final = "ServerReflectionInfo"
_SCORING: Final = ("Score", "ScoreStream", "Similar", "ModelInfer")
_STATUS_HEADER: Final = "grpc-status-details-bin"  # where clients look for a google.rpc.Status
_WAITED: ContextVar["Call | None"] = ContextVar("waited", default=None)  # a call has variables of its own


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Crowd:
    """Calls of a kind, of which so many run at a time: a client's no more than are left for others."""

    def __init__(self, limit: int):
        self._share, self._lock = FairShare(limit), threading.Lock()

    def enter(self, client: str) -> None:
        """Raises TooManyCalls."""
        with self._lock:
            if not self._share.has_room(client, 1):
                raise TooManyCalls(self._share.taken)
            self._share.take(client, 1)

    def leave(self, client: str) -> None:
        """One that has entered."""
        with self._lock:
            self._share.give_back(client, 1)


class Calls:
    """What all calls of a server share."""

    def __init__(self, guard: Guard, metrics: RpcMetrics, *, log_requests: bool, traces: Traces | None = None):
        self.guard, self.metrics, self.log_requests, self.traces = guard, metrics, log_requests, traces
        self.patience, self.refusals = Patience(), Refusals()
        public = [name for name, needs in NEEDS.items() if needs is None]
        # By method: what bounds the calls of its kind that run at a time.
        self.crowds = {
            **dict.fromkeys(_SCORING, Crowd(SCORING_LIMIT)), **dict.fromkeys(public, Crowd(PUBLIC_LIMIT)),
            _REFLECTION: Crowd(REFLECTION_LIMIT),
        }  # fmt: skip

    def begin(self, method: str, context: grpc.ServicerContext) -> "Call":
        """A call that has reached a thread."""
        call = _WAITED.get()
        if call is None:
            call = Call(self, method, context)
            call.when_over(self.patience.watch(call))
        return call


class Call:
    """One rpc. As a context it ends the rpc: what is raised within becomes the status that answers it."""

    __slots__ = (
        "_calls", "_crowd", "_needs", "_refusal", "_started_s", "_trace", "asked", "context", "key_id", "lasting",
        "method", "patience_ends_s", "problem", "request_id", "video",
    )  # fmt: skip

    def __init__(self, calls: Calls, method: str, context: grpc.ServicerContext):
        self._calls, self.method, self.context = calls, method, context
        self._started_s = time.perf_counter()
        self._trace = traced_calls.begin(calls.traces, method, context) if calls.traces else None
        self._needs = NEEDS[method]
        self._crowd: Crowd | None = None  # while we are counted in it
        self._refusal: Exception | None = None  # that it has waited for
        self.patience_ends_s: float | None = None
        self.lasting = False
        self.key_id: str | None = None
        self.problem: str | None = None
        self.video: str | None = None  # that it deletes
        self.asked: Asked | None = None  # what it asks for, where an audit line is to say it; None: not read
        self.request_id = _request_id(context)

    def __enter__(self) -> "Call":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._crowd is not None:
            self._crowd.leave(self.client)
            self._crowd = None
        if error is None:
            self.context.set_trailing_metadata(((HEADER, self.request_id),))
            self.waits(TAKE_S)
            self._note("OK")
        elif isinstance(error, grpc.RpcError | ClientGone) or not isinstance(error, Exception):
            self._note("CANCELLED")
            if isinstance(error, ClientGone):
                self.context.abort(grpc.StatusCode.CANCELLED, "the client has gone")
        else:
            self._take_turn(error)
            self._fail(self._status(error))

    # What the methods ask of it

    def admit(self) -> None:
        """Raises Unauthorised, Forbidden, RateLimited or TooManyCalls, before the request is looked at. Whether anybody
        waits for the answer is seen when it is read.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._needs is not None:
            guard = self._calls.guard
            known = guard.identify(key_of(self.context.invocation_metadata()) if guard.keys else None)
            self.key_id = known.id if known else None
            guard.admit(known, self._needs)
        crowd = self._calls.crowds.get(self.method)
        if crowd is not None:
            crowd.enter(self.client)
            self._crowd = crowd

    def check_wanted(self) -> None:
        """Raises DeadlinePassed, or ClientGone where nobody waits any more: to be called before work begins."""
        if self.context.time_remaining() <= 0:
            raise DeadlinePassed
        if not self.context.is_active():
            raise ClientGone

    def requests(self, incoming: Iterator[bytes], limit_s: float, all_s: float = math.inf) -> Iterator[bytes]:
        """Each message as it comes; a client is cut that is later than `limit_s` with the next one, or has not sent all
        of them after `all_s`.
        """
        ends_s = time.monotonic() + all_s
        while True:
            self.waits(min(limit_s, ends_s - time.monotonic()))
            message = next(incoming, None)
            self.works()
            if message is None:
                return
            yield message

    def request(self, incoming: Iterator[bytes], limit_s: float = REQUEST_S) -> bytes:
        """The one message of a call that has one."""
        self.waits(limit_s)
        message = next(incoming, None)
        self.works()
        if message is None:
            raise InvalidInput("request", "no message", "one")
        return message

    def when_over(self, told: Callable[[], object]) -> None:
        """Calls back when the call is over, answered or not; at once if it is."""
        if not self.context.add_callback(told):
            told()

    @property
    def client(self) -> str:
        """Whose share of things the call takes: that of its key, else that of its address, as over HTTP."""
        peer = unquote(str(self.context.peer()))  # ipv4:127.0.0.1:50051, or ipv6:[::1]:50051
        return self.key_id or peer.partition(":")[2].rpartition(":")[0].strip("[]")

    def waits(self, limit_s: float) -> None:
        """From now on it is the client's turn."""
        self.patience_ends_s = time.monotonic() + limit_s

    def works(self) -> None:
        """From now on it is ours."""
        self.patience_ends_s = None

    def cut(self) -> None:
        """See Waiting."""
        self.context.cancel()

    # How it ends

    def _take_turn(self, error: Exception) -> None:
        """Raises Later where the call has to wait before it is refused: then `begin` gives it out once more."""
        if self._refusal is None and isinstance(error, REFUSED):
            now_s = time.monotonic()
            at_s = self._calls.refusals.next_s(now_s)
            if at_s > now_s:
                error.__traceback__ = error.__context__ = None  # or it would keep what was read of the request
                self._refusal = error
                _WAITED.set(self)
                raise Later(at_s)

    def _status(self, error: Exception) -> Status:
        if not isinstance(error, SegsearchError):
            self.problem = SegsearchError.code
            return bug_status(self._incident(error, trace="".join(traceback.format_exception(error))))
        self.problem = error.code
        row = row_of(error)
        return rich_status(error, row.detail, self._incident(error) if row.incident else None)

    def _incident(self, error: Exception, **facts: str) -> str:
        """Logs what the caller must not see; the id ties the answer to the log."""
        incident = secrets.token_hex(6)
        reason = f"{type(error).__name__}: {error}"
        log("request_failed", level=logging.ERROR, incident=incident, **self._facts(), reason=reason, **facts)
        return incident

    def _fail(self, status: Status) -> None:
        code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
        self._note(code.name)
        self.waits(TAKE_S)
        trailers = ((HEADER, self.request_id), (_STATUS_HEADER, status.SerializeToString()))
        self.context.set_trailing_metadata(trailers)
        self.context.abort(code, status.message)

    def _note(self, code: str) -> None:
        seconds = time.perf_counter() - self._started_s
        self._calls.metrics.answered(self.method, code, self.problem, seconds)
        if self._needs is Scope.admin or self.method == "DeleteVideo":
            known: dict[str, Any] = {"video": self.video, "asked": self.asked}
            facts = {name: fact for name, fact in known.items() if fact is not None}
            log("admin_action", **self._facts(), **facts, status=code)
        if self._calls.log_requests:
            log("request", **self._facts(), status=code, problem=self.problem, seconds=round(seconds, 6))
        if self._trace is not None:
            traced_calls.end(self._trace, self.method, code, self.request_id, self.problem)

    def _facts(self) -> dict[str, Any]:
        return {"request": self.request_id, "key": self.key_id, "method": "grpc", "path": self.method}


def _request_id(context: grpc.ServicerContext) -> str:
    return request_id(next((str(value) for name, value in context.invocation_metadata() if name == HEADER), ""))
