"""`segsearch serve --workers`: several processes that answer as one, whichever of them is asked."""

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from segsearch.core.bundle import Bundle
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from segsearch.v1 import search_pb2 as pb
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.hostile_bodies import NPY, npy_of
from tests.integration.test_serving_commands import TIMEOUT_S, command, refused
from tests.rest_bodies import problem
from tests.tiny_model import SPEC, write_tiny_bundle

WORKERS = 2
CONNECTIONS = 60  # opened until each worker has one: the kernel shares them out as it likes
BURST = 100  # requests of a key; no test but one sends so many by one key


def until(happened: Callable[[], bool], look_every_s: float = 0.02) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(look_every_s)


@dataclass
class Served:
    """A server of several workers, with what it tells."""

    process: subprocess.Popen[str]
    told: dict[str, object]
    log: Path
    bundles: Path
    keys: Path
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return str(self.told["url"])

    def key(self, name: str) -> str:
        """A key that this server takes from now on."""
        key, kept = make_key(name, Scope.admin)
        add_key(self.keys, kept)
        return key

    def clients(self, name: str) -> list[httpx.Client]:
        """A connection to each worker, by its number, that lasts until the server ends. They share a new key."""
        key, found = self.key(name), dict[int, httpx.Client]()
        for number in range(CONNECTIONS):
            client = httpx.Client(base_url=self.url, headers={"x-api-key": key}, timeout=TIMEOUT_S)
            self.stack.enter_context(client)
            asked = f"{name}-{number}"
            client.get("/livez", headers={"x-request-id": asked}).raise_for_status()
            until(lambda asked=asked: self.worker_of(asked) is not None)  # it is told once the answer is away
            found.setdefault(self.worker_of(asked), client)
            if len(found) == WORKERS:
                return [found[worker] for worker in range(WORKERS)]
        raise AssertionError(f"{CONNECTIONS} connections, and all of worker {list(found)}")

    def worker_of(self, request: str) -> int | None:
        """Who answered a request."""
        return next((line["worker"] for line in self.events("request") if line["request"] == request), None)

    def events(self, name: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{" and line[-1:] == "}"]
        return [line for line in lines if line["event"] == name]

    def processes(self) -> list[int]:
        """The workers, in the order in which they were started."""
        parent = self.process.pid
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def begin(root: Path, index: IndexDirectory, shards: Path, port: int = 0) -> tuple[subprocess.Popen[str], Path, Path]:
    """A server that starts, with its log and its keys."""
    bundles = root / "bundles"
    for name, seed in (("one", 7), ("two", 8)):
        write_tiny_bundle(bundles / name, seed=seed)
    keys, log = root / "keys", root / "log"
    add_key(keys, make_key("nobody", Scope.read)[1])
    (root / "numpy.py").write_text("raise SystemExit('not the module that was meant')")  # what lies about is not run
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command(
                "serve", "--index", index.root, "--bundle", bundles / "one/tiny", "--port", port, "--grpc-port", 0,
                "--batch", 8, "--workers", WORKERS, "--bundles", bundles, "--data", shards, "--keys", keys,
                "--log-requests", "--rate-per-s", 0.001, "--rate-burst", BURST,
            ),
            stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=root,
        )  # fmt: skip
    return process, log, keys


def started(process: subprocess.Popen[str], log: Path, keys: Path) -> Served:
    line = process.stdout.readline()
    if not line:
        process.communicate()
        raise AssertionError(log.read_text())
    return Served(process, json.loads(line), log, log.parent / "bundles", keys)


def start(root: Path, index: IndexDirectory, shards: Path) -> Served:
    return started(*begin(root, index, shards))


def stop(served: Served) -> None:
    served.stack.close()
    served.process.terminate()
    served.process.communicate(timeout=TIMEOUT_S)


@pytest.fixture(scope="module")
def served(tmp_path_factory, scorer, shards) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("workers")
    index = IndexDirectory(root / "index")
    reindex(scorer, shards, index, keep=1000)
    running = start(root, index, shards[0].parent)
    yield running
    stop(running)
    assert running.process.returncode == 0


