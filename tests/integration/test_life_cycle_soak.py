"""A server over its life, a process of its own under load: it switches generations, loads bundles, and is killed.

No request fails, no answer is mixed, memory stays flat, and nothing that was acknowledged is lost.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from segsearch.core.bundle import Bundle
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from tests.hostile_bodies import npy_of
from tests.integration.test_library_switching import wait_until
from tests.integration.test_serving_commands import TIMEOUT_S, command
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_model import NAMES as TAGS
from tests.tiny_model import SPEC, write_tiny_bundle
from tests.traffic import TOLERANCE, VIDEOS, Rest, Rpc, Traffic, Truth, frames_of, segments_of, what_bundles_say

NAMES = ("one", "two")  # of bundles, of other weights; generation 1 is scored by the first, 2 by the second
LEAST_S = 0.5  # of a round of the soak
MODEL_BYTES = 8 << 20  # so that one that is left behind shows: a model as tiny as the others would not
FLAT_BYTES = 3 * MODEL_BYTES  # that a process may grow by: one more of them may be on its way in, or out
KILLS, UPLOADERS = 5, 4
RELOADS, REFUSALS = 200, 100
ABORTED, AT_ONCE = 1_000, 20
SETTLED, SHARE = 20, 0.02  # after so many loads memory grows by no more than this


@dataclass(frozen=True)
class Place:
    """An index of two generations, and what it must answer."""

    root: Path
    index: IndexDirectory
    digests: dict[str, str]  # of bundles, by their names
    truth: Truth


@pytest.fixture
def place(tmp_path) -> Place:
    index, generations, scorers = IndexDirectory(tmp_path / "index"), {}, []
    for number, name in enumerate(NAMES, 1):
        write_tiny_bundle(tmp_path / "bundles" / name, seed=6 + number, ballast_rows=MODEL_BYTES // (4 * len(TAGS)))
        scorer = OnnxScorer(Bundle.open(tmp_path / "bundles" / name / "tiny"), batch=8, threads=2)
        videos = make_videos(6, seed=number, prefix=name)
        reindex(scorer, write_shards(tmp_path / name, videos, 1), index, keep=1_000)
        generations[number] = scorer.bundle.digest, segments_of(scorer, videos)
        scorers.append(scorer)
    truth = Truth(generations, what_bundles_say(scorers))
    for scorer in scorers:
        scorer.close()
    return Place(tmp_path, index, dict(zip(NAMES, truth.uploads, strict=True)), truth)


@contextmanager
def running(place: Place, *options: object) -> Iterator[tuple[dict[str, str], list[int]]]:
    """What a server says of itself, and its processes that answer. All of them are gone when the block ends."""
    bundles = place.root / "bundles"
    arguments = command(
        "serve", "--index", place.index.root, "--bundle", bundles / NAMES[0] / "tiny", "--bundles", bundles,
        "--port", 0, "--grpc-port", 0, "--batch", 8, *options,
    )  # fmt: skip
    with (
        (place.root / "log").open("a") as log,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            line = process.stdout.readline()
            assert line, (place.root / "log").read_text()
            yield json.loads(line), children_of(process.pid) or [process.pid]
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "switches", "loads"), [(1, 50, 20), (2, 15, 6)])
def test_switches_and_reloads_under_load_fail_no_request_mix_no_answer_and_leak_nothing(
    place, workers, switches, loads
):
    """Searches and uploads over both edges; memory after a fifth of it beside memory at its end."""
    loaded, serving, took_s = 0, 1, []
    place.index.activate(serving)
    with (
        running(place, "--workers", workers) as (told, processes),
        httpx.Client(base_url=told["url"], timeout=TIMEOUT_S) as admin,
        Traffic(told["url"], told["grpc"], place.truth) as traffic,
    ):
        for number in range(switches):
            begun_s = time.monotonic()
            serving = 3 - serving
            admin.post(f"/generations/{serving}:activate").raise_for_status()
            if loads * (number + 1) // switches > loaded:
                loaded += 1
                name = NAMES[loaded % 2]
                answer = admin.post("/models:load", json={"path": f"{name}/tiny"}).raise_for_status().json()
                assert answer["bundle"]["digest"] == place.digests[name]
            wait_until(lambda serving=serving: traffic.seen_by_all(serving) or bool(traffic.wrong))
            took_s.append(time.monotonic() - begun_s)
            time.sleep(max(0.0, begun_s + LEAST_S - time.monotonic()))
            if number == switches // 5:
                before = [resident_bytes(pid) for pid in processes]
        grown = [resident_bytes(pid) - size for pid, size in zip(processes, before, strict=True)]
    print(f"{workers} workers, {switches} switches, {loaded} reloads; {traffic.told()}; grown by {grown} of {before}")
    print(f"until all saw another generation: {np.median(took_s):.2f} s, {max(took_s):.2f} at most")
    assert traffic.wrong == []
    assert set(traffic.scored) == set(place.digests.values())
    assert len(processes) == workers
    assert loaded == loads
    assert max(grown) <= FLAT_BYTES


@pytest.mark.slow
def test_hundreds_of_reloads_and_of_refused_ones_leave_nothing_in_memory(place):
    """Medians of twenty loads each, as one model more may be on its way out."""
    damaged = place.root / "bundles" / "damaged"
    shutil.copytree(place.root / "bundles" / NAMES[0], damaged)
    model = next(damaged.rglob("*.onnx"))
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    with (
        running(place) as (told, (process,)),
        httpx.Client(base_url=told["url"], timeout=TIMEOUT_S) as admin,
    ):

        def load(name: str) -> int:
            """Its status."""
            return admin.post("/models:load", json={"path": f"{name}/tiny"}).status_code

        held = []
        for names, times, status in ((NAMES[::-1], RELOADS, 200), (["damaged"], REFUSALS, 422)):
            for number in range(times):
                assert load(names[number % len(names)]) == status
                held.append(resident_bytes(process))
        assert admin.get("/search", params={"tag": TAGS[0]}).status_code == 200
    medians = [float(np.median(held[at : at + SETTLED])) for at in (SETTLED, RELOADS - SETTLED, len(held) - SETTLED)]
    print(f"{RELOADS} loads, {REFUSALS} refused: {medians} bytes held")
    assert max(medians) <= (1 + SHARE) * medians[0]


@pytest.mark.slow
def test_a_thousand_uploads_that_break_off_leave_nothing(place):
    """Over HTTP, after the head, half of the body, or all of it but a byte."""
    body = npy_of(np.zeros((10_000, SPEC.size), np.uint8))
    with running(place) as (told, (process,)), httpx.Client(base_url=told["url"], timeout=TIMEOUT_S) as client:

        def abort(number: int) -> None:
            sent = body[: (0, len(body) // 2, len(body) - 1)[number % 3]]
            head = (
                f"POST /score?video_id=half-{number}&index=true HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Content-Type: application/x-npy\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            with socket.create_connection((client.base_url.host, client.base_url.port or 0), TIMEOUT_S) as raw:
                raw.sendall(head.encode() + sent)

        def open_files() -> int:
            return len(list(Path(f"/proc/{process}/fd").iterdir()))

        def aborted() -> tuple[int, set[Path]]:
            """Bytes of memory, and the files of the index, once so many more are over."""
            for _ in range(ABORTED // AT_ONCE):
                for number in range(AT_ONCE):
                    abort(number)
                wait_until(lambda: open_files() <= idle)
            return resident_bytes(process), {path for path in place.index.root.rglob("*") if path.is_file()}

        client.post("/score", content=body, headers={"content-type": "application/x-npy"}).raise_for_status()
        idle = open_files()
        before, after = aborted(), aborted()  # whatever memory they take once is taken by the first ones
        print(f"{ABORTED} aborted: {before[0]} bytes before, {after[0]} after")
        assert client.get("/videos/half-2", params={"tag": TAGS[0]}).status_code == 404
        assert "segsearch_live_segments 0.0" in client.get("/metrics").text
        assert after[0] <= (1 + SHARE) * before[0]
        assert after[1] == before[1]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_uploads_that_were_acknowledged_are_there_after_kill_9(place, workers):
    """Over REST and gRPC, at random moments; what was not acknowledged is there whole or not at all."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance, acknowledged, tried = random.Random(seed), dict[str, int](), dict[str, int]()
    place.index.activate(1)
    for kill in range(KILLS):
        with running(place, "--workers", workers) as (told, processes):
            check(place, told["url"], acknowledged, tried)
            with uploading(told, f"u{workers}-{kill}", acknowledged, tried):
                time.sleep(chance.uniform(0.1, 1.5))
                for pid in chance.sample(processes, len(processes)):
                    os.kill(pid, signal.SIGKILL)
    with running(place, "--workers", workers) as (told, _):
        check(place, told["url"], acknowledged, tried)
    print(f"{KILLS} kills: {len(acknowledged)} of {len(tried)} uploads were acknowledged")
    assert len(acknowledged) >= KILLS


