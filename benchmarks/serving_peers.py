"""Claim: uploads are scored faster than behind LitServe, and searches answered faster than in clip-retrieval's manner.

Uploads: `segsearch serve`, and LitServe with the same `model.onnx` of a made-up bag of frames, in two forms
(`other_servers/litserve_scorer.py`). Callers, in a process of their own, send a video each again and again, of
different lengths; answers are compared first. Who is not measured is stopped, as an idle LitServe asks its queue all
the time. CPU time is that of all processes of a server.

Searches: the service over a library of random lists, which writes each answer anew or keeps answers, and a list of
dicts of the same lists (`other_servers/list_of_dicts.py`), our own small imitation of what clip-retrieval's back end
does, on two ordinary servers.

    .venv-peers/bin/python benchmarks/serving_peers.py [--seconds 4] [--rounds 3] [--requests 800] [--json PATH]

LitServe brings uvloop, which it and Starlette run on; ours runs without, as it does where LitServe is not installed.
"""

import io
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from itertools import chain, product
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from other_servers import list_of_dicts
from proc import cpu_seconds
from random_library import write_index
from reindex import write_library, write_model
from report import Measure, arguments, report
from service import Server, answer, connect, request, serve_library, serving, speed
from service_load import Line, Spent

from segsearch.core.bundle import Bundle
from segsearch.core.features import YOUTUBE8M
from segsearch.core.segments import segment_count
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.scoring.machine import core_count
from segsearch.service.scoring.onnx_scorer import OnnxScorer

NEEDED, INSTALL = ("flask", "litserve", "waitress"), "pip install 'segsearch[cpu,peers]'"
NETWORKS = {"2,048/512": (2048, 512), "8,192/1,024": (8192, 1024)}  # clusters and hidden units; the paper's come last
CALLERS, SHORTEST, LONGEST = 16, 100, 300  # frames of a video
BATCH = 64  # segments in a run of ours
WARM_UP_S, TIMEOUT_S = 1.5, 60.0
TOLERANCE = 1e-5  # of a score: a batch of another size adds up in another order
LISTS, SEGMENTS, KEPT = 20, 100_000, 20_000
SHARES = {100: 1.0, 10_000: 0.05}  # by k: of the requests
OURS, ANEW, KEEPING = "ours", "ours, anew", "ours, kept"
SEARCHERS = {
    "Flask on waitress": list_of_dicts.flask_on_waitress, "Starlette on uvicorn": list_of_dicts.starlette_on_uvicorn,
}  # fmt: skip
LITSERVE = Path(__file__).parent / "other_servers/litserve_scorer.py"
LITSERVE_FORMS = {
    "LitServe, a process a core": ("--workers", str(core_count()), "--threads", "1"),
    "LitServe, a thread a core": ("--workers", "1", "--threads", str(core_count())),
}
COMMAND = "import sys; sys.modules['uvloop'] = None; from segsearch.core.cli import main; main()"

Side = tuple[Server, Sequence[bytes]]  # with what it is asked


# Servers of uploads: groups of processes, of which one is stopped while the other is measured


@contextmanager
def group(command: Sequence[str], scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """A program and all that it starts, until the block ends; its number is the group's."""
    environment = {**os.environ, "TMPDIR": str(scratch)}  # LitServe leaves sockets behind where it has no time to end
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGCONT)
                process.send_signal(signal.SIGINT)
                process.wait(10)
            with suppress(ProcessLookupError):  # all have ended
                os.killpg(process.pid, signal.SIGKILL)


def group_cpu_seconds(number: int) -> float:
    """CPU time of the processes of a group."""
    total = 0.0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError, FileNotFoundError):  # it ended meanwhile
            if os.getpgid(int(entry.name)) == number:
                total += cpu_seconds(int(entry.name))
    return total


@contextmanager
def our_scoring(bundle: Path, root: Path) -> Iterator[Server]:
    with OnnxScorer(Bundle.open(bundle)) as scorer:
        reindex(scorer, write_library(root, 1, 2), IndexDirectory(root / "index"), keep=100)
    # A tuning that is looked for while others work would be another one each time.
    tuning = ("--batch", str(BATCH), "--threads", str(core_count()))
    options = ("--index", str(root / "index"), "--bundle", str(bundle), "--port", "0", *tuning)
    with group([sys.executable, "-c", COMMAND, "serve", *options], root) as process:
        assert process.stdout is not None
        yield Server(urlsplit(json.loads(process.stdout.readline())["url"]).port or 0, process.pid)