def upload(client: httpx.Client, name: str, seed: int = 0, headers: dict[str, str] | None = None) -> int:
    """Adds a video; the number of its change."""
    frames = np.random.default_rng(seed).integers(0, 256, (12, SPEC.size), np.uint8)
    answer = client.post(
        "/score", params={"video_id": name, "index": "true"}, content=npy_of(frames),
        headers={"content-type": NPY, **(headers or {})},
    )  # fmt: skip
    return int(answer.raise_for_status().json()["stored"]["sequence"])


def found(client: httpx.Client) -> tuple[int, set[str]]:
    page = client.get("/search", params={"tag": "Rain", "k": 1000}).raise_for_status().json()
    return page["sequence"], {hit["video"] for hit in page["segments"]}


def digest(client: httpx.Client) -> str:
    return client.get("/models").raise_for_status().json()["bundle"]["digest"]


def samples(client: httpx.Client, name: str) -> dict[str, float]:
    """What a metric adds up to, by worker."""
    summed: Counter[str] = Counter()
    for family in text_string_to_metric_families(client.get("/metrics").raise_for_status().text):
        for sample in family.samples:
            if sample.name == name:
                summed[sample.labels["worker"]] += sample.value
    return dict(summed)


def test_an_upload_that_one_worker_acknowledged_is_in_the_next_answer_of_each(served):
    clients = served.clients("uploads")
    for turn in range(10):
        for client in clients:
            found(client)  # so that each has an answer at hand that is about to be outdated
        name = f"new-{turn}"
        sequence = upload(clients[turn % WORKERS], name, turn)
        for client in clients:
            known, videos = found(client)
            assert known >= sequence
            assert name in videos
    clients[0].delete("/videos/new-0").raise_for_status()
    assert "new-0" not in found(clients[1])[1]


def test_a_change_that_is_repeated_to_another_worker_is_not_done_again(served):
    one, two = served.clients("repeated")
    named, delete = {"headers": {"idempotency-key": "k1"}}, {"headers": {"idempotency-key": "k2"}}
    first = upload(one, "mine", 1, **named)
    upload(two, "mine", 2)
    assert upload(two, "mine", 1, **named) == first
    deleted = one.delete("/videos/mine", **delete).raise_for_status()
    later = upload(one, "mine", 3)
    assert two.delete("/videos/mine", **delete).content == deleted.content
    assert found(two) == (later, found(one)[1] | {"mine"})


def test_a_bundle_is_loaded_by_all_workers_or_by_none(served):
    clients = served.clients("bundles")
    one, two = (Bundle.open(served.bundles / name / "tiny").digest for name in ("one", "two"))
    for asked, path, wanted in ((0, "two/tiny", two), (1, "one/tiny", one), (1, "two/tiny", two)):
        answer = clients[asked].post("/models:load", json={"path": path}).raise_for_status().json()
        assert {answer["bundle"]["digest"], *map(digest, clients)} == {wanted}
    damaged = write_tiny_bundle(served.bundles / "bad", seed=9) / "model.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    for client in clients:
        told = problem(client.post("/models:load", json={"path": "bad/tiny"}), 422, "model-not-loaded")
        assert "model.onnx has sha256" in told
        refused = [other.get("/models").raise_for_status().json()["refused_load"] for other in clients]
        assert refused[0] == refused[1]
        assert told == f"{refused[0]['path']}: {refused[0]['reason']}; the bundle in use stays"
        assert samples(client, "segsearch_model_load_failed") == {"0": 1, "1": 1}
    assert set(map(digest, clients)) == {two}
    clients[1].post("/models:load", json={"path": "two/tiny"}).raise_for_status()
    assert [client.get("/models").json()["refused_load"] for client in clients] == [None, None]
    assert samples(clients[0], "segsearch_model_load_failed") == {"0": 0, "1": 0}


def test_metrics_are_of_all_workers_each_with_its_number(served):
    clients = served.clients("metrics")
    before = samples(clients[0], "segsearch_http_requests_total")
    for count, client in zip((3, 5), clients, strict=True):
        for _ in range(count):
            client.get("/tags")
    after = samples(clients[1], "segsearch_http_requests_total")
    assert [after[worker] - before[worker] for worker in "01"] == [3 + 1, 5]  # and one for /metrics itself


