"""Each rpc as a trace, where traces are on: the twin of `rest.traced_requests`. `calls` begins and ends it."""

from typing import Final

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from segsearch.inference import open_inference_pb2
from segsearch.service.tracing.trace import HEADERS, Fact, Trace, Traces, work_for
from segsearch.v1 import search_pb2

# By method: its service and itself, as a request for it names them.
_NAMES: Final = {
    method.name: f"{service.full_name}/{method.name}"
    for file in (search_pb2, open_inference_pb2, health_pb2, reflection_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
# Codes that say that a server failed, and not its caller.
_FAULTS: Final = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))


def begin(traces: Traces, method: str, context: grpc.ServicerContext) -> Trace:
    """The trace of a call that has reached a thread; gRPC gives each call a context of its own to work in."""
    headers: dict[str, list[str]] = {}
    for name, value in context.invocation_metadata():
        if name in HEADERS:
            headers.setdefault(name, []).append(str(value))
    trace = traces.begin(_NAMES[method], headers, {"rpc.system.name": "grpc", "rpc.method": _NAMES[method]})
    work_for(trace)
    return trace


def end(trace: Trace, method: str, code: str, request_id: str, problem: str | None) -> None:
    """The call is answered."""
    facts: dict[str, Fact] = {"rpc.response.status_code": code, "segsearch.request_id": request_id}
    if problem is not None:
        facts["error.type"] = problem
    trace.end(_NAMES[method], facts, failed=code in _FAULTS)
