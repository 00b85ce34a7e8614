"""A connection writes a whole answer at once, and uvicorn its messages: the same bytes, whatever is asked and sent."""

import asyncio
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from segsearch.service.connection import Connection
from segsearch.service.server import uvicorn_config
from segsearch.service.settings import Settings

DATE = (b"date", b"Sat, 28 Nov 2026 12:00:00 GMT")
SPINS = 12  # of the event loop: more than any exchange here takes


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self):
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.pieces, self.closed = [], False

    def write(self, data):
        self.pieces.append(bytes(data))

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def get_write_buffer_size(self):
        return 0

    def pause_reading(self):
        """Nothing comes but by hand."""

    resume_reading = pause_reading


class Told(NamedTuple):
    """What a server does on a connection."""

    pieces: list[bytes]
    closed: bool


class Answered(NamedTuple):
    """What an application sends."""

    status: int
    headers: list[tuple[bytes, bytes]]
    pieces: list[bytes]  # of the content

    async def __call__(self, _scope, _receive, send):
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        for number, piece in enumerate(self.pieces, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(self.pieces)})


def exchanged(runner: asyncio.Runner, app, requests: list[bytes], protocol: type[H11Protocol] = Connection) -> Told:
    """What a server does where these requests come."""
    config = uvicorn_config(app, Settings(port=0), None, protocol)
    config.load()
    state, wire = ServerState(), Wire()
    state.default_headers = [DATE]

    async def work() -> Told:
        connection = config.http_protocol_class(config=config, server_state=state, app_state={})
        connection.connection_made(wire)
        for request in requests:
            if not wire.closed:
                connection.data_received(request)
                for _ in range(SPINS):
                    await asyncio.sleep(0)
        told = Told(wire.pieces, wire.closed)
        connection.connection_lost(None)  # and with it its clocks
        return told

    return runner.run(work())


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as opened:
        yield opened


def request(method: str = "GET", *lines: str, version: str = "1.1", body: bytes = b"") -> bytes:
    return "\r\n".join([f"{method} /x HTTP/{version}", "Host: x", *lines, "", ""]).encode() + body


REQUESTS = (
    request(), request("HEAD"), request(version="1.0"), request("GET", "Connection: close"),
    request("GET", "Connection: Keep-Alive, Upgrade", "Upgrade: h2c"), request() + request() + request("HEAD"),
    request("POST", "Content-Length: 3", body=b"abc"), request("POST", "Content-Length: 3", body=b"a"),
    request("POST", "Content-Length: 3", "Expect: 100-continue"),
    request("POST", "Transfer-Encoding: chunked", body=b"1\r\na\r\n0\r\n\r\n"), request("CONNECT"),
)  # fmt: skip
HEADERS = (
    (b"content-type", b"text/plain"), (b"etag", b'W/"1"'), (b"X-Mixed", b"Case"), (b"vary", b"a, b"), (b"empty", b""),
    (b"connection", b"close"), (b"connection", b"keep-alive"), (b"Transfer-Encoding", b"chunked"),
    (b"content-length", b"2"), (b"Content-Length", b"0"), (b"x-split", b"a\r\nconnection: close"), (b"x-nul", b"a\0"),
    (b"x-line", b"a\nb"), (b"x-return", b"a\rb"),
)  # fmt: skip
contents = st.lists(st.sampled_from((b"", b"ab", b"x" * 70_000)), min_size=1, max_size=3)


@st.composite
def answers(draw) -> Answered:
    pieces, headers = draw(contents), draw(st.lists(st.sampled_from(HEADERS), max_size=3))
    if draw(st.booleans()):
        headers.append((b"content-length", b"%d" % sum(map(len, pieces))))
    return Answered(draw(st.sampled_from((200, 204, 304, 404, 503))), headers, pieces)


@settings(max_examples=300)
@given(answers(), st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3))
def test_the_same_bytes_come_as_from_uvicorn_alone(runner, answer, requests):
    ours, plain = exchanged(runner, answer, requests), exchanged(runner, answer, requests, H11Protocol)
    # Up to a request that is none: what we say of it is ours.
    assert (up_to_refusal(ours), ours.closed) == (up_to_refusal(plain), plain.closed)


def up_to_refusal(told: Told) -> tuple[bytes, bool]:
    answer, refusal, _ = b"".join(told.pieces).partition(b"HTTP/1.1 400 ")
    return answer, bool(refusal)


def heads_in(told: Told) -> int:
    return len(re.findall(rb"HTTP/1\.1 \d", b"".join(told.pieces)))


def test_what_is_no_request_is_answered_once_and_what_was_under_way_writes_nothing_behind_it(runner):
    async def late(scope, receive, send):
        await receive()
        await PLAIN(scope, receive, send)

    told = exchanged(runner, late, [request("POST", "Transfer-Encoding: chunked", body=b"no length\r\n")])
    assert (heads_in(told), told.closed) == (1, True)
    assert b"/problems/bad-request" in told.pieces[0]


def test_within_an_answer_nothing_is_said_of_what_is_no_request(runner):
    async def begins(_scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await receive()

    told = exchanged(runner, begins, [request("POST", "Transfer-Encoding: chunked"), b"no length\r\n"])
    assert (heads_in(told), told.closed) == (1, True)


PLAIN = Answered(200, [(b"content-type", b"text/plain"), (b"content-length", b"2")], [b"ab"])


def test_a_whole_answer_is_one_write_and_the_next_request_is_heard(runner):
    told = exchanged(runner, PLAIN, [request(), request() + request()])
    answer = b"HTTP/1.1 200 OK\r\ndate: %s\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nab" % DATE[1]
    assert told == ([answer] * 3, False)


def test_long_content_is_not_copied_behind_its_head(runner):
    answer = Answered(200, [(b"content-length", b"100000")], [bytes(100_000)])
    assert [len(piece) for piece in exchanged(runner, answer, [request()]).pieces[1:]] == [100_000]


async def falls(_scope, _receive, send):
    """Begins an answer and has none."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    raise ValueError("on purpose")


def test_an_answer_that_was_only_begun_is_an_error_of_ours(runner):
    told = b"".join(exchanged(runner, falls, [request()]).pieces)
    assert told.startswith(b"HTTP/1.1 500 ")
    assert b"on purpose" not in told


async def twice(scope, receive, send):
    """Answers two times."""
    await PLAIN(scope, receive, send)
    await PLAIN(scope, receive, send)


def test_an_application_that_answers_twice_is_heard_once(runner):
    ours, plain = exchanged(runner, twice, [request()]), exchanged(runner, twice, [request()], H11Protocol)
    assert (b"".join(ours.pieces), ours.closed) == (b"".join(plain.pieces), plain.closed)
