"""What is sent to a collector and what is not; and a queue before it that nobody waits for."""

import sys
import threading
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from segsearch.core.errors import MissingExtra
from segsearch.service.settings import Settings
from segsearch.service.tracing.opening import open_traces
from segsearch.service.tracing.otlp import OtlpTraces
from segsearch.service.tracing.trace import Trace, current, step, work_for
from tests.collector import Collector, collecting

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
END_S = 30.0


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One that takes what it gets."""
    with collecting() as opened:
        yield opened


def tell(traces: OtlpTraces, name: str, traceparent: str | None = None) -> str:
    """One request with a step; the id of its trace."""
    trace = traces.begin(name, {"traceparent": [traceparent]} if traceparent else {}, {})
    trace.add("step", 1.0, 2.0, {})
    trace.end(name, {})
    return trace.id


@pytest.mark.parametrize(("share", "flag", "sent"), [(1.0, "00", False), (0.0, "01", True)])
def test_a_caller_has_decided_whether_its_trace_is_kept(collector, share, flag, sent):
    with OtlpTraces(collector.url, share, END_S) as traces:
        assert tell(traces, "request", f"00-{TRACE}-{PARENT}-{flag}") == TRACE
    assert {span.trace for span in collector.spans} == ({TRACE} if sent else set())


def test_a_share_of_the_others_is_sent_whole_and_all_have_an_id(collector):
    with OtlpTraces(collector.url, 0.5, END_S) as traces:
        ids = [tell(traces, "request") for _ in range(200)]
    sent = {span.trace for span in collector.spans}
    assert len(set(ids)) == 200
    assert 50 < len(sent) < 150
    assert len(collector.spans) == 2 * len(sent)


BAD_PARENTS = ["", "x", f"00-{TRACE}", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", "0" * 10_000, "\x00ÿ"]


@pytest.mark.parametrize("header", BAD_PARENTS)
def test_a_caller_that_names_no_trace_gets_one_of_its_own(collector, header):
    with OtlpTraces(collector.url, 1.0, END_S) as traces:
        assert tell(traces, "request", header) != TRACE
    assert [span.parent for span in collector.spans if span.name == "request"] == [""]


def test_steps_that_end_after_their_request_are_its_children_too(collector):
    with OtlpTraces(collector.url, 1.0, END_S) as traces:
        trace = traces.begin("request", {}, {})
        trace.end("request", {})
        trace.add("late", 1.0, 2.5, {}, failed=True)
    request, late = collector.spans
    assert (late.parent, late.failed, late.ended_ns - late.began_ns) == (request.id, True, 1_500_000_000)


def test_a_step_that_fails_is_told_as_one_and_fails_as_before(collector):
    def work(trace: Trace) -> None:
        work_for(trace)
        with step("work") as facts:
            facts["seen"] = True
            raise InterruptedError

    with OtlpTraces(collector.url, 1.0, END_S) as traces:
        trace = traces.begin("request", {}, {})
        with pytest.raises(InterruptedError):
            copy_context().run(work, trace)
        trace.end("request", {})
    told = collector.spans[0]
    assert (told.name, told.facts, told.failed) == ("work", {"seen": True}, True)


def test_long_facts_are_cut(collector):
    with OtlpTraces(collector.url, 1.0, END_S) as traces:
        traces.begin("request", {}, {"url.path": "/" * 100_000}).end("request", {})
    assert len(collector.spans[0].facts["url.path"]) < 1000


def test_the_end_does_not_wait_for_a_collector_that_hangs_when_no_time_is_left():
    with collecting(hangs=True) as collector:
        traces = OtlpTraces(collector.url, 1.0, 0.0)
        tell(traces, "request")
        assert collector.asked.wait(END_S)
        traces.drain()
        traces.close()
        assert collector.spans == []


def test_a_collector_that_hangs_costs_traces_and_no_memory():
    with collecting(hangs=True) as collector:
        traces = OtlpTraces(collector.url, 1.0, END_S, queue_spans=10)
        told = {tell(traces, "request") for _ in range(200)}
        collector.answers.set()
        traces.close()
        sent = {span.trace for span in collector.spans}
        assert sent < told
        assert sent


@pytest.mark.parametrize(("asked", "sent_to"), [("", "/v1/traces"), ("/", "/v1/traces"), ("/other", "/other")])
def test_what_waits_is_sent_at_the_end_to_where_the_settings_say(collector, asked, sent_to):
    with open_traces(Settings(traces_endpoint=collector.url + asked)) as traces:
        assert traces is not None
        traces.begin("request", {}, {}).end("request", {})
        traces.drain()
    assert ([span.name for span in collector.spans], collector.paths) == (["request"], {sent_to})


def test_an_endpoint_without_the_packages_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "segsearch.service.tracing.otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)  # Python's own way to say that there is none
    with pytest.raises(MissingExtra, match=r"opentelemetry\.sdk.*pip install 'segsearch\[traces\]'"):
        open_traces(Settings(traces_endpoint="http://127.0.0.1:4318"))


def test_without_an_endpoint_there_are_no_traces():
    with open_traces(Settings()) as traces:
        assert traces is None


def test_a_thread_that_works_for_no_request_has_no_trace():
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(current()))
    thread.start()
    thread.join()
    assert found == [None]