@contextmanager
def uploading(told: dict[str, str], name: str, acknowledged: dict[str, int], tried: dict[str, int]) -> Iterator[None]:
    """Uploads until the server is gone."""

    def upload(who: int) -> None:
        with closing(Rest(told["url"]) if who % 2 else Rpc(told["grpc"])) as edge, suppress(Exception):
            for number in range(1_000_000):
                video, video_id = (number + who) % VIDEOS, f"{name}-{who}-{number}"
                tried[video_id] = video
                edge.upload(video_id, frames_of(video))
                acknowledged[video_id] = video

    threads = [threading.Thread(target=upload, args=(who,)) for who in range(UPLOADERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def check(place: Place, url: str, acknowledged: dict[str, int], tried: dict[str, int]) -> None:
    """Every upload is there that was acknowledged, and each that is there is whole."""
    with closing(Rest(url)) as edge:
        page = edge.search(k=100_000)
    found: dict[str, dict[int, float]] = {}
    for video_id, start, score in page.hits:
        found.setdefault(video_id, {})[start] = score
    wanted = place.truth.uploads[place.digests["one"]]
    assert acknowledged.keys() <= found.keys()
    for video_id in tried.keys() & found.keys():
        scores = [score for _, score in sorted(found[video_id].items())]
        assert scores == pytest.approx(wanted[tried[video_id]], abs=TOLERANCE)
