"""Heads of requests that no client library would send, over a raw socket: each is refused, and hides no other."""

import json
import re
import socket
from collections.abc import Iterator

import httpx
import pytest

from segsearch.service.settings import Settings
from tests.integration.test_micro_batching import value
from tests.library_fixtures import serving


@pytest.fixture(scope="module")
def client(served_library) -> Iterator[httpx.Client]:
    with serving(served_library, Settings(port=0, body_limit_bytes=100_000)) as opened:
        yield opened


def told(client: httpx.Client, request: bytes) -> bytes:
    """All that the server says until it closes the connection; what it cut is as good as no answer."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as raw:
        answer = b""
        try:
            raw.sendall(request)
            while piece := raw.recv(65_536):
                answer += piece
        except ConnectionError:
            pass
        return answer


def statuses(answer: bytes) -> list[int]:
    return [int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def head(target: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join(
        [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *lines, "", ""]
    ).encode("latin-1")  # fmt: skip


TARGETS = {
    "the way up": "/../search?tag=Rain",
    "the way up, spelt out": "/%2e%2e/search?tag=Rain",
    "the way up in overlong UTF-8": "/%c0%ae%c0%ae/search?tag=Rain",
    "the way up in backslashes": "/..%5csearch?tag=Rain",
    "here": "/./search?tag=Rain",
    "an empty part": "//search?tag=Rain",
    "a slash, spelt out": "/%2fsearch?tag=Rain",
    "a slash at the end": "/search/?tag=Rain",
    "a NUL": "/search%00?tag=Rain",
    "no UTF-8": "/%ff",
    "a parameter of the path": "/search;x?tag=Rain",
    "another case": "/SEARCH?tag=Rain",
    "no path": "*",
    "another server's": "http://elsewhere.example/search?tag=Rain",
    "sixty thousand letters": "/" + "a" * 60_000,
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_path_that_is_nearly_one_of_ours_is_none(client, target):
    answer = told(client, head(TARGETS[target]))
    assert statuses(answer) == [404]
    assert b"/problems/not-found" in answer


def test_ten_thousand_parameters_are_no_query(client):
    many = "&".join(f"p{number}=1" for number in range(10_000))
    answer = told(client, head(f"/search?tag=Rain&{many}"))
    assert statuses(answer) == [422]
    assert b"/problems/invalid-input" in answer


BODY = b"0\r\n\r\n" + head("/livez")
# How long is the body? The one who believes the first header finds a second request behind it.
TWO_LENGTHS = {
    "a length beside chunks": ("Content-Length: 6", "Transfer-Encoding: chunked"),
    "chunks beside a length": ("Transfer-Encoding: chunked", f"Content-Length: {len(BODY)}"),
    "two lengths": ("Content-Length: 5", "Content-Length: 0"),
    "a list of lengths": ("Content-Length: 5, 0",),
    "a length in hexadecimal": ("Content-Length: 0x0",),
    "a length with a sign": ("Content-Length: +5",),
    "chunks with a blank before the colon": ("Content-Length: 5", "Transfer-Encoding : chunked"),
    "chunks behind a tab": ("Content-Length: 5", "Transfer-Encoding:\x0bchunked"),
    "nearly chunks": ("Content-Length: 5", "Transfer-Encoding: xchunked"),
    "chunks in another encoding": ("Content-Length: 5", "Transfer-Encoding: chunked, identity"),
}


@pytest.mark.parametrize("lengths", TWO_LENGTHS)
def test_a_body_of_two_lengths_hides_no_request(client, lengths):
    answer = told(client, head("/score", *TWO_LENGTHS[lengths], method="POST") + BODY)
    assert statuses(answer) in ([400], [501])
    assert b"alive" not in answer


def malformed(client: httpx.Client) -> float:
    """Connections that ended so."""
    return value(client, "segsearch_connections_ended_total", reason="malformed")


MALFORMED = {
    "HTTP/0.9": b"GET /livez\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a blank in the path": head("/li vez"),
    "bytes in the path": head("/\xc0\xaelivez"),
    "a NUL in a header": head("/livez", "X-Odd: a\x00b"),
    "a header without a name": head("/livez", ": a"),
    "a head of a megabyte": head("/livez", "X-Long: " + "x" * (1 << 20)),
    "ten thousand headers": head("/livez", *["X-Many: 1"] * 10_000),
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_head_that_is_none_is_refused_and_the_connection_closed(client, kind):
    before = malformed(client)
    answer = told(client, MALFORMED[kind])
    assert statuses(answer) in ([400], [])
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert json.loads(body)["type"] == "/problems/bad-request"
        assert re.search(rb"\r\nx-request-id: [0-9a-f]{16}\r\n", head)
        assert b"\r\nconnection: close\r\n" in head + b"\r\n"
    assert client.get("/livez").status_code == 200
    assert malformed(client) == before + 1


def test_a_body_that_is_none_is_refused_once_and_nothing_comes_behind_it(client):
    answer = told(client, head("/score", "Transfer-Encoding: chunked", method="POST") + b"no length\r\n")
    assert statuses(answer) == [400]
    assert b"/problems/bad-request" in answer
