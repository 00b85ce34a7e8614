"""Many callers, one model: who waits how long, who is refused, who is forgotten; and what becomes of searches."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from segsearch.core.errors import DeadlinePassed, QueueFull
from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.answers import ScoreAnswer
from segsearch.service.scoring.batching_scorer import BatchingScorer
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.scoring.scorer import Caller
from tests.gated_scorer import PATIENCE_S, POISON, GatedScorer
from tests.hostile_bodies import NPY, npy_of
from tests.library_fixtures import serving
from tests.rest_bodies import problem
from tests.tiny_model import SPEC

ANNA, BERT = Caller("anna"), Caller("bert")


def video(name: int, frame_count: int = 20) -> np.ndarray:
    """Frames (T, F) uint8 that a gated scorer knows again by their first code."""
    frames = np.zeros((frame_count, SPEC.size), np.uint8)
    frames[:, 0] = name
    return frames


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def gated(scorer) -> GatedScorer:
    return GatedScorer(scorer, batch=4)


@pytest.fixture
def queued(gated) -> Iterator[BatchingScorer]:
    """One thread, a batch of one video (four segments), room for 200 frames."""
    with BatchingScorer(gated, queue_frames=200, batch_wait_ms=0) as opened:
        yield opened
        gated.open()


def test_a_client_with_many_videos_does_not_keep_another_waiting(queued, gated):
    waiting = [queued.submit(video(0), ANNA)]
    gated.wait_for_run()  # the others come while it runs
    waiting += [queued.submit(video(row), ANNA) for row in (1, 2, 3, 4)]
    waiting.append(queued.submit(video(100), BERT))
    gated.open()
    for scores in waiting:
        scores.result(PATIENCE_S)
    assert gated.ran == [[0], [1], [100], [2], [3], [4]]


def test_one_client_fills_half_of_the_queue_and_another_finds_room(queued, gated):
    taken = [queued.submit(video(row), ANNA) for row in range(5)]
    with pytest.raises(QueueFull, match="100 frames wait to be scored, of at most 200") as refused:
        queued.submit(video(9), ANNA)
    assert refused.value.retry_after_s >= 1
    taken.append(queued.submit(video(100), BERT))
    gated.open()
    assert [len(scores.result(PATIENCE_S).starts) for scores in taken] == [4] * 6
    until(lambda: queued.metrics.frames._value.get() == 0)
    assert len(queued.score(video(9), ANNA).starts) == 4


def test_an_empty_queue_takes_a_video_longer_than_itself(queued, gated):
    gated.open()
    assert len(queued.score(video(1, 1_000), ANNA).starts) == 200


def test_who_leaves_makes_room_at_once_and_is_never_scored(queued, gated):
    first = queued.submit(video(0), ANNA)
    gated.wait_for_run()
    left = [queued.submit(video(row), ANNA) for row in (1, 2, 3, 4)]
    assert all(scores.cancel() for scores in left)
    stays = [queued.submit(video(row), ANNA) for row in (5, 6, 7, 8)]
    gated.open()
    for scores in (first, *stays):
        scores.result(PATIENCE_S)
    assert gated.ran == [[0], [5], [6], [7], [8]]


def test_a_video_whose_deadline_passes_while_it_waits_is_not_scored(queued, gated):
    first = queued.submit(video(0), ANNA)
    gated.wait_for_run()
    with pytest.raises(DeadlinePassed):
        queued.score(video(1), Caller("anna", time.monotonic() + 0.05))
    late = queued.submit(video(2), Caller("anna", time.monotonic()))
    gated.open()
    with pytest.raises(DeadlinePassed):
        late.result(PATIENCE_S)
    first.result(PATIENCE_S)
    assert gated.ran == [[0]]


def test_a_video_that_cannot_be_scored_fails_alone(scorer):
    gated = GatedScorer(scorer, batch=100)
    gated.open()
    with BatchingScorer(gated, batch_wait_ms=500) as queued:
        waiting = [queued.submit(video(row), ANNA) for row in (1, POISON, 2)]
        for place in (0, 2):
            wanted = scorer.score(video(1 + place // 2)).probabilities
            np.testing.assert_allclose(waiting[place].result(PATIENCE_S).probabilities, wanted, atol=1e-6)
        with pytest.raises(RuntimeError, match="the model fails"):
            waiting[1].result(PATIENCE_S)
        assert len(queued.score(video(3), ANNA).starts) == 4
    assert gated.ran[0] == [1, POISON, 2]


def test_videos_that_come_together_go_through_the_model_together(scorer):
    gated = GatedScorer(scorer, batch=8)
    gated.open()
    with BatchingScorer(gated, batch_wait_ms=10_000) as queued:
        for scores in [queued.submit(video(row), ANNA) for row in (1, 2)]:
            scores.result(PATIENCE_S)  # a full batch is not kept waiting
    assert gated.ran == [[1, 2]]


def test_a_long_video_lets_others_in_between(scorer):
    gated = GatedScorer(scorer, batch=4)
    with BatchingScorer(gated, batch_wait_ms=0) as queued:
        long = queued.submit(video(1, 5 * 256 * 3), ANNA)
        gated.wait_for_run()
        short = queued.submit(video(2), BERT)
        gated.open()
        wanted = scorer.score(video(1, 5 * 256 * 3)).probabilities
        np.testing.assert_allclose(long.result(PATIENCE_S).probabilities, wanted, atol=1e-6)
        short.result(PATIENCE_S)
    assert gated.ran.index([2]) < len(gated.ran) - 1


def test_threads_without_work_share_one_video(scorer):
    """Its two halves meet: neither run ends before the other has begun."""
    gated = GatedScorer(scorer, batch=64, threads=2)
    with BatchingScorer(gated, batch_wait_ms=0) as queued:
        until(lambda: queued._idle == 2)
        scores = queued.submit(video(1, 5 * 40), ANNA)
        for _ in range(2):
            gated.wait_for_run()
        gated.open()
        assert len(scores.result(PATIENCE_S).starts) == 40


def test_closing_scores_what_was_taken_in(queued, gated):
    waiting = [queued.submit(video(row), ANNA) for row in range(5)]
    closing = threading.Thread(target=queued.close)
    closing.start()
    gated.open()
    closing.join(PATIENCE_S)
    assert all(len(scores.result(0).starts) == 4 for scores in waiting)
    assert gated.closed
    with pytest.raises(RuntimeError, match="closed"):
        queued.submit(video(9), ANNA)


# Over HTTP


@pytest.fixture
def client(queued, served_library):
    with serving(SegmentLibrary(queued, served_library.index)) as opened:
        yield opened
        queued._scorer.open()  # or the server would wait for its last requests


def send(client, frames: np.ndarray):
    return client.post("/score", content=npy_of(frames), headers={"content-type": NPY})


def value(client, name: str, **labels: str) -> float:
    """A metric's value; 0 where it was never counted."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [s for family in families for s in family.samples if s.name == name and s.labels == labels]
    return samples[0].value if samples else 0.0


