"""Whether searches can be answered, as `grpc.health.v1` asks it: the twin of `/readyz`. A service that only scores
serves no more while the model fails.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

import grpc
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse

from segsearch.core.errors import SegsearchError
from segsearch.service.library import SegmentLibrary
from segsearch.service.rpc.calls import REQUEST_S, TAKE_S, Call, Calls, Crowd
from segsearch.service.rpc.methods import decoded, unary

WATCH_LIMIT: Final = 100  # who watch at a time: they take no thread, but memory
_END_S: Final = 3.0  # to tell those who watch that the server ends
_SERVING, _NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
HEALTH_SERVICE: Final = DESCRIPTOR.services_by_name["Health"].full_name


class Health:
    """Looks when it is asked, and whenever `look` is called, so that those who watch hear of it."""

    def __init__(self, library: SegmentLibrary, *services: str, scoring: str):
        """scoring: the service that only scores."""
        self._library = library
        self._names, self._scoring = ("", *services), scoring  # "": the server as a whole
        self._lock = threading.Lock()
        self._told: dict[str, bool] = {}
        self._servicer, self._watchers = HealthServicer(), Crowd(WATCH_LIMIT)
        self._sending: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._send_all, name="health", daemon=True).start()
        self.look()

    def look(self) -> None:
        """Tells what holds now."""
        with self._lock:
            serves = self._serves()
            found = dict.fromkeys(self._names, serves) | {self._scoring: serves and self._library.is_scoring()}
            for name, holds in found.items():
                if holds != self._told.get(name):
                    self._servicer.set(name, _SERVING if holds else _NOT_SERVING)
                    self._told[name] = holds

    def end(self) -> None:
        """From now on it serves no more; those who watch are told before it returns, unless that takes long."""
        self._servicer.enter_graceful_shutdown()
        told = threading.Event()
        self._sending.put(told.set)
        told.wait(_END_S)
        self._sending.put(None)

    def handlers(self, calls: Calls) -> dict[str, grpc.RpcMethodHandler]:
        """By method: what a gRPC server runs."""
        return {"Check": unary(calls, "Check", REQUEST_S, self._check), "Watch": self._watching(calls)}

    def _check(self, message: bytes, call: Call) -> bytes:
        self.look()
        answer: bytes = self._servicer.Check(decoded(HealthCheckRequest, message), call.context).SerializeToString()
        return answer

    def _watching(self, calls: Calls) -> grpc.RpcMethodHandler:
        """Watching takes no thread: what changes is sent by one for all who watch. Whoever notices a change must not
        send it: it has the servicer's lock, for which gRPC waits when it ends a call, and sending waits for gRPC.
        """

        def behave(incoming: Iterator[bytes], context: grpc.ServicerContext, send: Callable[[Any], None]) -> None:
            with calls.begin("Watch", context) as call:
                call.lasting = True
                call.admit()
                request = decoded(HealthCheckRequest, call.request(incoming))
                self._watchers.enter(call.client)
                call.when_over(partial(self._watchers.leave, call.client))
                self.look()

                def tell(response: HealthCheckResponse | None) -> None:
                    message = response.SerializeToString() if response is not None else None
                    self._sending.put(lambda: _send(call, send, message))

                self._servicer.Watch(request, context, tell)
            call.works()

        behave.experimental_non_blocking = True  # type: ignore[attr-defined]
        return grpc.stream_stream_rpc_method_handler(behave)

    def _send_all(self) -> None:
        while (sending := self._sending.get()) is not None:
            sending()

    def _serves(self) -> bool:
        try:
            self._library.ready_view()
        except (SegsearchError, OSError):
            return False
        return True


def _send(call: Call, send: Callable[[Any], None], message: bytes | None) -> None:
    call.waits(TAKE_S)
    with suppress(Exception):  # the call has ended
        send(message)
    call.works()
