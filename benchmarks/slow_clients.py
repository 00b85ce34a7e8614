"""Claim: a thousand clients who trickle, or do not take what they asked for, keep nobody else's search waiting.

One `segsearch serve` over random lists. A crowd of connections sends a byte each ten seconds, half of them of a
request's head and half of an upload's body, and comes back when it is cut; others ask for all segments of a tag and
take nothing. Meanwhile searches come at a steady pace, in turns with the same searches of the server alone.

    python benchmarks/slow_clients.py [--connections 1000] [--takers 50] [--seconds 15] [--rounds 2] [--json PATH]
"""

import multiprocessing
import resource
import socket
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from proc import memory_mb
from reindex import write_library, write_model
from report import Measure, arguments, report
from served import server
from service_load import WARM_UP_S, opened, searches

from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex

PERIOD_S = 10.0  # between two bytes of a connection
VIDEOS = 100  # of each of two shards: a list of 12,000 segments, a megabyte
HEADS = (
    b"GET /search?tag=class+1 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
    b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-npy\r\nContent-Length: 100000\r\n\r\n",
)
LONG = b"GET /search?tag=class+1&k=100000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def crowd(port: int, connections: int, takers: int, seconds: float) -> int:
    """Keeps so many connections slow for so long; returns how many of them the server has cut."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    begun = [Slow(port, head) for _, head in zip(range(connections), cycle(HEADS), strict=False)]
    begun += [Slow(port, LONG, takes=False) for _ in range(takers)]
    end, number = time.monotonic() + seconds, 0
    while (now := time.monotonic()) < end:
        for each in begun[number % 100 :: 100]:
            each.trickle()
        number += 1
        time.sleep(max(0.0, now + PERIOD_S / 100 - time.monotonic()))
    return sum(each.cut for each in begun)


class Slow:
    """One connection, which is made anew when it is cut."""

    def __init__(self, port: int, begins: bytes, *, takes: bool = True):
        self._port, self._begins, self._takes, self.cut = port, begins, takes, 0
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.socket()
        if not self._takes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(30)
        self._socket.connect(("127.0.0.1", self._port))
        self._socket.sendall(self._begins)
        self._socket.setblocking(False)

    def trickle(self) -> None:
        """A byte more, of a client that is to send."""
        if not self._takes:
            return
        with suppress(BlockingIOError):
            try:
                if self._socket.recv(4096) == b"":
                    raise ConnectionResetError
            except ConnectionError:
                self._again()
        with suppress(BlockingIOError, ConnectionError):
            self._socket.send(b"x")

    def _again(self) -> None:
        self.cut += 1
        self._socket.close()
        self._connect()


def waits(port: int, pid: int, apart: Callable[..., Future[int]], options: Any) -> list[Measure]:
    """How long searches take, of the server alone and beside the crowd."""
    alone: list[float] = []
    beside: list[float] = []
    cut, memory = 0, [memory_mb(pid)]
    for _ in range(options.rounds):
        alone += searches(port, len(alone), options.seconds)
        slow = apart(crowd, port, options.connections, options.takers, options.seconds + 2 * WARM_UP_S)
        time.sleep(WARM_UP_S)
        beside += searches(port, len(beside), options.seconds)
        memory.append(memory_mb(pid))
        cut += slow.result()
    (alone_50, alone_99), (beside_50, beside_99) = (np.quantile(each, (0.5, 0.99)).tolist() for each in (alone, beside))
    return [
        Measure("search, p99, alone", alone_99 * 1e3, "ms"),
        Measure(f"search, p99, beside {options.connections + options.takers} slow clients", beside_99 * 1e3, "ms"),
        Measure("search, p99, beside / alone", beside_99 / alone_99, at_most=2),
        Measure("search, median, beside / alone", beside_50 / alone_50),
        Measure("connections that the server cut", cut),
        Measure("memory, above before", max(memory) - memory[0], "MB"),
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--takers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name)
        bundle = write_model(root, 64, 16)
        reindex(opened(bundle), write_library(root, 2, VIDEOS), IndexDirectory(root / "index"), keep=100_000)
        opened(bundle).close()
        port, pid = stack.enter_context(server(root / "index", bundle))
        apart = stack.enter_context(ProcessPoolExecutor(1, mp_context=spawn))
        searches(port, 0, 1.0), apart.submit(int).result()  # what is made once is made now
        measures = waits(port, pid, apart.submit, options)
    report("Slow clients", measures, options.json)


if __name__ == "__main__":
    main()
