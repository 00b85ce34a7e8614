"""What a real server tells of its work: to a collector of traces, to Prometheus, and in its log."""

import io
import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from segsearch.inference.open_inference_pb2 import ServerLiveRequest
from segsearch.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.v1 import search_pb2 as pb
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.collector import Collector, Told, collecting
from tests.conftest import ROOT
from tests.integration.test_serving_commands import TIMEOUT_S, command
from tests.integration.test_serving_grpc import served
from tests.rpc_serving import failure
from tests.tiny_model import SPEC

PARENT = "00f067aa0ba902b7"  # the caller's own span
BATCH = 8  # segments: videos wait for each other until they have so many
FULL = 5 * BATCH  # frames of a video that waits for no other
PROVIDER = "CPUExecutionProvider"
# What a metric's name may end in: base units, things that are counted, what Prometheus has suffixes for, and what is 1
# where it is so.
UNITS = {"bytes", "frames", "info", "seconds", "segments", "sequence", "total", "videos", "failed"}


@dataclass(frozen=True)
class Served:
    """A server whose traces are collected."""

    url: str
    grpc: str
    collector: Collector
    log: Path

    def request(self, request_id: str) -> dict[str, list[Told]]:
        """The spans of a request, by their names."""
        return self.collector.trace(lambda span: span.facts.get("segsearch.request_id") == request_id)

    def line(self, request_id: str) -> dict[str, object]:
        """What the log says of it."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return next(line for line in lines if line.get("request") == request_id)


@pytest.fixture(scope="module")
def traced(tmp_path_factory, scorer, tiny_bundle, shards) -> Iterator[Served]:
    """One server for all that only asks."""
    folder = tmp_path_factory.mktemp("traced")
    index = IndexDirectory(folder / "index")
    reindex(scorer, shards, index, keep=1000)
    with collecting() as collector, (folder / "log").open("w") as log:
        arguments = command(
            "serve", "--index", index.root, "--bundle", tiny_bundle.directory, "--port", 0, "--grpc-port", 0,
            "--batch", BATCH, "--batch-wait-ms", 10_000, "--log-requests", "--traces-endpoint", collector.url,
        )  # fmt: skip
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            try:
                assert process.stdout is not None
                told = json.loads(process.stdout.readline())
                yield Served(told["url"], told["grpc"], collector, folder / "log")
            finally:
                process.terminate()
                process.wait(TIMEOUT_S)


def trace_of(request_id: str) -> str:
    """The trace that its caller says the request belongs to."""
    return sha256(request_id.encode()).hexdigest()[:32]


def upload(url: str, request_id: str, frame_count: int = FULL, **params: object) -> httpx.Response:
    out = io.BytesIO()
    np.save(out, np.zeros((frame_count, SPEC.size), np.uint8))
    headers = {
        "content-type": "application/x-npy", "x-request-id": request_id,
        "traceparent": f"00-{trace_of(request_id)}-{PARENT}-01",
    }  # fmt: skip
    return httpx.post(f"{url}/score", params=params, content=out.getvalue(), headers=headers, timeout=TIMEOUT_S)


def names(found: dict[str, list[Told]]) -> dict[str, int]:
    return {name: len(spans) for name, spans in found.items()}


def test_an_upload_is_followed_from_its_callers_span_through_queue_and_model_to_the_disk(traced):
    stored = upload(traced.url, "upload", index=True, video_id="mine").json()["stored"]
    found = traced.request("upload")
    assert names(found) == {"request": 1, "queue": 1, "device": 1, "commit": 1}
    (request,), (queue,), (device,), (commit,) = (found[name] for name in ("request", "queue", "device", "commit"))
    assert (request.name, request.trace, request.parent) == ("POST /score", trace_of("upload"), PARENT)
    expected = {
        "http.request.method": "POST", "http.route": "/score", "url.path": "/score", "url.scheme": "http",
        "http.response.status_code": 200, "segsearch.request_id": "upload",
    }  # fmt: skip
    assert (request.facts, request.failed) == (expected, False)
    assert [step.parent for step in (queue, device, commit)] == [request.id] * 3
    assert queue.facts == {"segsearch.frames": FULL}
    assert len(device.facts.pop("segsearch.run.id")) == 16
    run = {"segsearch.batch.videos": 1, "segsearch.batch.segments": BATCH, "segsearch.provider": PROVIDER}
    assert device.facts == run
    assert commit.facts == {"segsearch.sequence": stored["sequence"], "segsearch.unchanged": False}
    times = [time for step in (queue, device, commit) for time in (step.began_ns, step.ended_ns)]
    assert [request.began_ns, *times, request.ended_ns] == sorted([request.began_ns, *times, request.ended_ns])


def test_a_search_is_a_step_that_says_what_was_asked_and_from_which_moment_it_was_answered(traced):
    params = {"tag": "Rain or Cat", "k": 7}
    answer = httpx.get(f"{traced.url}/search", params=params, headers={"x-request-id": "search"}).json()
    found = traced.request("search")
    assert names(found) == {"request": 1, "search": 1}
    (request,), (search,) = found["request"], found["search"]
    assert (request.name, request.parent, search.parent) == ("GET /search", "", request.id)
    assert search.facts == {
        "segsearch.tags": 2, "segsearch.k": 7, "segsearch.hits": 7,
        "segsearch.generation": answer["generation"]["number"], "segsearch.sequence": answer["sequence"],
    }  # fmt: skip


def test_the_line_of_a_request_names_its_trace(traced):
    httpx.get(f"{traced.url}/tags", headers={"x-request-id": "tags"})
    assert traced.request("tags")["request"][0].trace == traced.line("tags")["trace"]


def test_what_a_caller_did_wrong_is_named_and_is_no_failure(traced):
    httpx.get(f"{traced.url}/search", params={"tag": "nothing"}, headers={"x-request-id": "wrong"})
    (request,) = traced.request("wrong")["request"]
    assert (request.facts["http.response.status_code"], request.facts["error.type"]) == (404, "unknown-tag")
    assert not request.failed


def test_paths_and_methods_that_lead_nowhere_make_no_names(traced):
    httpx.request("BREW", f"{traced.url}/pot", headers={"x-request-id": "tea"})
    (request,) = traced.request("tea")["request"]
    assert (request.name, request.facts["http.request.method"]) == ("_OTHER", "_OTHER")


def test_a_route_is_named_as_the_documentation_names_it(traced):
    httpx.get(f"{traced.url}/jobs/no-such-job", headers={"x-request-id": "no-job"})
    (request,) = traced.request("no-job")["request"]
    assert request.facts["http.route"] == "/jobs/{job_id}"


def test_videos_that_go_through_the_model_together_share_the_run_and_each_request_has_it(traced):
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda name: upload(traced.url, name, FULL // 2), ("one", "two")))
    (one,), (two,) = (traced.request(name)["device"] for name in ("one", "two"))
    assert (one.facts["segsearch.batch.videos"], one.facts) == (2, two.facts)
    assert (one.trace, two.trace) == (trace_of("one"), trace_of("two"))


def test_rpcs_are_traced_as_requests_are(traced):
    with grpc.insecure_channel(traced.grpc) as channel:
        stub, caller = SegmentSearchStub(channel), ("traceparent", f"00-{trace_of('rpc')}-{PARENT}-01")
        stub.Score(
            pb.ScoreRequest(video="theirs", frames=bytes(FULL * SPEC.size), index=True), timeout=TIMEOUT_S,
            metadata=[("x-request-id", "rpc-upload"), caller],
        )  # fmt: skip
        stub.Search(pb.SearchRequest(tag="Cat", k=3), timeout=TIMEOUT_S, metadata=[("x-request-id", "rpc-search")])
        failure(stub.Search, pb.SearchRequest(tag="nothing"), metadata=[("x-request-id", "rpc-wrong")])
    found = traced.request("rpc-upload")
    (request,) = found["request"]
    assert names(found) == {"request": 1, "queue": 1, "device": 1, "commit": 1}
    assert (request.name, request.trace, request.parent) == (
        "segsearch.v1.SegmentSearch/Score",
        trace_of("rpc"),
        PARENT,
    )
    assert request.facts["rpc.response.status_code"] == "OK"
    assert {step.parent for name, (step,) in found.items() if name != "request"} == {request.id}
    assert traced.request("rpc-search")["search"][0].facts["segsearch.k"] == 3
    (wrong,) = traced.request("rpc-wrong")["request"]
    assert (wrong.facts["rpc.response.status_code"], wrong.facts["error.type"]) == ("NOT_FOUND", "unknown-tag")
    assert traced.request("rpc-search")["request"][0].trace == traced.line("rpc-search")["trace"]


def test_an_rpc_is_named_by_the_service_that_it_belongs_to(traced):
    with grpc.insecure_channel(traced.grpc) as channel:
        inference = GRPCInferenceServiceStub(channel)
        inference.ServerLive(ServerLiveRequest(), timeout=TIMEOUT_S, metadata=[("x-request-id", "inference")])
    (request,) = traced.request("inference")["request"]
    assert request.name == request.facts["rpc.method"] == "inference.GRPCInferenceService/ServerLive"


def test_streamed_searches_are_traced_to_their_last_message(traced):
    with grpc.insecure_channel(traced.grpc) as channel:
        asked = SegmentSearchStub(channel).SearchStream(
            pb.SearchRequest(tag="Rain", k=50), timeout=TIMEOUT_S, metadata=[("x-request-id", "stream")]
        )
        assert list(asked)
    found = traced.request("stream")
    assert names(found) == {"request": 1, "search": 1}
    assert found["request"][0].ended_ns >= found["search"][0].ended_ns


def test_the_collector_is_told_whose_traces_they_are(traced):
    httpx.get(f"{traced.url}/livez", headers={"x-request-id": "alive"})
    traced.request("alive")
    assert traced.collector.paths == {"/v1/traces"}
    assert traced.collector.resource["service.name"] == "segsearch"


def test_metrics_are_those_that_the_page_lists_and_their_names_end_in_their_units(traced):
    upload(traced.url, "measured")
    told = httpx.get(f"{traced.url}/metrics").text
    shown = set(re.findall(r"^# TYPE (segsearch_\w+)", told, re.MULTILINE)) - created(told)
    assert shown == set(re.findall(r"segsearch_\w+", (ROOT / "docs/service.md").read_text()))
    assert {name.rpartition("_")[2] for name in shown} <= UNITS
    assert float(re.search(r"^segsearch_device_seconds_total (\S+)", told, re.MULTILINE)[1]) > 0


def created(told: str) -> set[str]:
    """When counting began, which the Prometheus client adds to each counter."""
    return set(re.findall(r"segsearch_\w+_created", told))


def test_a_collector_that_hangs_keeps_no_answer_and_no_end_waiting(index, tiny_bundle):
    with collecting(hangs=True) as collector:
        with served(index, tiny_bundle, "--traces-endpoint", collector.url, "--shutdown-s", 1) as (told, process):
            with httpx.Client(base_url=told["url"], timeout=TIMEOUT_S) as client:
                answers = [client.get("/search", params={"tag": "Rain", "k": 5}).status_code for _ in range(100)]
                assert collector.asked.wait(TIMEOUT_S)
                answers += [client.get("/tags").status_code for _ in range(10)]
            process.terminate()
            assert process.wait(TIMEOUT_S) == 0
            assert process.stderr is not None
            events = {json.loads(line)["event"] for line in process.stderr.read().splitlines()}
        assert (set(answers), collector.spans, events) == ({200}, [], {"traces_not_sent"})
