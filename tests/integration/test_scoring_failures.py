"""A model that cannot be run: who hears of it and what they hear, what is tried again, what readiness tells."""

import json
import logging
import time
from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from segsearch.core.errors import DeadlinePassed, ScoringFailed
from segsearch.inference import open_inference_pb2 as inference
from segsearch.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from segsearch.service.index.format import LIVE
from segsearch.service.index.live.store import LiveStore
from segsearch.service.library import SegmentLibrary
from segsearch.service.rpc.inference import INFERENCE_SERVICE
from segsearch.service.rpc.servicer import SERVICE
from segsearch.service.scoring.batching_scorer import BatchingScorer
from segsearch.service.scoring.device_runs import DeviceRuns
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.scoring.scorer import Caller
from segsearch.service.scoring.scorer_in_use import FAILURES as IN_A_ROW
from segsearch.service.scoring.scorer_in_use import ScorerInUse
from segsearch.v1 import search_pb2 as pb
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.failing_runs import BUGS, FAILURES, SECRET, FailingRuns, failing_runs_of, terminate
from tests.gated_scorer import PATIENCE_S, POISON, GatedScorer
from tests.inference_requests import PATH, document, request_of
from tests.integration.test_micro_batching import until, video
from tests.library_fixtures import serving
from tests.rest_bodies import FRAMES, NPY, json_of, npy_of, problem
from tests.rpc_serving import TIMEOUT_S, details, failure, info, rpc_serving

READY = ("/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny/versions/1/ready")


@pytest.fixture
def plain(tiny_bundle) -> OnnxScorer:
    """On the processor, with one session and one thread; whoever queues before it closes it."""
    return OnnxScorer(tiny_bundle, batch=100, threads=1, provider="cpu")


@pytest.fixture
def runs(plain) -> FailingRuns:
    return failing_runs_of(plain)


@pytest.fixture
def queued(plain) -> Iterator[BatchingScorer]:
    with BatchingScorer(plain, batch_wait_ms=0) as opened:
        yield opened


@pytest.fixture
def failing(queued, served_library) -> SegmentLibrary:
    return SegmentLibrary(queued, served_library.index)


def events(caplog, *names: str) -> list[dict]:
    told = [json.loads(record.message) for record in caplog.records if record.name == "segsearch.service"]
    return [event for event in told if event["event"] in names]


def is_poison(frames: np.ndarray) -> bool:
    return bool((frames[..., 0] == POISON).any())


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_model_that_cannot_be_run_is_a_503_that_says_when_to_come_back_and_no_more(failing, runs, error, caplog):
    runs.error, runs.fails = error, lambda _: True
    with serving(failing) as client:
        answer = client.post("/score", json=json_of())
    problem(answer, 503, "scoring-failed")
    assert int(answer.headers["retry-after"]) >= 1
    assert SECRET not in answer.text
    assert type(error).__name__ not in answer.text
    assert runs.made == 2
    (told,) = events(caplog, "request_failed")
    assert told["incident"] == answer.json()["incident"]
    assert f"{type(error).__name__} {error}" in told["reason"]
    assert "trace" not in told  # that is for bugs


def test_over_grpc_it_is_unavailable_and_says_when_to_come_back(failing, runs):
    runs.fails = lambda _: True
    frames = FRAMES.tobytes()
    with rpc_serving(failing) as channel:
        for error in (
            failure(SegmentSearchStub(channel).Score, pb.ScoreRequest(frames=frames)),
            failure(SegmentSearchStub(channel).ScoreStream, iter([pb.ScoreRequest(frames=frames)])),
            failure(GRPCInferenceServiceStub(channel).ModelInfer, request_of()),
        ):
            assert (error.code(), info(error).reason) == (StatusCode.UNAVAILABLE, "scoring-failed")
            assert details(error, RetryInfo)[0].retry_delay.seconds >= 1
            assert SECRET not in str(error)
            assert info(error).metadata["incident"]


def test_over_the_open_inference_protocol_it_is_the_same(failing, runs):
    runs.fails = lambda _: True
    with serving(failing) as client:
        answer = client.post(PATH, json=document())
    assert answer.json()["error"] == problem(answer, 503, "scoring-failed")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("error", BUGS, ids=lambda error: type(error).__name__)
def test_a_bug_stays_a_bare_500_and_is_not_tried_again(failing, runs, error):
    runs.error, runs.fails = error, lambda _: True
    with serving(failing) as client:
        answer = client.post("/score", json=json_of())
    problem(answer, 500, "internal")
    assert "retry-after" not in answer.headers
    assert SECRET not in answer.text
    assert runs.made == 1


