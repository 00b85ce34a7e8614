"""Claim: a search over gRPC costs little more than gRPC itself: the same server, answering constant bytes of that size.

One process serves a library of random lists; beside `Search` its server has a method that answers with the bytes of
such an answer, and does nothing else. Clients in a process of their own ask both in turn, a few calls at a time, and
decode nothing, so that the server is what is measured.

    python benchmarks/rpc.py [--calls 3000] [--rounds 7] [--json PATH]
"""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from random_library import opened, write_index
from report import Measure, arguments, report

from segsearch.service.rest.metrics import Metrics
from segsearch.service.rpc.server import RpcServer
from segsearch.service.security.guard import Guard
from segsearch.service.settings import Settings
from segsearch.v1 import search_pb2 as pb

CLASSES, SEGMENTS = 50, 200_000
CALLERS = 4
SEARCH, CONSTANT = "/segsearch.v1.SegmentSearch/Search", "/benchmark.Yardstick/Constant"


class Measured(RpcServer):
    """The server with the yardstick beside its own methods."""

    def add_yardstick(self, content: bytes) -> None:
        handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: content)
        self._add("benchmark.Yardstick", {"Constant": handler})


def question(tag: int, k: int) -> bytes:
    return pb.SearchRequest(tag=f"tag {tag}", k=k).SerializeToString()


def serve(root: Path) -> None:
    """Serves until the parent closes stdin; tells the address."""
    settings = Settings(shutdown_s=1)
    with opened(root, CLASSES) as library:
        server = Measured(library, settings, Guard(), Metrics(library))
        server.add_yardstick(bytes(int(sys.stdin.readline())))
        print(server.bind(0), flush=True)
        server.start()
        sys.stdin.read()
        server.drain()
        server.close()


@contextmanager
def served(root: Path, size_bytes: int) -> Any:
    """A channel to such a process."""
    command = [sys.executable, __file__, "--serve", str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{size_bytes}\n")
        process.stdin.flush()
        with grpc.insecure_channel(process.stdout.readline().strip()) as channel:
            yield channel
        process.stdin.close()


def per_second(channel: grpc.Channel, method: str, questions: list[bytes], calls: int) -> float:
    """Answers a second to callers that each wait for one before they ask again."""
    ask = channel.unary_unary(method)
    for asked in questions:
        ask(asked)  # what is made once is made now

    def caller(number: int) -> None:
        for call in range(number, calls, CALLERS):
            ask(questions[call % len(questions)])

    began = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(caller, range(CALLERS)))
    return calls / (time.perf_counter() - began)


def longest(channel: grpc.Channel) -> tuple[float, int]:
    """Seconds to the last message of 100,000 segments, and their bytes."""
    began = time.perf_counter()
    stream = channel.unary_stream("/segsearch.v1.SegmentSearch/SearchStream")(question(0, 100_000))
    size_bytes = sum(len(message) for message in stream)
    return time.perf_counter() - began, size_bytes


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--calls", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", type=Path, help="what this script starts itself with")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_index(root, CLASSES, SEGMENTS)
        with served(root, 1) as channel:
            size_bytes = len(channel.unary_unary(SEARCH)(question(0, 100)))
        with served(root, size_bytes) as channel:
            ratios, speeds, times = [], [], []
            for _ in range(options.rounds):
                bare = per_second(channel, CONSTANT, [b""], options.calls)
                same = per_second(channel, SEARCH, [question(0, 100)], options.calls)
                ratios.append(same / bare)
                speeds.append(bare)
                times.append(longest(channel)[0])
    measures = [
        Measure("k=100, the same search again / constant bytes, throughput", median(ratios), at_least=0.85),
        Measure("constant bytes", median(speeds), "a second"),
        Measure("bytes of the answer", size_bytes),
        Measure("k=100,000 as a stream", median(times) * 1e3, "ms"),
    ]
    report("Searches over gRPC", measures, options.json)


if __name__ == "__main__":
    main()