def test_a_keys_limit_is_one_for_all_workers(served):
    clients = served.clients("limited")
    statuses = Counter(client.get("/tags").status_code for _ in range(BURST // 2 + 5) for client in clients)
    assert statuses == {200: BURST, 429: 2 * 5}


def test_grpc_calls_reach_each_worker(served):
    key = served.key("grpc")
    client = served.clients("counting")[0]
    for number in range(CONNECTIONS):
        options = [("grpc.use_local_subchannel_pool", 1), ("segsearch.number", number)]
        with grpc.insecure_channel(str(served.told["grpc"]), options) as channel:
            SegmentSearchStub(channel).ListTags(pb.ListTagsRequest(), metadata=[("x-api-key", key)], timeout=TIMEOUT_S)
        if number % 5 == 4 and len(samples(client, "segsearch_grpc_requests_total")) == WORKERS:
            return
    raise AssertionError("one worker got all calls")


def test_workers_that_cannot_start_are_given_up_with_the_reason(index, tmp_path):
    bundle = write_tiny_bundle(tmp_path / "bundles")
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    told = refused(index.root, bundle, "--workers", 2)
    assert "error: " in told
    assert told.count("model.onnx has sha256") == 1


# What takes longer


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again_with_the_bundle_that_is_in_use(served):
    clients = served.clients("deaths")
    two = Bundle.open(served.bundles / "two/tiny").digest
    clients[1].post("/models:load", json={"path": "two/tiny"}).raise_for_status()
    os.kill(served.processes()[0], signal.SIGKILL)
    until(lambda: any(line["reason"] == "SIGKILL" for line in served.events("worker_ended")))
    alive = next(client for client in clients if lives(client))
    assert digest(alive) == two
    until(lambda: len(samples(alive, "process_max_fds")) == WORKERS, look_every_s=1)
    assert set(map(digest, served.clients("restarted"))) == {two}


def lives(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").is_success
    except httpx.HTTPError:
        return False


@pytest.mark.slow
def test_a_job_that_one_worker_started_is_told_of_by_each_and_all_switch_to_what_it_made(served):
    clients = served.clients("jobs")
    before = clients[0].get("/generations").json()["serving"]
    job = clients[0].post("/reindex", json={"shards": ["library00.*"]}).raise_for_status().json()["job"]
    problem(clients[1].post("/reindex", json={"shards": ["library00.*"]}), 409, "index-busy")
    states = [client.get(f"/jobs/{job}").raise_for_status().json()["state"] for client in clients]
    assert states == ["running"] * 2
    until(lambda: clients[1].get(f"/jobs/{job}").json()["state"] == "done", look_every_s=1)
    until(lambda: all(client.get("/generations").json()["serving"] == before + 1 for client in clients), look_every_s=1)


@pytest.mark.slow
def test_bundles_that_are_loaded_while_workers_still_start_keep_none_from_starting(tmp_path, index, shards):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    process, log, keys = begin(tmp_path, index, shards[0].parent, port)
    for seed in range(10):  # whoever starts finds another one in use than when it asked, however many came meanwhile
        write_tiny_bundle(tmp_path / f"bundles/{seed}", seed=seed)
    key, kept = make_key("early", Scope.admin)
    add_key(keys, kept)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"x-api-key": key}, timeout=TIMEOUT_S) as early:
        until(lambda: lives(early))
        for load in range(BURST // 2):
            early.post("/models:load", json={"path": f"{load % 10}/tiny"}).raise_for_status()
            all_serve_or_none, _, _ = select.select([process.stdout], [], [], 0.1)
            if all_serve_or_none or "another bundle is in use" in log.read_text():
                break
    running = started(process, log, keys)
    assert len(set(map(digest, running.clients("all")))) == 1
    stop(running)
    assert process.returncode == 0


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path, index, shards):
    running = start(tmp_path, index, shards[0].parent)
    workers = running.processes()
    assert len(workers) == WORKERS
    running.process.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    stop(running)
