"""Claim: uploads of many callers cost little beside their scoring, keep no search waiting, and overload breaks nothing.

One `segsearch serve` with a made-up bag of frames of random weights, as large as the paper's. What loads it, what
searches, and the bare scorer are processes of their own, on the same cores; sides take turns. The bare scorer takes the
frames of the callers' videos, whole videos together, as the server does.

    python benchmarks/service_load.py [--seconds 8] [--rounds 3] [--json PATH]

Callers and server share the cores, so that two ratios are told: by the clock, in which callers and whatever else runs
take part, and of CPU time, which is the server's own. Overload is five times as many videos as the server has just
scored, from callers who never wait as long as they are told; beside it callers who come back at once when refused.
"""

import io
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
from proc import cpu_seconds, memory_mb
from reindex import CLASSES, write_library, write_model
from report import Measure, arguments, report
from served import server

from segsearch.core.bundle import Bundle
from segsearch.core.features import YOUTUBE8M
from segsearch.core.segments import segment_count
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.scoring.machine import core_count
from segsearch.service.scoring.onnx_scorer import OnnxScorer

CLUSTERS, HIDDEN = 8192, 1024
FRAMES, BATCH = 230, 64  # YouTube-8M's mean; of segments, in a run
CALLERS, OVERLOAD, OVERLOAD_CALLERS = 32, 5, 400
WAITING = 36  # videos, that the server lets one client have in its queue: room for the callers alone
SEARCHES_PER_S = 50
WARM_UP_S, KEPT_S, TIMEOUT_S = 2.0, 5.0, 120
SEGMENTS = segment_count(FRAMES)
SERVED = {"batch": BATCH, "threads": core_count(), "queue_frames": 2 * WAITING * FRAMES}


@dataclass(frozen=True, slots=True)
class Spent:
    """What was scored in some time, and the CPU time that it took."""

    segments: int
    wall_s: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        return self.segments / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """A segment."""
        return 1e3 * self.cpu_s / max(1, self.segments)


@dataclass(frozen=True, slots=True)
class Served(Spent):
    """The same of a server under load."""

    statuses: Counter[int]
    callers_cpu_s: float
    p99_s: float  # of the answers with scores, from sending to the last byte


# In processes of their own


def bare(bundle: Path, seconds: float) -> Spent:
    """The scorer by itself."""
    scorer, frames = opened(bundle), video()
    list(scorer.codes([frames] * 4 * core_count()))
    started, cpu_s = time.perf_counter(), time.process_time()

    def videos() -> Iterator[np.ndarray]:
        while time.perf_counter() < started + seconds:
            yield frames

    segments = sum(len(block) for block in scorer.codes(videos()))
    return Spent(segments, time.perf_counter() - started, time.process_time() - cpu_s)


@cache
def opened(bundle: Path) -> OnnxScorer:
    return OnnxScorer(Bundle.open(bundle), batch=BATCH, threads=core_count())


class Line:
    """One connection that is kept for as long as the server keeps it: one that is silent for 10 s it does not."""

    def __init__(self, port: int):
        self._port = port
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._used_s = time.monotonic()

    def ask(self, request: bytes) -> int:
        """The status of the answer, once all of it is here."""
        if time.monotonic() > self._used_s + KEPT_S:
            self._socket.close()
            self._connect()
        status = self._answered(request)
        self._used_s = time.monotonic()
        return status

    def _answered(self, request: bytes) -> int:
        self._socket.sendall(request)
        told = b""
        while (end := told.find(b"\r\n\r\n")) < 0:
            told += self._received()
        head, count = told[:end], len(told) - end - 4
        length = int((head + b"\r\n").partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while count < length:
            count += len(self._received())
        return int(head[9:12])

    def _received(self) -> bytes:
        if not (piece := self._socket.recv(1 << 18)):
            raise ConnectionError("the server closed the connection")
        return piece


def uploads(port: int, pid: int, callers: int, per_s: float, seconds: float) -> Served:
    """Callers who send a video each again and again, counted after a while. per_s: of all; 0: each after its answer."""
    statuses: Counter[int] = Counter()
    took: list[float] = []
    request, began = upload_request(), time.monotonic()
    start, end = began + WARM_UP_S, began + WARM_UP_S + seconds

    def call(number: int) -> None:
        line, sent = Line(port), 0
        while (now := time.monotonic()) < end:
            due = began + (sent - 1 + number / callers) * callers / per_s if per_s and sent else now
            if due > now:
                time.sleep(min(due, end) - now)
                continue
            status, sent = line.ask(request), sent + 1
            if start <= (answered := time.monotonic()) < end:
                statuses[status] += 1
                if status == 200:
                    took.append(answered - now)

    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(call, number) for number in range(callers)]
        time.sleep(WARM_UP_S)
        before = cpu_seconds(pid), time.process_time()
        time.sleep(max(0.0, end - time.monotonic()))
        after = cpu_seconds(pid), time.process_time()
    for each in calls:
        each.result()  # whoever failed has asked for less
    spent = SEGMENTS * statuses[200], seconds, after[0] - before[0]
    return Served(*spent, statuses, after[1] - before[1], float(np.quantile(took or [0.0], 0.99)))


