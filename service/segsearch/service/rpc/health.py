"""Whether searches can be answered, as `grpc.health.v1` asks it: the twin of `/readyz`."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse

from segsearch.core.errors import SegsearchError
from segsearch.service.library import SegmentLibrary
from segsearch.service.rpc.calls import REQUEST_S, TAKE_S, Call, Calls
from segsearch.service.rpc.methods import decoded, unary

HEALTH_SERVICE: Final = DESCRIPTOR.services_by_name["Health"].full_name


class Health:
    """Looks when it is asked, and whenever `look` is called, so that those who watch hear of it."""

    def __init__(self, library: SegmentLibrary, *services: str):
        self._library = library
        self._names = ("", *services)  # "": the server as a whole
        self._lock = threading.Lock()
        self._told: int | None = None
        self._servicer = HealthServicer()
        self.look()

    def look(self) -> None:
        """Tells what holds now."""
        with self._lock:
            status = HealthCheckResponse.SERVING if self._serves() else HealthCheckResponse.NOT_SERVING
            if status != self._told:
                for name in self._names:
                    self._servicer.set(name, status)
                self._told = status

    def end(self) -> None:
        """From now on it serves no more."""
        self._servicer.enter_graceful_shutdown()

    def handlers(self, calls: Calls) -> dict[str, grpc.RpcMethodHandler]:
        """By method: what a gRPC server runs."""
        return {"Check": unary(calls, "Check", REQUEST_S, self._check), "Watch": self._watching(calls)}

    def _check(self, message: bytes, call: Call) -> bytes:
        self.look()
        answer: bytes = self._servicer.Check(decoded(HealthCheckRequest, message), call.context).SerializeToString()
        return answer

    def _watching(self, calls: Calls) -> grpc.RpcMethodHandler:
        """Watching takes no thread: what changes is sent by whoever looks."""

        def behave(incoming: Iterator[bytes], context: grpc.ServicerContext, send: Callable[[Any], None]) -> None:
            with calls.begin("Watch", context) as call:
                call.lasting = True
                call.admit()
                request = decoded(HealthCheckRequest, call.request(incoming))
                self.look()

                def tell(response: HealthCheckResponse | None) -> None:
                    call.waits(TAKE_S)
                    send(response.SerializeToString() if response is not None else None)
                    call.works()

                self._servicer.Watch(request, context, tell)
            call.works()

        behave.experimental_non_blocking = True  # type: ignore[attr-defined]
        return grpc.stream_stream_rpc_method_handler(behave)

    def _serves(self) -> bool:
        try:
            self._library.ready_view()
        except (SegsearchError, OSError):
            return False
        return True