@contextmanager
def litserve_scoring(bundle: Path, root: Path, form: Sequence[str]) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with group([sys.executable, str(LITSERVE), str(bundle), str(port), *form], root) as process:
        server, deadline = Server(port, process.pid), time.monotonic() + TIMEOUT_S
        while not is_healthy(server):
            if time.monotonic() > deadline or process.poll() is not None:
                raise TimeoutError(f"LitServe did not come up in {TIMEOUT_S:g} s")
            time.sleep(0.1)
        yield server


def is_healthy(server: Server) -> bool:
    try:
        return Line(server.port).ask(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == 200
    except OSError:
        return False


# Their callers


def posted(path: str, media_type: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def our_upload(frames: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, frames)
    return posted("/score", "application/x-npy", out.getvalue())


def litserve_upload(frames: np.ndarray) -> bytes:
    return posted("/predict", "application/octet-stream", frames.tobytes())


def load(server: Server, requests: Sequence[bytes], segments: Sequence[int], seconds: float) -> Spent:
    """A caller for each request, who sends it again and again: what is scored of their segments, after a while."""
    begin = time.monotonic() + WARM_UP_S
    end = begin + seconds

    def call(upload: bytes, count: int) -> int:
        line, scored = Line(server.port), 0
        while time.monotonic() < end:
            if (status := line.ask(upload)) != 200:
                raise ConnectionError(f"an upload was answered with {status}")
            if begin <= time.monotonic() < end:
                scored += count
        return scored

    with ThreadPoolExecutor(len(requests)) as callers:
        calls = callers.map(call, requests, segments)
        time.sleep(max(0.0, begin - time.monotonic()))
        cpu_s = group_cpu_seconds(server.pid)
        time.sleep(max(0.0, end - time.monotonic()))
        cpu_s = group_cpu_seconds(server.pid) - cpu_s
        return Spent(sum(calls), seconds, cpu_s)


def content_of(server: Server, asked: bytes) -> Any:
    with connect(server) as connection:
        connection.sendall(asked)
        return json.loads(answer(connection)[1])


def best_tags(server: Server, upload: bytes) -> list[dict[str, float]]:
    """Of each segment: its best tags with their scores; both sides answer in the same words."""
    segments = content_of(server, upload)["segments"]
    return [{tag["tag"]: tag["score"] for tag in segment["tags"]} for segment in segments]


def check_same_tags(ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]]) -> None:
    """Raises unless scores are the same but for rounding, and so are tags, but for those that rounding moves."""
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(list(our.values()), list(their.values()), rtol=0, atol=TOLERANCE)
        last = min(our.values())
        for tag in our.keys() ^ their.keys():
            assert abs({**our, **their}[tag] - last) <= TOLERANCE, tag
        for tag in our.keys() & their.keys():
            assert abs(our[tag] - their[tag]) <= TOLERANCE, tag


# What is measured


