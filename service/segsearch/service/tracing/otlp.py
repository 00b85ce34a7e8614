"""Traces as OpenTelemetry has them, sent to a collector in the background (OTLP over HTTP).

Where it stands: `opening` imports this where traces are wanted, and nobody else does; `trace` says what the rest of the
service knows of it. A collector that is slow, or gone, costs traces and nothing else: what waits for it is bounded and
then dropped, a thread of its own sends, and the server's end waits for it only as long as it may.
"""

import logging
import threading
import time
from collections.abc import Mapping
from contextvars import Context
from importlib.metadata import version
from typing import Final
from uuid import uuid4

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from segsearch.service.events import log
from segsearch.service.tracing.trace import Facts

QUEUE_SPANS: Final = 4096  # that wait to be sent; further ones push the oldest out
BATCH_SPANS: Final = 512
SEND_EVERY_S: Final = 1.0
SEND_S: Final = 2.0  # for a batch, another try included; then it is dropped
FLUSH_S: Final = 3.0  # at the end, for what waits
_FACT_LIMIT: Final = 512  # letters
_SAY_AGAIN_S: Final = 60.0


class OtlpTraces:
    """`Traces` that a collector gets. Use it as a context manager or `close` it."""

    def __init__(self, endpoint: str, share: float, end_limit_s: float, queue_spans: int = QUEUE_SPANS):
        """endpoint: its whole URL. share: of the requests whose callers have not decided. end_limit_s: how long after
        `drain` the server may still be there. queue_spans: how many may wait.
        """
        _log_what_fails()
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(share), resource=_resource(), shutdown_on_exit=False,
            span_limits=SpanLimits(max_span_attribute_length=_FACT_LIMIT),
        )  # fmt: skip
        exporter = OTLPSpanExporter(endpoint, timeout=SEND_S)
        sent_at_once = min(BATCH_SPANS, queue_spans)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, queue_spans, SEND_EVERY_S * 1000, sent_at_once))
        self._tracer = self._provider.get_tracer("segsearch", version("segsearch"))
        self._callers = TraceContextTextMapPropagator()
        self._end_limit_s, self._ends_s = end_limit_s, float("inf")

    def __enter__(self) -> "OtlpTraces":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, name: str, headers: Mapping[str, list[str]], facts: Facts) -> "OtlpTrace":
        """See `Traces`."""
        caller = self._callers.extract(headers)
        span = self._tracer.start_span(name, caller, SpanKind.SERVER, facts)
        return OtlpTrace(self._tracer, span)

    def drain(self) -> None:
        """See `Traces`; may be called again."""
        self._ends_s = min(self._ends_s, time.monotonic() + self._end_limit_s)

    def close(self) -> None:
        """Sends what waits, for as long as is left; what is not sent then is lost."""
        sending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        sending.start()
        sending.join(max(0.0, min(FLUSH_S, self._ends_s - time.monotonic())))
        if sending.is_alive():
            log("traces_not_sent", level=logging.ERROR, reason="the collector did not take the last ones in time")


class OtlpTrace:
    """A `Trace`: the request's span, and where its children go."""

    __slots__ = ("_own", "_span", "_tracer", "_wanted", "_zero_ns", "id")

    def __init__(self, tracer: Tracer, span: Span):
        context = span.get_span_context()
        self.id = format_trace_id(context.trace_id)
        self._tracer, self._span, self._wanted = tracer, span, context.trace_flags.sampled
        self._own = set_span_in_context(span)
        self._zero_ns = time.time_ns() - time.monotonic_ns()  # steps come with times of the clock that never jumps

    def add(self, name: str, began_s: float, ended_s: float, facts: Facts, *, failed: bool = False) -> None:
        """See `Trace`."""
        if self._wanted:
            child = self._tracer.start_span(name, self._own, attributes=facts, start_time=self._at_ns(began_s))
            if failed:
                child.set_status(StatusCode.ERROR)
            child.end(self._at_ns(ended_s))

    def end(self, name: str, facts: Facts, *, failed: bool = False) -> None:
        """See `Trace`."""
        if self._wanted:
            self._span.update_name(name)
            self._span.set_attributes(facts)
            if failed:
                self._span.set_status(StatusCode.ERROR)
        self._span.end(self._at_ns(time.monotonic()))

    def _at_ns(self, monotonic_s: float) -> int:
        return self._zero_ns + int(monotonic_s * 1e9)


def _resource() -> Resource:
    """Whose traces they are; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES know better."""
    ours = {
        "service.name": "segsearch", "service.version": version("segsearch"), "service.instance.id": str(uuid4()),
    }  # fmt: skip
    return Resource.create(ours).merge(OTELResourceDetector().detect())


class _ToEvents(logging.Handler):
    """What OpenTelemetry has to say as an event of ours, the same no more than once in a while."""

    def __init__(self) -> None:
        super().__init__()
        self._said_s: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        now_s = time.monotonic()
        if now_s - self._said_s.get(record.msg, -_SAY_AGAIN_S) >= _SAY_AGAIN_S:
            self._said_s[record.msg] = now_s
            # Whichever request it was that found it out, it is no line about that one.
            Context().run(log, "traces_not_sent", level=record.levelno, reason=record.getMessage())


def _log_what_fails() -> None:
    """Of what its packages log: batches that failed, and a queue that is full. The rest is about callers' headers."""
    everything = logging.getLogger("opentelemetry")
    everything.handlers[:] = [_ToEvents()]
    everything.propagate = False
    everything.setLevel(logging.ERROR)
    logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.WARNING)
