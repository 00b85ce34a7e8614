"""The trace of the request under way, and what is told to it.

Where it stands: an edge begins a trace and ends it; library and queue add the steps between. Nothing here knows
OpenTelemetry, which `otlp` brings: where traces are off, all that is left of them is a look at one variable.
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

Fact = str | int | float | bool
Facts = Mapping[str, Fact]

# The two headers by which a caller says which trace its request belongs to (W3C Trace Context).
HEADERS: Final = ("traceparent", "tracestate")


class Trace(Protocol):
    """One request. Methods may be called from any number of threads."""

    @property
    def id(self) -> str:
        """32 hexadecimal digits; a caller's trace goes on."""

    def add(self, name: str, began_s: float, ended_s: float, facts: Facts, *, failed: bool = False) -> None:
        """A step of the request, of which it is a child; times are those of `time.monotonic`."""

    def end(self, name: str, facts: Facts, *, failed: bool = False) -> None:
        """The request is answered. failed: by a fault of ours."""


class Traces(Protocol):
    """Where the requests of a server are told to."""

    def begin(self, name: str, headers: Mapping[str, list[str]], facts: Facts) -> Trace:
        """A request that came. headers: those of HEADERS that it has."""

    def drain(self) -> None:
        """The server is about to end."""


_current: ContextVar[Trace | None] = ContextVar("segsearch.trace", default=None)


def current() -> Trace | None:
    """The trace of the request that this thread or task works for; None where traces are off, or it works for none."""
    return _current.get()


def work_for(trace: Trace) -> None:
    """From now on this task, and what it starts, works for the request; the edges give each request a task."""
    _current.set(trace)


@contextmanager
def step(name: str) -> Iterator[dict[str, Fact]]:
    """The block is a step of the request under way; it may fill in facts."""
    trace, facts = current(), dict[str, Fact]()
    if trace is None:
        yield facts
        return
    began_s, failed = time.monotonic(), True
    try:
        yield facts
        failed = False
    finally:
        trace.add(name, began_s, time.monotonic(), facts, failed=failed)


def add_run(
    traces: Iterable[Trace | None], began_s: float, seconds: float, *, videos: int, segments: int, provider: str
) -> None:
    """A run of the model is a step of each request whose video was in it: the same times, the same id of the run."""
    wanted = [trace for trace in traces if trace is not None]
    if wanted:
        facts: Facts = {
            "segsearch.run.id": secrets.token_hex(8), "segsearch.batch.videos": videos,
            "segsearch.batch.segments": segments, "segsearch.provider": provider,
        }  # fmt: skip
        for trace in wanted:
            trace.add("device", began_s, began_s + seconds, facts)
