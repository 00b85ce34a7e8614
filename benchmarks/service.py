"""Claim: a search over HTTP costs little more than its bytes: the same server, sending constant bytes of that size.

Servers and the client that loads them are processes of their own, and take turns: a bare ASGI application under the
same server, and the service, which answers from a library of random lists with a live store beside it. The
client keeps a few connections busy, so that a server never waits for it.

    python benchmarks/service.py [--classes 200] [--segments 400000] [--requests 1500] [--rounds 7] [--json PATH]

A short search is asked for the same tag again and again (`warm`), and for another tag each time by a server that keeps
no answers (`another tag`). A search of 100,000 segments is timed from its request to its last byte, beside the copy of
the same bytes through a socket of this machine.
"""

import multiprocessing
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from proc import cpu_seconds
from random_library import opened, write_index
from report import Measure, arguments, report

from segsearch.service.index.format import POSTINGS_CAP
from segsearch.service.rest.app import build
from segsearch.service.rest.arrow_stream import is_installed
from segsearch.service.rest.search_answers import ARROW, JSON, LINES
from segsearch.service.server import bind, serve_until_stopped
from segsearch.service.settings import Settings

CONNECTIONS = 8
TIMEOUT_S = 60


class Server(NamedTuple):
    """A process that serves."""

    port: int
    pid: int


class Long(NamedTuple):
    """One long answer."""

    wall_s: float
    cpu_s: float  # of both ends


class Speed(NamedTuple):
    """Of answers."""

    per_s: float
    cpu_ms: float  # of the server, for one


# Servers, each in a process of its own


def run(app: Any, settings: Settings, told: Connection) -> None:
    """Serves as `segsearch serve` does, until the process is ended; tells the port."""
    serve_until_stopped(app, settings, lambda: None, ready=lambda url, **_: told.send(int(url.rpartition(":")[2])))


def serve_library(root: Path, classes: int, cache_bytes: int, told: Connection) -> None:
    """The service."""
    settings = Settings(port=0, answer_cache_bytes=cache_bytes)
    with opened(root, classes) as library:
        run(build(library, settings), settings, told)


def serve_bytes(content: bytes, told: Connection) -> None:
    """The yardstick: the same server, and nothing between it and constant bytes."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    run(app, Settings(port=0), told)


def serve_copies(content: bytes, told: Connection) -> None:
    """The yardstick of long answers: the bytes, through a socket, for each byte that comes."""
    with bind(Settings(port=0)) as listening:
        listening.listen()
        told.send(listening.getsockname()[1])
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=copy, args=(connection, content), daemon=True).start()


def copy(connection: socket.socket, content: bytes) -> None:
    with connection:
        while connection.recv(1):
            connection.sendall(content)


@contextmanager
def serving(work: Callable[..., None], *given: Any) -> Iterator[Server]:
    """A process that does this work, which tells its port."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(*given, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(TIMEOUT_S):
            raise TimeoutError(f"{work.__name__} did not come up in {TIMEOUT_S} s")
        yield Server(ours.recv(), process.pid or 0)
    finally:
        process.terminate()
        process.join()


# The client