def in_background(work: Callable[[], object], times: int) -> tuple[list[threading.Thread], list]:
    answers: list = []
    threads = [threading.Thread(target=lambda: answers.append(work())) for _ in range(times)]
    for thread in threads:
        thread.start()
    return threads, answers


def test_an_answer_through_the_queue_is_that_of_the_plain_scorer(tiny_bundle, served_library, videos):
    with BatchingScorer(OnnxScorer(tiny_bundle, batch=8, threads=2)) as queued:
        library = SegmentLibrary(queued, served_library.index)
        with serving(library) as fast, serving(served_library) as plain:
            for each in videos[:5]:
                found, wanted = (ScoreAnswer.model_validate_json(send(c, each.frames).content) for c in (fast, plain))
                assert found.model_dump(exclude={"segments"}) == wanted.model_dump(exclude={"segments"})
                for one, other in zip(found.segments, wanted.segments, strict=True):
                    assert [tag.tag for tag in one.tags] == [tag.tag for tag in other.tags]
                    scores = [[tag.score for tag in segment.tags] for segment in (one, other)]
                    np.testing.assert_allclose(*scores, atol=1e-6)


def test_a_full_queue_is_a_problem_that_says_when_to_come_back_and_searches_go_on(client, gated):
    threads, answers = in_background(lambda: send(client, video(1)), 5)
    until(lambda: value(client, "segsearch_queue_videos") == 5)
    refused = send(client, video(1))
    assert "frames wait to be scored" in problem(refused, 503, "queue-full")
    assert int(refused.headers["retry-after"]) >= 1
    assert client.get("/search", params={"tag": "Rain"}).status_code == 200
    gated.open()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [answer.status_code for answer in answers] == [200] * 5
    until(lambda: value(client, "segsearch_queue_frames") == 0)
    assert value(client, "segsearch_queue_dropped_total", reason="full") == 1
    assert value(client, "segsearch_batch_segments_sum") == 20
    assert value(client, "segsearch_queue_wait_seconds_count") == 5


def test_a_caller_is_not_somebody_else_for_naming_another_address(client, gated):
    threads, _ = in_background(lambda: send(client, video(1)), 5)
    until(lambda: value(client, "segsearch_queue_videos") == 5)
    claimed = {"content-type": NPY, "x-forwarded-for": "203.0.113.9", "forwarded": "for=203.0.113.9"}
    problem(client.post("/score", content=npy_of(video(1)), headers=claimed), 503, "queue-full")
    gated.open()
    for thread in threads:
        thread.join(PATIENCE_S)


def test_searches_find_a_thread_however_many_uploads_wait(gated, served_library):
    """More of them than the server has worker threads."""
    library = SegmentLibrary(queued := BatchingScorer(gated, batch_wait_ms=0), served_library.index)
    with queued, serving(library) as client:
        threads, answers = in_background(lambda: send(client, video(1)), 60)
        until(lambda: value(client, "segsearch_queue_videos") == 60)
        assert client.get("/search", params={"tag": "Rain"}).status_code == 200
        gated.open()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert [answer.status_code for answer in answers] == [200] * 60


def test_a_client_that_leaves_takes_its_video_along(client, gated):
    threads, _ = in_background(lambda: send(client, video(1)), 1)
    gated.wait_for_run()
    body = npy_of(video(2))
    head = f"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {NPY}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=PATIENCE_S) as raw:
        raw.sendall(head.encode() + body)
        until(lambda: value(client, "segsearch_queue_videos") == 2)
    until(lambda: value(client, "segsearch_queue_videos") == 1)
    assert value(client, "segsearch_queue_dropped_total", reason="left") == 1
    gated.open()
    threads[0].join(PATIENCE_S)
    assert gated.ran == [[1]]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no niceness of their own")
def test_the_system_prefers_every_other_thread_to_those_that_score_and_read_uploads(client, gated):
    gated.open()
    assert send(client, video(0)).status_code == 200
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    for kind in ("scoring-", "score_"):
        threads = [thread.native_id for thread in threading.enumerate() if thread.name.startswith(kind)]
        assert threads
        assert all(os.getpriority(os.PRIO_PROCESS, number) > own for number in threads)
        assert {os.sched_getscheduler(number) for number in threads} == {os.SCHED_BATCH}
