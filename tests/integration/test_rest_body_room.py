"""What all bodies under way may take in memory, over real sockets: who finds no room is told so, and others are not."""

import gzip
import select
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.batching_scorer import BatchingScorer
from segsearch.service.settings import Settings
from tests.gated_scorer import GatedScorer
from tests.integration.test_micro_batching import value
from tests.library_fixtures import serving
from tests.rest_bodies import FRAMES, NPY, npy_of, problem

LIMIT_BYTES = 1 << 20
HOLDERS = ("write", "admin")  # keys of clients that fill the room
PATIENCE_S = 30
# Of a body that never ends: what its head says, and what is sent.
HOLDING = {
    "announced": (f"Content-Length: {LIMIT_BYTES}", b""),
    "in chunks": ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n" % (LIMIT_BYTES, bytes(LIMIT_BYTES))),
    "compressed": (
        "Transfer-Encoding: chunked\r\nContent-Encoding: gzip",
        b"%x\r\n%s\r\n" % (len(gzip.compress(bytes(LIMIT_BYTES))), gzip.compress(bytes(LIMIT_BYTES))),
    ),
}
PATHS = ("/score", "/v2/models/tiny/infer", "/similar")


@pytest.fixture(scope="module")
def client(served_library, keys) -> Iterator[httpx.Client]:
    """Its room is twice as large as a body."""
    settings = Settings(
        port=0, keys=Path(keys["file"]), body_limit_bytes=LIMIT_BYTES, body_room_bytes=len(HOLDERS) * LIMIT_BYTES
    )
    with serving(served_library, settings) as opened:
        yield opened


@pytest.fixture
def open_client(served_library) -> Iterator[httpx.Client]:
    """The same to whom no key is needed."""
    settings = Settings(port=0, body_limit_bytes=LIMIT_BYTES, body_room_bytes=len(HOLDERS) * LIMIT_BYTES)
    with serving(served_library, settings) as opened:
        yield opened


def upload(client: httpx.Client, content: bytes = npy_of(FRAMES), key: str = "") -> httpx.Response:
    return client.post("/score", content=content, headers=NPY | {"x-api-key": key})


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def hold(client: httpx.Client, key: str, path: str, headers: str, sent: bytes) -> socket.socket:
    raw = socket.create_connection((client.base_url.host, client.base_url.port), timeout=PATIENCE_S)
    kind = (
        "application/octet-stream\r\nInference-Header-Content-Length: 1"
        if path.startswith("/v2")
        else NPY["content-type"]
    )
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\nContent-Type: {kind}\r\n{headers}\r\n\r\n"
    raw.sendall(head.encode() + sent)
    return raw


@contextmanager
def room_taken(client: httpx.Client, keys: list[str], *holding: Any) -> Iterator[None]:
    """For as long as the block lasts these callers hold as much of a body each, and find no more room."""
    held = {key: hold(client, key, *holding) for key in keys}

    def is_taken() -> bool:
        for key, raw in held.items():
            if select.select([raw], [], [], 0)[0]:  # refused, as what asks below took room just then: once more
                raw.close()
                held[key] = hold(client, key, *holding)
        return all(upload(client, key=key).status_code == 503 for key in held)

    try:
        until(is_taken)
        yield
    finally:
        for raw in held.values():
            raw.close()


@pytest.mark.parametrize(
    ("path", "how"), [*(("/score", how) for how in HOLDING), *((path, "announced") for path in PATHS[1:])]
)
def test_who_comes_while_all_the_room_is_held_is_refused_at_once_and_let_in_when_they_have_left(
    client, keys, path, how
):
    holders = [keys[scope] for scope in HOLDERS]
    with room_taken(client, holders, path, *HOLDING[how]):
        answer = upload(client, key=holders[0])
        problem(answer, 503, "too-many-calls")
        assert int(answer.headers["retry-after"]) >= 1
        assert f"{len(HOLDERS)} calls" in answer.json()["detail"]
        assert client.get("/search", params={"tag": "Rain"}, headers={"x-api-key": keys["read"]}).status_code == 200
    until(lambda: upload(client, key=holders[0]).status_code == 200)


@pytest.mark.parametrize("how", HOLDING)
def test_a_client_alone_gets_half_of_the_room_and_who_comes_new_finds_some(client, keys, how):
    with room_taken(client, [keys["write"]], "/score", *HOLDING[how]):
        for _ in range(5):
            problem(upload(client, key=keys["write"]), 503, "too-many-calls")
            assert upload(client, key=keys["admin"]).status_code == 200
    until(lambda: upload(client, key=keys["write"]).status_code == 200)


def test_without_keys_a_client_is_its_address(open_client):
    with room_taken(open_client, [""], "/score", *HOLDING["announced"]):
        problem(upload(open_client), 503, "too-many-calls")


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (bytes(LIMIT_BYTES), NPY, 422),
        (bytes(LIMIT_BYTES), {"content-type": "text/plain"}, 415),
        (bytes(LIMIT_BYTES), {**NPY, "content-encoding": "gzip"}, 422),
        (iter([bytes(LIMIT_BYTES), b"x"]), NPY, 413),
        (npy_of(np.zeros((36_001, FRAMES.shape[1]), np.uint8)), NPY, 413),
    ],
)
def test_a_body_that_is_refused_gives_its_room_back(open_client, content, headers, status):
    content = content if isinstance(content, bytes) else [*content]
    for _ in range(len(HOLDERS) + 2):
        body = content if isinstance(content, bytes) else iter(content)
        assert open_client.post("/score", content=body, headers=headers).status_code == status


def test_a_body_whose_frames_wait_to_be_scored_takes_no_room_any_more(scorer, served_library):
    filling = npy_of(np.zeros((LIMIT_BYTES // FRAMES.shape[1] - 11, FRAMES.shape[1]), np.uint8))
    gated = GatedScorer(scorer, batch=4096)
    settings = Settings(port=0, frame_limit=100_000, body_limit_bytes=LIMIT_BYTES, body_room_bytes=LIMIT_BYTES)
    with (
        BatchingScorer(gated, queue_frames=300_000, batch_wait_ms=0) as queued,
        serving(SegmentLibrary(queued, served_library.index), settings) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        try:
            first = threads.submit(upload, client, filling)
            gated.wait_for_run()
            second = threads.submit(upload, client)
            until(lambda: second.done() or value(client, "segsearch_queue_videos") == 2)
        finally:
            gated.open()
        assert (first.result().status_code, second.result().status_code) == (200, 200)
    assert LIMIT_BYTES - len(npy_of(FRAMES)) < len(filling) <= LIMIT_BYTES


def test_settings_leave_room_for_one_body_at_least(served_library):
    with serving(served_library, Settings(port=0, body_limit_bytes=3 << 20, body_room_bytes=1 << 20)) as client:
        frames = np.zeros((36_000, FRAMES.shape[1]), np.uint8)
        answer = upload(client, npy_of(np.zeros((200_000, FRAMES.shape[1]), np.uint8)))
        problem(answer, 413, "too-large")  # 2.4 MB were read: it is its frames that are too many
        assert "200000 frames" in answer.json()["detail"]
        assert upload(client, npy_of(frames)).status_code == 200