def test_a_run_that_fails_once_costs_its_caller_nothing(failing, runs, scorer, caplog):
    runs.fail_next(1)
    with serving(failing) as client:
        answer = client.post("/score", content=npy_of(FRAMES), headers=NPY)
        with serving(SegmentLibrary(scorer, failing.index)) as sound:
            wanted = sound.post("/score", content=npy_of(FRAMES), headers=NPY)
    assert (answer.status_code, answer.json()) == (200, wanted.json())
    (told,) = events(caplog, "run_failed", "request_failed")
    assert (told["event"], told["videos"], told["provider"]) == ("run_failed", 1, "CPUExecutionProvider")
    assert SECRET in told["reason"]


def test_who_shares_a_batch_with_a_video_that_fails_is_scored(plain, runs, scorer):
    runs.fails = is_poison
    sent = (1, POISON, 2)
    with BatchingScorer(plain, batch_wait_ms=500) as queued:
        waiting = [queued.submit(video(first)) for first in sent]
        for first, scores in zip(sent, waiting, strict=True):
            if first == POISON:
                with pytest.raises(ScoringFailed, match="CUDA failure 999"):
                    scores.result(PATIENCE_S)
            else:
                found = scores.result(PATIENCE_S).probabilities
                np.testing.assert_allclose(found, scorer.score(video(first)).probabilities, atol=1e-6)
    assert runs.made == 1 + 1 + 2 + 1  # together, then each alone: the one that fails once more


def test_each_video_of_a_split_batch_is_tried_once_more(plain, runs):
    runs.fail_next(2)  # together, and the first one alone
    with BatchingScorer(plain, batch_wait_ms=500) as queued:
        for scores in [queued.submit(video(first)) for first in (1, 2)]:
            assert len(scores.result(PATIENCE_S).starts) == 4
    assert runs.made == 4


def test_an_upload_that_was_to_be_kept_is_not_there_until_it_is_scored(queued, runs, index):
    space = queued.bundle.manifest.features.space
    with LiveStore.open(index.root / LIVE, space) as store:
        runs.fail_next(2)
        with serving(SegmentLibrary(queued, index, store)) as client:
            problem(client.post("/score?index=true", json=json_of()), 503, "scoring-failed")
            assert client.get("/videos/up?tag=Rain").status_code == 404
            assert client.post("/score?index=true", json=json_of()).status_code == 200
            assert client.get("/videos/up?tag=Rain").status_code == 200


def test_runs_on_a_device_that_fail_are_told_as_the_plain_ones(plain, scorer):
    """ONNX Runtime itself fails here: its plain runs and bound ones raise different types."""
    session, frames = plain.model._session, video(1)
    options = session._options
    for runs in (
        session._runs[0],
        DeviceRuns(onnxruntime, session._runs[0]._session, options, session.signature, "cpu"),
    ):
        session._runs = [runs]
        terminate(plain, fails=True)
        with pytest.raises(ScoringFailed, match="terminate flag"):
            plain.score(frames)
        terminate(plain, fails=False)
        np.testing.assert_allclose(plain.score(frames).probabilities, scorer.score(frames).probabilities, atol=1e-6)
    plain.close()


def test_readiness_tells_that_the_model_fails_and_that_it_works_again_and_searches_are_answered(failing, plain, caplog):
    caplog.set_level(logging.INFO, "segsearch.service")
    serves, serves_not = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    with serving(failing) as client, rpc_serving(failing) as channel:
        health, model = health_pb2_grpc.HealthStub(channel), GRPCInferenceServiceStub(channel)

        def told() -> tuple[bool, list[int], list[bool], list[int]]:
            """What each edge says: of `/readyz` what it says of scoring, of gRPC's health only the model's service."""
            ready = client.get("/readyz")
            assert ready.status_code == 200
            assert client.get("/search", params={"tag": "Rain"}).json()["segments"]
            assert SegmentSearchStub(channel).Search(pb.SearchRequest(tag="Rain"), timeout=TIMEOUT_S).segments
            for name in ("", SERVICE):
                assert health.Check(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT_S).status == serves
            return (
                ready.json()["scoring"],
                [client.get(path).status_code for path in READY],
                [
                    model.ServerReady(inference.ServerReadyRequest()).ready,
                    model.ModelReady(inference.ModelReadyRequest(name="tiny")).ready,
                ],
                [health.Check(health_pb2.HealthCheckRequest(service=INFERENCE_SERVICE), timeout=TIMEOUT_S).status],
            )

        sound = (True, [200] * 3, [True] * 2, [serves])
        watched = health.Watch(health_pb2.HealthCheckRequest(service=INFERENCE_SERVICE), timeout=TIMEOUT_S)
        assert next(watched).status == serves
        terminate(plain, fails=True)
        for _ in range(IN_A_ROW - 1):
            problem(client.post("/score", json=json_of()), 503, "scoring-failed")
        assert told() == sound
        problem(client.post("/score", json=json_of()), 503, "scoring-failed")
        until(lambda: told() == (False, [503] * 3, [False] * 2, [serves_not]))
        for path in READY:
            answer = client.get(path)
            problem(answer, 503, "scoring-failed")
            assert int(answer.headers["retry-after"]) >= 1
        assert next(watched).status == serves_not
        problem(client.post("/score", json=json_of()), 503, "scoring-failed")  # it is tried all the same

        terminate(plain, fails=False)
        assert client.post("/score", json=json_of()).status_code == 200
        until(lambda: told() == sound)
        assert next(watched).status == serves
        watched.cancel()
    turns = events(caplog, "scoring_fails", "scoring_works_again")
    assert [event["event"] for event in turns] == ["scoring_fails", "scoring_works_again"]
    assert "terminate flag" in turns[0]["reason"]


