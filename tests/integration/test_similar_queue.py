"""`Similar` of what is scored first: frames, and segments that were uploaded since the last reindex. Who waits for them
holds no thread that searches need, and who leaves is forgotten, at both edges.
"""

import socket
from collections.abc import Iterator

import httpx
import pytest

from segsearch.core.score_codes import encode_probabilities
from segsearch.service.index.live.store import LiveStore
from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.batching_scorer import BatchingScorer
from segsearch.v1 import search_pb2 as pb
from tests.gated_scorer import PATIENCE_S, GatedScorer
from tests.hostile_bodies import NPY
from tests.integration.test_micro_batching import in_background, send, until, value, video
from tests.library_fixtures import serving
from tests.rest_bodies import problem
from tests.rpc_serving import stub_of
from tests.tiny_model import SPEC

UPLOAD = video(7)  # four segments
THREADS = 40  # that the server has for searches


@pytest.fixture
def gated(scorer) -> GatedScorer:
    return GatedScorer(scorer, batch=4)


@pytest.fixture
def library(gated, scorer, served_library, tmp_path) -> Iterator[SegmentLibrary]:
    """Its model runs when a test lets it; the video `up` came after the reindex."""
    with (
        LiveStore.open(tmp_path / "live", SPEC.space) as store,
        BatchingScorer(gated, queue_frames=3_000, batch_wait_ms=0) as queued,
    ):
        store.put("up", UPLOAD, {scorer.bundle.digest: encode_probabilities(scorer.score(UPLOAD).probabilities)})
        yield SegmentLibrary(queued, served_library.index, store)
        gated.open()


@pytest.fixture
def client(library, gated) -> Iterator[httpx.Client]:
    with serving(library) as opened:
        yield opened
        gated.open()  # or the server would wait for its last requests


def ask(client: httpx.Client, video_id: str = "up") -> httpx.Response:
    return client.post("/similar", json={"video_id": video_id, "start_s": 5, "k": 3})


def head(kind: str, length: int) -> bytes:
    lines = ("POST /similar HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}", f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def test_searches_find_a_thread_however_many_wait_for_neighbours_of_uploads(client, gated):
    threads, answers = in_background(lambda: ask(client), THREADS + 10)
    until(lambda: value(client, "segsearch_queue_videos") == THREADS + 10)
    assert client.get("/search", params={"tag": "Rain"}).status_code == 200
    assert ask(client, "v004").status_code == 200
    gated.open()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert value(client, "segsearch_scored_segments_total") == 4 * (THREADS + 10)


def test_who_leaves_before_an_upload_is_scored_takes_it_along(client, gated):
    threads, _ = in_background(lambda: send(client, video(1)), 1)
    gated.wait_for_run()
    body = b'{"video_id": "up", "start_s": 0}'
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=PATIENCE_S) as raw:
        raw.sendall(head("application/json", len(body)) + body)
        until(lambda: value(client, "segsearch_queue_videos") == 2)
    until(lambda: value(client, "segsearch_queue_videos") == 1)
    gated.open()
    threads[0].join(PATIENCE_S)
    assert gated.ran == [[1]]


@pytest.fixture
def full(library) -> None:
    """A queue without room."""
    library.begin(video(1, 4_000))


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(("kind", "length"), [(NPY, 1_000), ("application/json", 5_000)])
def test_frames_that_find_no_room_are_refused_before_they_are_sent(client, kind, length):
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=PATIENCE_S) as raw:
        raw.sendall(head(kind, length))
        assert raw.recv(12) == b"HTTP/1.1 503"


@pytest.mark.usefixtures("full")
def test_a_full_queue_refuses_uploads_that_are_named_and_nothing_that_is_kept(client):
    problem(ask(client), 503, "queue-full")
    assert ask(client, "v004").status_code == 200


SEGMENT = pb.SimilarRequest(segment=pb.Segment(video="up", start_s=5), k=3)


def test_over_grpc_an_upload_gets_its_neighbours(library, gated, client):
    gated.open()
    with stub_of(library) as stub:
        found = stub.Similar(SEGMENT, timeout=PATIENCE_S)
    wanted = ask(client).json()["segments"]
    assert [(hit.video, hit.start_s) for hit in found.segments] == [(hit["video"], hit["start_s"]) for hit in wanted]


def test_over_grpc_who_leaves_takes_it_along_too(library, gated, client):
    first = library.begin(video(1))
    gated.wait_for_run()
    with stub_of(library) as stub:
        call = stub.Similar.future(SEGMENT)
        until(lambda: value(client, "segsearch_queue_videos") == 2)
        call.cancel()
        until(lambda: value(client, "segsearch_queue_videos") == 1)
        gated.open()
        first.scores.result(PATIENCE_S)
    assert gated.ran == [[1]]