def connect(server: Server) -> socket.socket:
    """A connection; waits until the server accepts."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def request(query: str, accept: str = JSON, extra: str = "") -> bytes:
    return f"GET /search?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n{extra}\r\n".encode()


def answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and content of an answer that says its length."""
    told = b""
    while (end := told.find(b"\r\n\r\n")) < 0:
        told += received(connection)
    head, content = told[:end], told[end + 4 :]
    length = int((head + b"\r\n").lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
    while len(content) < length:
        content += received(connection)
    return head, content


def received(connection: socket.socket) -> bytes:
    if not (piece := connection.recv(1 << 18)):
        raise ConnectionError("the server closed the connection")
    return piece


def speed(server: Server, requests: Sequence[bytes], count: int, status: bytes = b" 200 ") -> Speed:
    """Of answers to so many requests, taken in turn, on connections that are kept busy."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(CONNECTIONS)]
        started, cpu_s = time.perf_counter(), cpu_seconds(server.pid)
        for number in range(count + CONNECTIONS):
            connection = connections[number % CONNECTIONS]
            if number >= CONNECTIONS and status not in answer(connection)[0][:20]:
                raise ConnectionError("an answer of another status")
            if number < count:
                connection.sendall(requests[number % len(requests)])
        per_s = count / (time.perf_counter() - started)
        return Speed(per_s, 1e3 * (cpu_seconds(server.pid) - cpu_s) / count)


def to_last_byte(
    server: Server, connection: socket.socket, asked: bytes, room: memoryview, is_last: Callable[[int, bytes], bool]
) -> Long:
    """From sending to the end, as told by how many bytes came and the last of them. room: for all of them."""
    count = 0
    started, cpu_s = time.perf_counter(), cpu_seconds(server.pid) + time.process_time()
    connection.sendall(asked)
    while not is_last(count, bytes(room[max(0, count - 8) : count])):
        if not (got := connection.recv_into(room[count:])):
            raise ConnectionError("the server closed the connection")
        count += got
    return Long(time.perf_counter() - started, cpu_seconds(server.pid) + time.process_time() - cpu_s)


# The measures


def short_searches(root: Path, options: Any) -> list[Measure]:
    queries = [request(f"tag=tag+{number}&k=100") for number in range(options.classes)]
    with ExitStack() as stack:
        kept = stack.enter_context(serving(serve_library, root, options.classes, 64 << 20))
        built = stack.enter_context(serving(serve_library, root, options.classes, 0))
        with connect(kept) as connection:
            connection.sendall(queries[0])
            head, content = answer(connection)
        bare = stack.enter_context(serving(serve_bytes, content))
        etag = next(line for line in head.split(b"\r\n") if line.startswith(b"etag:"))[6:].decode()
        known = [request("tag=tag+0&k=100", extra=f"If-None-Match: {etag}\r\n")]
        sides = {
            "bare": lambda: speed(bare, queries, options.requests),
            "warm": lambda: speed(kept, queries[:1], options.requests),
            "another": lambda: speed(built, queries, options.requests),
            "known": lambda: speed(kept, known, options.requests, b" 304 "),
        }
        for side in sides.values():
            side()  # what is made once is made now
        speeds = [{name: side() for name, side in sides.items()} for _ in range(options.rounds)]

    def ratio(name: str) -> float:
        return median(side[name].per_s / side["bare"].per_s for side in speeds)

    def cpu_ratio(name: str) -> float:
        return sum(side["bare"].cpu_ms for side in speeds) / sum(side[name].cpu_ms for side in speeds)

    return [
        Measure("k=100, warm / constant bytes, throughput", ratio("warm"), at_least=0.85),
        Measure("k=100, another tag each time / constant bytes, throughput", ratio("another"), at_least=0.5),
        Measure("constant bytes / k=100, warm, CPU time", cpu_ratio("warm")),
        Measure("constant bytes / k=100, another tag each time, CPU time", cpu_ratio("another")),
        Measure("304 to who has the answer / constant bytes, throughput", ratio("known")),
        Measure("constant bytes", median(side["bare"].per_s for side in speeds), "a second"),
        Measure("bytes of the answer", len(content)),
    ]


def long_search(kept: Server, form: str, rounds: int) -> list[Measure]:
    """100,000 segments to the last byte, beside the copy of the same bytes."""
    asked = request(f"tag=tag+0&k={POSTINGS_CAP}", form)
    with ExitStack() as stack:
        with connect(kept) as first:
            first.sendall(asked)
            if form == LINES:  # comes in chunks, of which an empty one is the last
                ended: Callable[[int, bytes], bool] = lambda _, tail: tail.endswith(b"\r\n0\r\n\r\n")  # noqa: E731
                content = received(first)
                while not ended(0, content[-8:]):
                    content += received(first)
            else:
                content = b"\r\n\r\n".join(answer(first))
                ended = lambda count, _: count == len(content)  # noqa: E731
        yardstick = stack.enter_context(serving(serve_copies, content))
        theirs = stack.enter_context(connect(yardstick))
        ours = stack.enter_context(connect(kept))  # only now: who says nothing for 10 s is let go
        room = memoryview(bytearray(b"x") * (64 << 20))  # touched: its first use must not count
        times = [
            (
                to_last_byte(kept, ours, asked, room, ended),
                to_last_byte(yardstick, theirs, b"x", room, lambda count, _: count == len(content)),
            )
            for _ in range(rounds)
        ]
    answered, copied = (median(each.wall_s for each in side) for side in zip(*times, strict=True))
    ratio = median(our.wall_s / their.wall_s for our, their in times)
    cpu_ratio = sum(our.cpu_s for our, _ in times) / sum(their.cpu_s for _, their in times)
    return [
        Measure(f"k=100,000 as {form}, last byte / copying it", ratio, at_most=5 if form == LINES else None),
        Measure(f"k=100,000 as {form}, CPU time of both ends / copying it", cpu_ratio),
        Measure(f"k=100,000 as {form}", answered * 1e3, "ms"),
        Measure(f"copying its {len(content) / 1e6:.1f} MB", copied * 1e3, "ms"),
    ]


def long_searches(root: Path, options: Any) -> list[Measure]:
    forms = (LINES, ARROW) if is_installed() else (LINES,)
    with serving(serve_library, root, options.classes, 64 << 20) as kept:
        return [measure for form in forms for measure in long_search(kept, form, 3 * options.rounds)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--segments", type=int, default=400_000)
    parser.add_argument("--requests", type=int, default=1_500)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_index(root, options.classes, options.segments)
        measures = short_searches(root, options) + long_searches(root, options)
    report("Searches over HTTP", measures, options.json)


if __name__ == "__main__":
    main()
