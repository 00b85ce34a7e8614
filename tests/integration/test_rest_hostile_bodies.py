"""What hostile bodies get from a real server on a real socket: the right 4xx, and nothing else happens."""

import gzip
import io
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from segsearch.service.settings import Settings
from tests.conftest import ROOT
from tests.hostile_bodies import BODY_LIMIT_BYTES, FRAME_LIMIT, HOSTILE_BODIES, NPY, PICKLED, RunsCode, npy_of
from tests.library_fixtures import serving
from tests.tiny_model import SPEC

WHOLE = npy_of(np.zeros((7, SPEC.size), np.uint8))
LEAKS = ("Traceback", 'File "', str(ROOT), "site-packages", "/tmp/")
DANGEROUS = ("pickle.find_class", "os.system", "os.exec", "os.mkdir", "os.posix_spawn", "subprocess.Popen")


class Watch:
    """What the interpreter did that a body must never make it do; an audit hook cannot be taken out, so it sleeps."""

    def __init__(self) -> None:
        self.awake, self.seen = False, list[str]()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.awake:
            return
        if event in DANGEROUS:
            self.seen.append(f"{event} {arguments}")
        # Files that the server's threads open to write; the tests run on the main one.
        elif event == "open" and threading.current_thread() is not threading.main_thread():
            flags = arguments[2]
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
                self.seen.append(f"{event} {arguments}")


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.fixture
def nothing_happens(watch) -> Iterator[None]:
    """Fails a test in which the interpreter unpickled, ran or wrote something."""
    watch.seen.clear()
    watch.awake = True
    yield
    watch.awake = False
    assert watch.seen == []


@pytest.fixture(scope="module")
def client(served_library) -> Iterator[httpx.Client]:
    """One server for all: 200 frames, 2 MB, and a second for a body."""
    limits = Settings(port=0, frame_limit=FRAME_LIMIT, body_limit_bytes=BODY_LIMIT_BYTES, body_timeout_s=1)
    with serving(served_library, limits) as opened:
        yield opened


def test_there_are_sixty_of_them_and_more():
    assert len(HOSTILE_BODIES) >= 60


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("kind", HOSTILE_BODIES)
def test_a_hostile_body_gets_its_problem_and_does_nothing(client, kind):
    hostile = HOSTILE_BODIES[kind]
    headers = {"content-type": hostile.content_type}
    if hostile.encoding is not None:
        headers["content-encoding"] = hostile.encoding
    answer = client.post("/score", content=hostile.body, headers=headers)
    status, code = hostile.answer
    told = answer.json()
    assert (answer.status_code, told["status"], told["type"]) == (status, status, f"/problems/{code}"), told["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert [leak for leak in LEAKS if leak in answer.text] == []
    assert len(answer.content) < 5_000  # what it makes us quote does not come back whole
    assert client.post("/score", content=WHOLE, headers={"content-type": NPY}).status_code == 200


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("path", ["/similar", "/v2/models/tiny/infer"])
def test_they_get_no_further_wherever_else_a_body_is_read(client, path):
    for kind, hostile in HOSTILE_BODIES.items():
        headers = {"content-type": hostile.content_type}
        if hostile.encoding is not None:
            headers["content-encoding"] = hostile.encoding
        answer = client.post(path, content=hostile.body, headers=headers)
        assert 400 <= answer.status_code < 500, (kind, answer.text)
        assert answer.json()["type"].startswith("/problems/"), kind
        assert [leak for leak in LEAKS if leak in answer.text] == [], kind
        assert len(answer.content) < 5_000, kind


def test_the_watch_sees_what_unpickling_would_do(watch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watch.seen.clear()
    watch.awake = True
    np.load(io.BytesIO(PICKLED), allow_pickle=True)
    pickle.loads(pickle.dumps(RunsCode())) if not (tmp_path / "unpickled").exists() else None
    watch.awake = False
    assert (tmp_path / "unpickled").is_dir()
    assert {event.split()[0] for event in watch.seen} == {"pickle.find_class", "os.mkdir"}


# What only a raw socket can send


def exchange(client: httpx.Client, *parts: bytes, close: bool = False) -> bytes:
    """All that the server says to these bytes, sent one after the other, until it closes or is silent."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=10) as raw:
        for part in parts:
            raw.sendall(part)
        if close:
            raw.shutdown(socket.SHUT_WR)
        raw.settimeout(1)
        told = b""
        try:
            while piece := raw.recv(65_536):
                told += piece
        except (TimeoutError, ConnectionResetError):
            pass  # reset: it answered and closed before it had read the rest
        return told


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST /score HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {NPY}", *lines, "", ""]).encode()


def status(told: bytes) -> bytes:
    return told[: len(b"HTTP/1.1 000")]


def test_a_body_shorter_than_announced_is_no_answer_and_no_harm(client, caplog):
    assert exchange(client, head("Content-Length: 5000"), WHOLE, close=True) == b""
    assert client.get("/livez").status_code == 200
    assert "request_failed" not in caplog.text


def test_what_comes_behind_an_announced_body_is_not_part_of_it(client):
    told = exchange(client, head(f"Content-Length: {len(WHOLE)}"), WHOLE + b"rubbish\r\n\r\n")
    assert status(told) == b"HTTP/1.1 200"
    assert b"HTTP/1.1 400" in told


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: -1",),
        ("Content-Length: 1e3",),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    ],
)
def test_lengths_that_cannot_be_are_refused(client, lines):
    told = exchange(client, head(*lines), b"5\r\nhello\r\n0\r\n\r\n")
    assert status(told)[9:10] in (b"4", b"5")
    assert status(told) in (b"HTTP/1.1 400", b"HTTP/1.1 501")


def test_a_chunk_that_is_none_is_refused(client):
    assert status(exchange(client, head("Transfer-Encoding: chunked"), b"zz\r\nhello\r\n")) == b"HTTP/1.1 400"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_chunked_body_without_end_is_cut_at_the_limit(client, encoding):
    """The answer comes while the client goes on sending: nothing waits for an end."""
    content = bytes(30_000_000 if encoding == "gzip" else 65_536)
    piece = gzip.compress(content) if encoding == "gzip" else content
    chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    count = 1 if encoding == "gzip" else BODY_LIMIT_BYTES // len(piece) + 1
    told = exchange(client, head("Transfer-Encoding: chunked", f"Content-Encoding: {encoding}"), *[chunk] * count)
    assert status(told) == b"HTTP/1.1 413"
    assert b"/problems/too-large" in told


@pytest.mark.parametrize("length", [f"Content-Length: {len(WHOLE)}", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_arrive_in_time_is_refused_and_the_connection_closed(client, length):
    started = time.monotonic()
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=10) as raw:
        raw.sendall(head(length) + (b"1\r\nx\r\n" if "chunked" in length else b"x"))
        told = b""
        while piece := raw.recv(65_536):
            told += piece
    assert status(told) == b"HTTP/1.1 408"
    assert b"/problems/too-slow" in told
    assert time.monotonic() - started >= 1  # and not before its time
