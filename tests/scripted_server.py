"""An HTTP server that does, request by request, what a test tells it to: answers, hangs up, hangs, talks nonsense."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

LIMIT_S: Final = 20  # a test that goes wrong ends by itself
DROP, HANG, DRIP = "drop", "hang", "drip"  # hang up at once; say nothing; say a byte, and another, and never all
STALL, DRIP_HEAD = "stall", "drip head"  # read nothing of the body; the same as DRIP with the head already


def answer(status: int, document: object = None, content_type: str = "application/json", **headers: str) -> bytes:
    """The bytes of an answer; its headers' names with _ for -."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    told = {"Content-Type": content_type, "Content-Length": len(body), "Connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in told.items()]
    return "\r\n".join([f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *lines, "", ""]).encode() + body


def problem(status: int, code: str, **headers: str) -> bytes:
    """A problem document of the service."""
    document = {"type": f"/problems/{code}", "title": "", "status": status, "detail": f"so it is: {code}"}
    return answer(status, document, "application/problem+json", **headers)


@dataclass
class Scripted:
    """What came to a server of a test."""

    url: str
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)  # head, body
    connections: int = 0


@contextmanager
def scripted(*script: bytes | str, tls: ssl.SSLContext | None = None, late_s: float = 0.0) -> Iterator[Scripted]:
    """A server that meets each connection as the script's next word says, the last word again and again.

    late_s: it begins to listen so much later; until then, connections are refused.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        scheme = "https" if tls else "http"
        told = Scripted(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}")
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(listening, script, told, over, tls, late_s))
        thread.start()
        try:
            yield told
        finally:
            over.set()
            thread.join(LIMIT_S)


def _serve(listening, script, told: Scripted, over: threading.Event, tls, late_s: float) -> None:
    over.wait(late_s)
    listening.listen()
    listening.settimeout(0.02)
    while not over.is_set():
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        word = script[min(told.connections, len(script) - 1)]
        told.connections += 1
        with connection:
            connection.settimeout(LIMIT_S)
            try:
                with tls.wrap_socket(connection, server_side=True) if tls else connection as speaking:
                    _meet(speaking, word, told, over)
            except OSError:  # the client has left, as it may
                pass


def _meet(connection, word: bytes | str, told: Scripted, over: threading.Event) -> None:
    if word == STALL:
        over.wait(LIMIT_S)
        return
    told.requests.append(_request(connection))
    if isinstance(word, bytes):
        connection.sendall(word)
    elif word == HANG:
        over.wait(LIMIT_S)
    elif word in (DRIP, DRIP_HEAD):
        head, _, body = answer(200, [0] * 10_000).partition(b"[" if word == DRIP else b"/")
        connection.sendall(head)
        for byte in body:
            connection.sendall(bytes([byte]))
            if over.wait(0.02):
                return


def _request(connection) -> tuple[bytes, bytes]:
    """Head and body of a request whose length is told."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += _some(connection)
    head, _, body = came.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += _some(connection)
    return head, body


def _some(connection) -> bytes:
    if not (came := connection.recv(1 << 16)):
        raise ConnectionError("the client has left")
    return bytes(came)