def searches(port: int, first: int, seconds: float) -> list[float]:
    """Seconds that each search took, asked at a steady pace, each for another tag."""
    line, took, began = Line(port), [], time.monotonic()
    for number in range(round(seconds * SEARCHES_PER_S)):
        time.sleep(max(0.0, began + number / SEARCHES_PER_S - time.monotonic()))
        started = time.monotonic()
        status = line.ask(search_request(first + number))
        took.append(time.monotonic() - started)
        if status != 200:
            raise ConnectionError(f"a search was answered with {status}")
    return took


def upload_request() -> bytes:
    out = io.BytesIO()
    np.save(out, video())
    body = out.getvalue()
    head = "POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-npy\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def search_request(number: int) -> bytes:
    return f"GET /search?tag=class+{number % CLASSES}&k=100 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def video() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (FRAMES, YOUTUBE8M.size), np.uint8)


@contextmanager
def busy_cores() -> Iterator[None]:
    """Others who want the cores as much as scoring does, and have nothing to do with the server."""
    command = [sys.executable, "-c", "import os; os.nice(5)\nwhile True: pass"]
    others = [subprocess.Popen(command) for _ in range(core_count())]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


# What is measured


class Sides:
    """The server, and the processes that ask it."""

    def __init__(self, stack: ExitStack, bundle: Path, port: int, pid: int):
        spawn = multiprocessing.get_context("spawn")
        self._bare, self._callers, self._searcher = (
            stack.enter_context(ProcessPoolExecutor(1, mp_context=spawn)) for _ in range(3)
        )
        self._bundle, self.port, self.pid = bundle, port, pid
        self._searched = 0

    def bare(self, seconds: float) -> Spent:
        return self._bare.submit(bare, self._bundle, seconds).result()

    def uploads(self, seconds: float, callers: int = CALLERS, per_s: float = 0.0) -> Future[Served]:
        return self._callers.submit(uploads, self.port, self.pid, callers, per_s, seconds)

    def searches(self, seconds: float) -> list[float]:
        took = self._searcher.submit(searches, self.port, self._searched, seconds).result()
        self._searched += len(took)
        return took


def throughput(sides: Sides, seconds: float, rounds: int) -> list[Measure]:
    pairs = [(sides.bare(seconds), sides.uploads(seconds).result()) for _ in range(rounds)]
    if any(set(served.statuses) != {200} for _, served in pairs):
        raise ConnectionError(f"answers {[dict(served.statuses) for _, served in pairs]}, wanted 200 alone")
    return [
        Measure("bare scorer", median(alone.per_s for alone, _ in pairs), "segments/s"),
        Measure(f"{CALLERS} callers of /score", median(served.per_s for _, served in pairs), "segments/s"),
        Measure("served / bare, by the clock", median(s.per_s / b.per_s for b, s in pairs), at_least=0.85),
        Measure("bare, CPU time a segment", median(alone.cpu_ms for alone, _ in pairs), "ms"),
        Measure("served, CPU time a segment", median(served.cpu_ms for _, served in pairs), "ms"),
        Measure("bare / served, CPU time", median(b.cpu_ms / s.cpu_ms for b, s in pairs), at_least=0.85),
        Measure("CPU time of the callers / of the server", median(s.callers_cpu_s / s.cpu_s for _, s in pairs)),
    ]


