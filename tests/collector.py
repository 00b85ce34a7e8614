"""A collector of traces on this machine: takes OTLP over HTTP as a real one does, and keeps what came."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

WAIT_S = 60.0  # for what a busy machine sends


@dataclass(frozen=True)
class Told:
    """A span, as far as tests look at it."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    facts: dict[str, Any]
    began_ns: int
    ended_ns: int
    failed: bool

    @classmethod
    def of(cls, span: Span) -> "Told":
        return cls(
            span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.kind,
            facts_of(span.attributes), span.start_time_unix_nano, span.end_time_unix_nano,
            span.status.code == Status.STATUS_CODE_ERROR,
        )  # fmt: skip

    @property
    def is_request(self) -> bool:
        return self.kind == Span.SPAN_KIND_SERVER


def facts_of(attributes: list[KeyValue]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@dataclass
class Collector:
    """What came, and where to send it."""

    url: str = ""
    paths: set[str] = field(default_factory=set)
    spans: list[Told] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)
    asked: threading.Event = field(default_factory=threading.Event)  # somebody sent something
    answers: threading.Event = field(default_factory=threading.Event)  # and is answered

    def take(self, path: str, body: bytes) -> None:
        self.paths.add(path)
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = facts_of(part.resource.attributes)
            self.spans += [Told.of(span) for scope in part.scope_spans for span in scope.spans]

    def trace(self, known: Callable[[Told], bool]) -> dict[str, list[Told]]:
        """The trace of the request that is known by its span, once that has come: by name."""
        return self.by_name(self.until(lambda: [span for span in list(self.spans) if known(span)])[0].trace)

    def by_name(self, trace: str) -> dict[str, list[Told]]:
        found: dict[str, list[Told]] = {}
        for span in list(self.spans):
            if span.trace == trace:
                found.setdefault("request" if span.is_request else span.name, []).append(span)
        return found

    def until(self, holds: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + WAIT_S
        while not (found := holds()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return found


@contextmanager
def collecting(*, hangs: bool = False) -> Iterator[Collector]:
    """A collector for as long as the block lasts. hangs: it takes what comes, and answers nobody until `answers`."""
    collector = Collector()
    if not hangs:
        collector.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.asked.set()
            collector.answers.wait()
            collector.take(self.path, body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield collector
    finally:
        collector.answers.set()
        server.shutdown()
        thread.join()
        server.server_close()
