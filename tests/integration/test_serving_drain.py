"""How a server ends: it says so first, finishes what it has begun, and loses nobody's request; others go on."""

import io
import signal
import threading
import time

import httpx
import numpy as np

from tests.integration.test_serving_commands import TIMEOUT_S, server
from tests.rest_bodies import problem
from tests.tiny_model import SPEC

DRAIN_S = 5


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


def test_a_second_sigterm_ends_the_draining(index, tiny_bundle):
    with server(index, tiny_bundle, "--drain-s", 3600) as (_, process):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


def test_callers_that_heed_readiness_lose_no_request_under_load(index, tiny_bundle):
    """Searches and uploads from several callers, each of whom stops once the server says that it drains."""
    statuses: list[int] = []
    body = npy_of(np.zeros((40, SPEC.size), np.uint8))

    def call(url: str, upload: bool) -> None:
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
            while client.get("/readyz").status_code == 200:
                if upload:
                    params = {"video_id": f"v{threading.get_ident()}", "index": "true"}
                    headers = {"content-type": "application/x-npy"}
                    answer = client.post("/score", params=params, content=body, headers=headers)
                else:
                    answer = client.get("/search", params={"tag": "Rain", "k": 5})
                statuses.append(answer.status_code)

    with server(index, tiny_bundle, "--drain-s", DRAIN_S) as (url, process):
        threads = [threading.Thread(target=call, args=(url, upload)) for upload in (True, True, False, False)]
        for thread in threads:
            thread.start()
        while len(statuses) < 40:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert process.wait(TIMEOUT_S) == 0
    assert set(statuses) == {200}


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
