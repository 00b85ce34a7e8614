"""The Open Inference Protocol where many ask at once, where nobody waits any more, and where the model changes."""

import dataclasses
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import pytest
from grpc import StatusCode

from segsearch.core.bundle import Bundle, write_bundle
from segsearch.core.errors import UnknownModel
from segsearch.core.segments import segment_count
from segsearch.inference import open_inference_pb2 as pb
from segsearch.inference.open_inference_pb2_grpc import GRPCInferenceServiceStub
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.inference import ModelName, Request, begin
from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.batching_scorer import BatchingScorer
from segsearch.service.scoring.bundle_folder import BundleFolder
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.scoring.scorer import NOBODY
from tests.gated_scorer import PATIENCE_S, GatedScorer
from tests.inference_requests import FRAMES, PATH, document, refused, request_of, tensors_of
from tests.integration.test_micro_batching import in_background, until
from tests.library_fixtures import serving
from tests.rpc_serving import TIMEOUT_S, failure, info, rpc_serving
from tests.tiny_model import NAMES, TinyModel, tiny_manifest, vocabulary_of, write_tiny_bundle

QUEUE_FRAMES = 2 * len(FRAMES)  # one client may fill half of it


@pytest.fixture
def gated(scorer) -> Iterator[GatedScorer]:
    gate = GatedScorer(scorer)
    yield gate
    gate.open()


@pytest.fixture
def queued(gated) -> Iterator[BatchingScorer]:
    """Room for one video of a client; none is scored until the gate opens."""
    with BatchingScorer(gated, queue_frames=QUEUE_FRAMES, batch_wait_ms=0) as opened:
        yield opened
        gated.open()


@pytest.fixture
def rest(served_library, queued) -> Iterator[httpx.Client]:
    with serving(SegmentLibrary(queued, served_library.index)) as opened:
        yield opened


@pytest.fixture
def rpc(served_library, queued) -> Iterator[GRPCInferenceServiceStub]:
    with rpc_serving(SegmentLibrary(queued, served_library.index)) as channel:
        yield GRPCInferenceServiceStub(channel)


def test_a_full_queue_says_when_to_come_back_at_both_edges(rest, rpc, gated):
    threads, answers = in_background(lambda: rest.post(PATH, json=document()), 1)
    gated.wait_for_run()
    answer = rest.post(PATH, json=document())
    refused(answer, 503, "queue-full")
    assert int(answer.headers["retry-after"]) >= 1
    error = failure(rpc.ModelInfer, request_of())
    assert (error.code(), info(error).reason) == (StatusCode.RESOURCE_EXHAUSTED, "queue-full")
    gated.open()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(tensors_of(answers[0])["starts"]) == segment_count(len(FRAMES))


def test_a_video_whose_deadline_has_passed_leaves_the_queue(rpc, queued):
    with pytest.raises(grpc.RpcError) as late:
        rpc.ModelInfer(request_of(), timeout=0.2)
    assert late.value.code() is StatusCode.DEADLINE_EXCEEDED
    until(lambda: queued._queue.frames == 0)


def test_a_video_of_a_model_that_has_just_been_replaced_leaves_the_queue(served_library, queued):
    asked = Request(ModelName("tiny", "2"), FRAMES, ("codes",))
    with pytest.raises(UnknownModel, match="no model 'tiny' version '2'; served: tiny version 1"):
        begin(SegmentLibrary(queued, served_library.index), asked, NOBODY)
    assert queued._queue.frames == 0


def test_another_version_in_the_models_place_answers_and_the_one_before_is_unknown(tmp_path, served_library):
    vocabulary, model = vocabulary_of(), TinyModel.seeded(len(NAMES), seed=8)
    first = write_tiny_bundle(tmp_path)
    manifest = dataclasses.replace(tiny_manifest(model, vocabulary), version=2)
    second = Bundle.open(write_bundle(tmp_path, manifest, vocabulary, model.onnx().SerializeToString()))
    library = SegmentLibrary(
        OnnxScorer(Bundle.open(first)), IndexDirectory(served_library.index.root),
        bundles=BundleFolder(tmp_path, lambda bundle, _=None: OnnxScorer(bundle)),
    )  # fmt: skip
    with serving(library) as rest, rpc_serving(library) as channel:
        rpc = GRPCInferenceServiceStub(channel)
        before = tensors_of(rest.post("/v2/models/tiny/versions/1/infer", json=document()))
        assert rest.post("/models:load", json={"path": "tiny/2"}).status_code == 200
        refused(rest.post("/v2/models/tiny/versions/1/infer", json=document()), 404, "unknown-model")
        answer = rpc.ModelInfer(request_of(model_version="2"), timeout=TIMEOUT_S)
        assert answer.parameters["digest"].string_param == second.digest
        after = tensors_of(rest.post(PATH, json=document()))
        assert not np.allclose(after["probabilities"], before["probabilities"], atol=0.01)
        assert rpc.ModelMetadata(pb.ModelMetadataRequest(name="tiny")).versions == ["2"]
    library.close()


def test_a_server_without_an_index_says_at_both_edges_that_it_is_not_ready(tmp_path, scorer):
    library = SegmentLibrary(scorer, IndexDirectory(tmp_path))
    with serving(library) as rest, rpc_serving(library) as channel:
        rpc = GRPCInferenceServiceStub(channel)
        for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
            refused(rest.get(path), 503, "no-generation")
        assert not rpc.ServerReady(pb.ServerReadyRequest()).ready
        assert not rpc.ModelReady(pb.ModelReadyRequest(name="tiny")).ready
        assert rest.get("/v2/health/live").json() == {"live": True}
        assert rpc.ServerLive(pb.ServerLiveRequest()).live
