"""Each rpc as a trace, where traces are on: the twin of `rest.traced_requests`. `calls` begins and ends it."""

from typing import Final

import grpc

from segsearch.service.tracing.trace import HEADERS, Fact, Trace, Traces, work_for
from segsearch.v1 import search_pb2 as pb

_OURS: Final = pb.DESCRIPTOR.services_by_name["SegmentSearch"].full_name
_SERVICES: Final = {
    "Check": "grpc.health.v1.Health",
    "Watch": "grpc.health.v1.Health",
    "ServerReflectionInfo": "grpc.reflection.v1alpha.ServerReflection",
}
# Codes that say that a server failed, and not its caller.
_FAULTS: Final = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))


def begin(traces: Traces, method: str, context: grpc.ServicerContext) -> Trace:
    """The trace of a call that has reached a thread; gRPC gives each call a context of its own to work in."""
    headers: dict[str, list[str]] = {}
    for name, value in context.invocation_metadata():
        if name in HEADERS:
            headers.setdefault(name, []).append(str(value))
    trace = traces.begin(_name(method), headers, {"rpc.system.name": "grpc", "rpc.method": _name(method)})
    work_for(trace)
    return trace


def end(trace: Trace, method: str, code: str, request_id: str, problem: str | None) -> None:
    """The call is answered."""
    facts: dict[str, Fact] = {"rpc.response.status_code": code, "segsearch.request_id": request_id}
    if problem is not None:
        facts["error.type"] = problem
    trace.end(_name(method), facts, failed=code in _FAULTS)


def _name(method: str) -> str:
    return f"{_SERVICES.get(method, _OURS)}/{method}"
