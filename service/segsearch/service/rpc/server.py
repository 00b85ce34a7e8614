"""The gRPC server of a library: its limits, its port, and how it ends.

Where it stands: the twin of `service.server`, which runs both. Threads answer, as gRPC's own event loop is half as
fast; `calls` sees to it that none waits for ever.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import grpc
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION_SERVICE
from grpc_reflection.v1alpha.reflection import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from segsearch.core.errors import ConfigError
from segsearch.service.library import SegmentLibrary
from segsearch.service.rpc.calls import REQUEST_S, Call, Calls
from segsearch.service.rpc.health import HEALTH_SERVICE, Health
from segsearch.service.rpc.inference import INFERENCE_SERVICE, InferenceServicer
from segsearch.service.rpc.methods import decoded, server_streaming
from segsearch.service.rpc.metrics import Metrics, RpcMetrics
from segsearch.service.rpc.servicer import SERVICE, Servicer
from segsearch.service.rpc.threads import Threads
from segsearch.service.security.guard import Guard
from segsearch.service.settings import Settings
from segsearch.service.tracing.trace import Traces

THREADS: Final = 32
REFLECTION_S: Final = 60.0  # for a call of reflection, whatever it asks
CALLS_LIMIT: Final = 256  # that have a thread or wait for one; further ones are refused
_LOOK_S: Final = 1.0
_CLOSING_LOOK_S: Final = 0.05
_MESSAGE_EXTRA_BYTES: Final = 4096  # of a request, beside its frames
_MESSAGE_CAP_BYTES: Final = (1 << 31) - 1
_LIMITS: Final = (
    # gRPC inflates whole messages before it looks at their size: a compressed request is refused unread.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.max_concurrent_streams", 128),  # of a connection
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
)


class RpcServer:
    """Answers from `library` over gRPC, in the same process as REST and with the same keys."""

    def __init__(
        self, library: SegmentLibrary, settings: Settings, guard: Guard, metrics: Metrics, *, shares_port: bool = False,
        traces: Traces | None = None,
    ):  # fmt: skip
        """shares_port: with other processes that say so, too; else a port that is taken is an error. traces: where
        calls are told to.
        """
        self._settings = settings
        self._calls = Calls(guard, RpcMetrics(metrics), log_requests=settings.log_requests, traces=traces)
        self._health = Health(library, SERVICE, scoring=INFERENCE_SERVICE)
        self._threads = Threads(THREADS)
        limit_bytes = min(settings.body_limit_bytes + _MESSAGE_EXTRA_BYTES, _MESSAGE_CAP_BYTES)
        self._server = grpc.server(
            self._threads, maximum_concurrent_rpcs=CALLS_LIMIT,
            options=(
                *_LIMITS, ("grpc.max_receive_message_length", limit_bytes), ("grpc.so_reuseport", int(shares_port)),
            ),
        )  # fmt: skip
        self._add(SERVICE, Servicer(library, settings, self._calls).handlers())
        self._add(INFERENCE_SERVICE, InferenceServicer(library, settings, self._calls).handlers())
        self._add(HEALTH_SERVICE, self._health.handlers(self._calls))
        self._add(REFLECTION_SERVICE, {"ServerReflectionInfo": _reflection(self._calls)})
        self._ended = threading.Event()
        self._ends_s = 0.0
        self._stopped = threading.Event()

    def bind(self, port: int) -> str:
        """Takes the port, 0 for a free one, before anything is answered; says where it is. Raises ConfigError."""
        host, credentials = self._settings.host, _credentials(self._settings)
        place = f"[{host}]" if ":" in host else host or "0.0.0.0"
        address = f"{place}:{port}"
        try:
            if credentials is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            raise ConfigError("host and grpc_port", address, "an address that can be bound") from None
        return f"{place}:{bound}"

    def start(self) -> None:
        """Answers from now on."""
        self._server.start()
        for work in (self._calls.patience.cut_late, self._health.look):
            # Apart, as one of them may have to wait until the other has cut somebody.
            threading.Thread(target=self._every_second, args=(work,), name="rpc-clock", daemon=True).start()

    def drain(self) -> None:
        """Takes no more calls, and says so to those who watch; those under way go on."""
        self._ends_s = time.monotonic() + self._settings.shutdown_s
        self._health.end()
        self._threads.make_haste()
        self._stopped = self._server.stop(self._settings.shutdown_s)

    def close(self) -> None:
        """Returns when all calls are answered, or too late for it; to be called after `drain`."""
        quiet = 0  # looks in a row that found no call: one may be on its way to its thread
        while quiet < 2 and time.monotonic() < self._ends_s and not self._stopped.wait(_CLOSING_LOOK_S):
            quiet = quiet + 1 if self._calls.patience.all_over() else 0
        self._ended.set()
        self._server.stop(None)  # ends what is left, such as those who watch
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _add(self, service: str, handlers: dict[str, grpc.RpcMethodHandler]) -> None:
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self._server.add_registered_method_handlers(service, handlers)

    def _every_second(self, work: Callable[[], None]) -> None:
        while not self._ended.wait(_LOOK_S):
            work()


def _reflection(calls: Calls) -> grpc.RpcMethodHandler:
    servicer = ReflectionServicer((SERVICE, INFERENCE_SERVICE, HEALTH_SERVICE, REFLECTION_SERVICE))

    def run(incoming: Iterator[bytes], call: Call) -> Iterator[bytes]:
        messages = call.requests(incoming, REQUEST_S, REFLECTION_S)
        asked = (decoded(ServerReflectionRequest, message) for message in messages)
        return (answer.SerializeToString() for answer in servicer.ServerReflectionInfo(asked, call.context))

    return server_streaming(calls, "ServerReflectionInfo", run, lasting=True)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """What TLS needs, as `service.server.tls_context` has checked it."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    authority = settings.tls_client_ca.read_bytes() if settings.tls_client_ca else None
    pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], root_certificates=authority, require_client_auth=authority is not None)