def waits(sides: Sides, seconds: float, rounds: int) -> list[Measure]:
    """How long searches take: of an idle server, of one that callers keep busy, and where the cores alone are busy."""
    idle: list[float] = []
    busy: list[float] = []
    beside: list[float] = []
    for _ in range(rounds):
        idle += sides.searches(seconds)
        with busy_cores():
            beside += sides.searches(seconds)
        load = sides.uploads(seconds + WARM_UP_S)
        time.sleep(WARM_UP_S)
        busy += sides.searches(seconds)
        load.result()
    (idle_50, idle_99), (busy_50, busy_99), (_, beside_99) = (
        np.quantile(took, (0.5, 0.99)).tolist() for took in (idle, busy, beside)
    )
    return [
        Measure("search, p99, idle", idle_99 * 1e3, "ms"),
        Measure("search, p99, scoring is saturated", busy_99 * 1e3, "ms"),
        Measure("search, p99, saturated / idle", busy_99 / idle_99, at_most=2),
        Measure("search, p99, saturated / only the cores are busy", busy_99 / beside_99),
        Measure("search, median, saturated / idle", busy_50 / idle_50),
    ]


def overloaded(sides: Sides, seconds: float, rounds: int) -> list[Measure]:
    """Five times what is scored, and callers who never wait; each beside callers who find room."""
    measures: list[Measure] = []
    idle_mb = memory_mb(sides.pid)
    for name, times in ((f"{OVERLOAD}x", OVERLOAD), ("back at once", 0)):
        pairs, memory = [], []
        for _ in range(rounds):
            room = sides.uploads(seconds).result()
            load = sides.uploads(seconds, OVERLOAD_CALLERS, times * room.per_s / SEGMENTS)
            while not load.done():
                memory.append(memory_mb(sides.pid))
                time.sleep(0.1)
            pairs.append((room, load.result()))
        measures += rows_of(name, pairs, memory, idle_mb)
    return measures


def rows_of(
    name: str, pairs: Sequence[tuple[Served, Served]], memory: Sequence[float], idle_mb: float
) -> list[Measure]:
    offered = median(SEGMENTS * over.statuses.total() / over.wall_s / room.per_s for room, over in pairs)
    others = sum(over.statuses.total() - over.statuses[200] - over.statuses[503] for _, over in pairs)
    after = median(room.per_s for room, _ in pairs[1:]) / pairs[0][0].per_s
    half = len(memory) // 2
    return [
        Measure(f"{name}: offered / capacity", offered),
        Measure(f"{name}: scored / capacity, by the clock", median(o.per_s / r.per_s for r, o in pairs), at_least=0.9),
        Measure(f"{name}: capacity / scored, CPU time", median(r.cpu_ms / o.cpu_ms for r, o in pairs)),
        Measure(f"{name}: accepted / with room, p99", median(o.p99_s / r.p99_s for r, o in pairs), at_most=2),
        Measure(f"{name}: capacity two seconds after / before", after, at_least=0.9),
        Measure(f"{name}: answers but 200 and 503", others, at_most=0),
        Measure(f"{name}: memory above idle", max(memory) - idle_mb, "MB", at_most=200),
        Measure(f"{name}: memory, later / sooner", max(memory[half:]) / max(memory[:half]), at_most=1.05),
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3, help="at least 2")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds must be at least 2: capacity is compared before and after overload")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name)
        bundle = write_model(root, CLUSTERS, HIDDEN)
        reindex(opened(bundle), write_library(root, 1, 8), IndexDirectory(root / "index"), keep=1000)
        opened(bundle).close()
        sides = Sides(stack, bundle, *stack.enter_context(server(root / "index", bundle, **SERVED)))
        sides.uploads(1.0).result(), sides.bare(1.0), sides.searches(1.0)  # what is made once is made now
        measures = throughput(sides, options.seconds, options.rounds)
        measures += waits(sides, options.seconds, options.rounds)
        measures += overloaded(sides, options.seconds, options.rounds)
    report("Uploads of many callers", measures, options.json)


if __name__ == "__main__":
    main()