def uploads(name: str, root: Path, options: Any) -> list[Measure]:
    """Videos of many callers, who ask each side in turn."""
    random, bundle = np.random.default_rng(0), write_model(root, *NETWORKS[name])
    lengths = random.integers(SHORTEST, LONGEST, CALLERS, endpoint=True).tolist()
    videos = [random.integers(0, 256, (length, YOUTUBE8M.size), np.uint8) for length in lengths]
    segments = [segment_count(length) for length in lengths]
    with ExitStack() as stack:
        callers = stack.enter_context(ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")))
        ours = stack.enter_context(our_scoring(bundle, root))
        sides: dict[str, Side] = {OURS: (ours, [our_upload(video) for video in videos])}
        for peer, form in LITSERVE_FORMS.items():
            theirs = stack.enter_context(litserve_scoring(bundle, root, form))
            sides[peer] = theirs, [litserve_upload(video) for video in videos]
            check_same_tags(best_tags(ours, sides[OURS][1][0]), best_tags(theirs, sides[peer][1][0]))
            os.killpg(theirs.pid, signal.SIGSTOP)
        os.killpg(ours.pid, signal.SIGSTOP)

        def asked(side: Side) -> Spent:
            server, requests = side
            os.killpg(server.pid, signal.SIGCONT)
            spent = callers.submit(load, server, requests, segments, options.seconds).result()
            os.killpg(server.pid, signal.SIGSTOP)
            return spent

        return compared(name, "segment", [OURS], in_turn(sides, asked, options.rounds))


def searches(root: Path, options: Any) -> list[Measure]:
    write_index(root, LISTS, SEGMENTS, KEPT)
    tags, measures = [f"tag {number}" for number in range(LISTS)], []
    with ExitStack() as stack:
        ours = {ANEW: stack.enter_context(serving(serve_ours, root, LISTS, 0))}
        ours[KEEPING] = stack.enter_context(serving(serve_ours, root, LISTS, 64 << 20))
        theirs = {name: stack.enter_context(serving(work, root)) for name, work in SEARCHERS.items()}
        for k, share in SHARES.items():
            ask_ours = [request(urlencode({"tag": tag, "k": k})) for tag in tags]
            ask_theirs = [posted(list_of_dicts.PATH, "application/json", list_of_dicts.asked(tag, k)) for tag in tags]
            for server in theirs.values():
                check_same_hits(content_of(ours[ANEW], ask_ours[0]), content_of(server, ask_theirs[0]), k)
            sides: dict[str, Side] = {name: (server, ask_ours) for name, server in ours.items()}
            sides |= {name: (server, ask_theirs) for name, server in theirs.items()}
            count = round(share * options.requests)
            rounds = in_turn(sides, lambda side, count=count: speed(*side, count), options.rounds + 1)
            measures += compared(f"k = {k:,}", "answer", list(ours), rounds[1:])  # the first makes what is made once
    return measures


def serve_ours(*given: Any) -> None:
    sys.modules["uvloop"] = None  # type: ignore[assignment] - as where it is not installed
    serve_library(*given)


def check_same_hits(ours: Any, theirs: Any, k: int) -> None:
    """Raises unless both have the same k segments in the same order, with the same scores."""
    hits = ours["segments"]
    assert len(hits) == k
    assert [(hit["video"], hit["start_s"]) for hit in hits] == [(hit["video"], hit["start_s"]) for hit in theirs]
    scores = [hit["score"] for hit in hits]
    np.testing.assert_allclose(scores, [hit["similarity"] for hit in theirs], rtol=1e-6)


def in_turn(sides: dict[str, Side], ask: Callable[[Side], Any], rounds: int) -> list[dict[str, Any]]:
    """What each side took in each round; each round begins with another side."""
    names, all_took = list(sides), []
    for turn in range(rounds):
        first = turn % len(names)
        took = {name: ask(sides[name]) for name in names[first:] + names[:first]}
        all_took.append({name: took[name] for name in names})
    return all_took


def compared(what: str, one: str, ours: Sequence[str], rounds: Sequence[dict[str, Any]]) -> list[Measure]:
    """What each side did, and each of ours beside each of theirs. one: what is counted."""
    speeds = [
        (
            Measure(f"{what}, {name}", median(took[name].per_s for took in rounds), f"{one}s/s"),
            Measure(f"{what}, {name}, CPU time of one {one}", median(took[name].cpu_ms for took in rounds), "ms"),
        )
        for name in rounds[0]
    ]
    theirs = [name for name in rounds[0] if name not in ours]
    ratios = [
        Measure(f"{what}, {our} / {their}", median(took[our].per_s / took[their].per_s for took in rounds), at_least=1)
        for our, their in product(ours, theirs)
    ]
    return [*ratios, *chain.from_iterable(speeds)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=800)
    options = parser.parse_args()
    title = "Uploads and searches beside other servers"
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        absent = [Measure(f"{name} is missing: {INSTALL}", 0, "found", at_least=1) for name in missing]
        report(title, absent, options.json)
        return
    measures = []
    for part in (*(partial(uploads, name) for name in NETWORKS), searches):
        with tempfile.TemporaryDirectory() as folder:
            measures += part(Path(folder), options)
    report(title, measures, options.json)


if __name__ == "__main__":
    main()