# The scorer in use


def fail(in_use: ScorerInUse, times: int) -> None:
    for _ in range(times):
        assert isinstance(in_use.begin(video(1))[1].exception(PATIENCE_S), ScoringFailed)


def test_one_video_that_is_scored_begins_the_count_anew(queued, runs):
    in_use = ScorerInUse(queued, try_every_s=float("inf"))
    for _ in range(2):
        runs.fails = lambda _: True
        fail(in_use, IN_A_ROW - 1)
        runs.fails = lambda _: False
        in_use.begin(video(1))[1].result(PATIENCE_S)
    assert in_use.works()


def test_a_scorer_that_works_again_is_heard_of_though_nobody_uploads(queued, runs):
    in_use = ScorerInUse(queued, try_every_s=0.0)
    runs.fails = lambda _: True
    fail(in_use, IN_A_ROW)
    until(lambda: not in_use.works())
    assert not in_use.works()
    runs.fails = lambda _: False
    until(in_use.works)


def test_a_failing_scorer_is_not_tried_more_often_than_it_should_be(queued, runs):
    in_use = ScorerInUse(queued, try_every_s=PATIENCE_S)
    runs.fails = lambda _: True
    fail(in_use, IN_A_ROW)
    until(lambda: not in_use.works())
    until(lambda: queued.metrics.videos._value.get() == 0)
    made = runs.made
    assert made == 2 * (IN_A_ROW + 1)  # the golden video came once
    assert not any(in_use.works() for _ in range(100))
    until(lambda: queued.metrics.videos._value.get() == 0)
    assert runs.made == made


def test_who_leaves_or_comes_too_late_says_nothing_of_the_model(scorer):
    gated = GatedScorer(scorer)
    with BatchingScorer(gated, batch_wait_ms=0) as queued:
        in_use = ScorerInUse(queued)
        first = in_use.begin(video(0))[1]
        gated.wait_for_run()
        for _ in range(IN_A_ROW):
            assert in_use.begin(video(1))[1].cancel()
        late = [in_use.begin(video(2), Caller("anna", time.monotonic()))[1] for _ in range(IN_A_ROW)]
        gated.open()
        assert all(isinstance(scores.exception(PATIENCE_S), DeadlinePassed) for scores in late)
        first.result(PATIENCE_S)
        assert in_use.works()


def test_a_video_that_fails_for_a_bug_counts_too(queued, runs):
    in_use = ScorerInUse(queued, try_every_s=float("inf"))
    runs.error, runs.fails = BUGS[0], lambda _: True
    for _ in range(IN_A_ROW):
        assert isinstance(in_use.begin(video(1))[1].exception(PATIENCE_S), TypeError)
    until(lambda: not in_use.works())


def test_another_scorer_in_its_place_begins_with_a_clean_slate(queued, runs, scorer):
    in_use = ScorerInUse(queued, try_every_s=float("inf"))
    runs.fails = lambda _: True
    fail(in_use, IN_A_ROW)
    until(lambda: not in_use.works())
    in_use.replace(scorer)
    assert in_use.works()


def test_a_scorer_without_a_queue_counts_as_one_with_a_queue(plain, runs):
    in_use = ScorerInUse(plain, try_every_s=float("inf"))
    runs.fails = lambda _: True
    fail(in_use, IN_A_ROW)
    assert not in_use.works()
    plain.close()
