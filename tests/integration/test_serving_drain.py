"""How a server ends: it says so first, finishes what it has begun, and loses nobody's request; others go on."""

import io
import signal
import threading
import time

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from segsearch.v1 import search_pb2 as pb
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.integration.test_serving_commands import TIMEOUT_S, server
from tests.integration.test_serving_grpc import served
from tests.rest_bodies import problem
from tests.tiny_model import SPEC

DRAIN_S = 5
SERVING = health_pb2.HealthCheckResponse.SERVING


def npy_of(frames: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, frames)
    return out.getvalue()


def test_a_server_that_drains_answers_says_that_it_is_not_ready_and_ends_with_zero(index, tiny_bundle):
    with server(index, tiny_bundle, "--drain-s", DRAIN_S) as (url, process):
        assert httpx.get(f"{url}/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + TIMEOUT_S
        while (ready := httpx.get(f"{url}/readyz")).status_code == 200:
            assert time.monotonic() < deadline
        problem(ready, 503, "draining")
        assert httpx.get(f"{url}/search", params={"tag": "Rain"}).status_code == 200  # on a new connection
        assert process.wait(TIMEOUT_S) == 0


def test_a_connection_that_is_kept_ends_with_its_next_answer_while_a_server_drains(index, tiny_bundle):
    with server(index, tiny_bundle, "--drain-s", DRAIN_S) as (url, process), httpx.Client(base_url=url) as kept:
        search = {"tag": "Rain"}
        assert "connection" not in kept.get("/search", params=search).headers
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + TIMEOUT_S
        while (answer := kept.get("/search", params=search)).headers.get("connection") != "close":
            assert time.monotonic() < deadline
        for _ in range(5):  # on a new connection each
            answer = kept.get("/search", params=search)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert kept.get("/tags").headers["connection"] == "close"
        assert process.wait(TIMEOUT_S) == 0


def test_a_second_sigterm_ends_the_draining(index, tiny_bundle):
    with server(index, tiny_bundle, "--drain-s", 3600) as (_, process):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_callers_that_heed_readiness_lose_no_request_under_load(index, tiny_bundle, workers):
    """Searches and uploads over both edges, each caller of which stops once the server says that it drains."""
    answers: list[object] = []
    frames = np.zeros((40, SPEC.size), np.uint8)

    def call_rest(url: str, upload: bool) -> None:
        body, headers = npy_of(frames), {"content-type": "application/x-npy"}
        params = {"video_id": f"v{threading.get_ident()}", "index": "true"}
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
            while client.get("/readyz").status_code == 200:
                if upload:
                    answer = client.post("/score", params=params, content=body, headers=headers)
                else:
                    answer = client.get("/search", params={"tag": "Rain", "k": 5})
                answers.append(answer.status_code)

    def call_rpc(address: str, upload: bool) -> None:
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub, health = SegmentSearchStub(channel), health_pb2_grpc.HealthStub(channel)
            score = pb.ScoreRequest(video=f"v{threading.get_ident()}", frames=frames.tobytes(), index=True)
            asked = (stub.Score, score) if upload else (stub.Search, pb.SearchRequest(tag="Rain", k=5))
            while health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status == SERVING:
                try:
                    asked[0](asked[1], timeout=TIMEOUT_S)
                    answers.append(200)
                except grpc.RpcError as error:
                    answers.append(error)

    with served(index, tiny_bundle, "--drain-s", DRAIN_S, "--workers", workers) as (told, process):
        threads = [
            threading.Thread(target=call, args=(told[edge], upload))
            for edge, call in (("url", call_rest), ("grpc", call_rpc))
            for upload in (True, True, False, False)
        ]
        for thread in threads:
            thread.start()
        while len(answers) < 40:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert process.wait(TIMEOUT_S) == 0
    assert set(answers) == {200}


# Several servers of one index


def test_servers_of_one_index_see_each_others_uploads_and_one_goes_on_when_another_ends(index, tiny_bundle):
    def upload(url: str, name: str) -> None:
        params = {"video_id": name, "index": "true"}
        body, headers = npy_of(np.zeros((20, SPEC.size), np.uint8)), {"content-type": "application/x-npy"}
        assert httpx.post(f"{url}/score", params=params, content=body, headers=headers).status_code == 200

    def found(url: str) -> set[str]:
        answer = httpx.get(f"{url}/search", params={"tag": "Rain", "k": 1000}).json()
        return {hit["video"] for hit in answer["segments"]}

    with server(index, tiny_bundle) as (first, ending), server(index, tiny_bundle) as (second, _):
        upload(first, "one")
        upload(second, "two")
        assert {"one", "two"} <= found(first) & found(second)
        ending.send_signal(signal.SIGTERM)
        assert ending.wait(TIMEOUT_S) == 0
        upload(second, "three")
        assert {"one", "two", "three"} <= found(second)
