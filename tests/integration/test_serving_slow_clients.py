"""Clients that are late with what they owe, over a real socket: each is let go, and nobody else notices."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn

from segsearch.service.connection import Connection
from segsearch.service.ended_connections import ENDED, Why
from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.app import build
from segsearch.service.server import bind, uvicorn_config
from segsearch.service.settings import Settings

START_TIMEOUT_S = 60
PATIENCE_S = 60  # far beyond every limit here: what still hangs then hangs for ever


class Impatient(Connection):
    """The limits of the server, shortened."""

    head_timeout_s = 1.0
    rest_timeout_s = 1.0
    write_timeout_s = 1.0


@pytest.fixture(scope="module")
def server(served_library: SegmentLibrary) -> Iterator[uvicorn.Server]:
    """A server with short limits."""
    settings = Settings(port=0, body_limit_bytes=100_000)
    listening = bind(settings)
    # Connections inherit it: what a client does not take is soon more than the kernel keeps for it.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    server = uvicorn.Server(uvicorn_config(build(served_library, settings), settings, None, Impatient))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    deadline = time.monotonic() + START_TIMEOUT_S
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture(scope="module")
def address(server: uvicorn.Server) -> tuple[str, int]:
    """Where it listens."""
    found: tuple[str, int] = server.servers[0].sockets[0].getsockname()
    return found


@pytest.fixture
def raw(address) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=PATIENCE_S) as opened:
        yield opened


def told_until_closed(raw: socket.socket) -> bytes:
    """What the server says until it closes; fails if it never does."""
    told = b""
    try:
        while piece := raw.recv(65_536):
            told += piece
    except ConnectionResetError:
        pass
    return told


def trickle(raw: socket.socket, piece: bytes, pause_s: float = 0.1) -> None:
    """Sends a piece again and again until the server closes; fails if it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            raw.sendall(piece)
        except OSError:
            return
        time.sleep(pause_s)
    pytest.fail("the server never closed")


def test_a_connection_that_asks_nothing_is_closed_and_counted(raw):
    before = ENDED[Why.silent]
    assert told_until_closed(raw) == b""
    assert ENDED[Why.silent] > before


def test_a_head_that_trickles_in_is_cut_however_steadily_it_does(raw):
    raw.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    trickle(raw, b"X-A: b\r\n")


def test_a_second_head_has_its_time_too(raw):
    raw.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert raw.recv(12) == b"HTTP/1.1 200"
    trickle(raw, b"G")


def test_the_rest_of_a_body_that_was_refused_is_not_waited_for(raw):
    raw.sendall(b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(101):
        raw.sendall(b"3e8\r\n" + bytes(1000) + b"\r\n")
    assert raw.recv(12) == b"HTTP/1.1 413"
    trickle(raw, b"1\r\nx\r\n")


def test_a_client_that_does_not_take_its_answer_is_let_go(address):
    """It asks many times for what fills every buffer between, and reads nothing."""
    before = ENDED[Why.untaken]
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(address)
        raw.settimeout(PATIENCE_S)
        trickle(raw, b"GET /search?tag=Rain&k=1000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50, pause_s=0.05)
    assert ENDED[Why.untaken] > before


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ask_until_some_is_left(server: uvicorn.Server, raw: socket.socket, request: bytes) -> None:
    """Asks until the kernel takes no more of the answers."""
    until(lambda: raw.getsockname() in (each.client for each in server.server_state.connections))
    connection = next(each for each in server.server_state.connections if each.client == raw.getsockname())
    while not connection.transport.get_write_buffer_size():
        wanted = server.server_state.total_requests + 1
        raw.sendall(request)
        until(lambda wanted=wanted: server.server_state.total_requests == wanted)
    assert not connection.flow.write_paused  # it is less than what the server would wait for


@pytest.mark.parametrize("more", ["", "Connection: close\r\n"])
def test_a_client_that_does_not_take_the_little_that_is_left_is_let_go(server, address, more):
    request = f"GET /search?tag=Rain&k=1000 HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode()
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(address)
        ask_until_some_is_left(server, raw, request.replace(more.encode(), b""))
        raw.sendall(request)
        until(lambda: raw.getsockname() not in (each.client for each in server.server_state.connections))


def test_others_are_answered_meanwhile(address):
    slow = [socket.create_connection(address, timeout=PATIENCE_S) for _ in range(50)]
    try:
        for connection in slow:
            connection.sendall(b"GET /sea")
        with httpx.Client(base_url=f"http://{address[0]}:{address[1]}", timeout=PATIENCE_S) as client:
            assert {client.get("/search", params={"tag": "Rain"}).status_code for _ in range(20)} == {200}
        assert {told_until_closed(connection) for connection in slow} == {b""}
    finally:
        for connection in slow:
            connection.close()


def test_a_client_that_asks_again_and_again_is_kept(address):
    """Each answer sets the clock back: ten requests take twice as long as one head may."""
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}", timeout=PATIENCE_S) as client:
        ports = set()
        for _ in range(10):
            with client.stream("GET", "/livez") as answer:
                answer.read()
                ports.add(answer.extensions["network_stream"].get_extra_info("client_addr")[1])
            time.sleep(0.2)
    assert len(ports) == 1
