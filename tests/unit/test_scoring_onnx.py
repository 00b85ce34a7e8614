"""The ONNX scorer: what it computes, and which models it refuses to run."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from segsearch.core.bundle import Bundle, Manifest, write_bundle
from segsearch.core.errors import BundleRefused, ConfigError, GoldenMismatch, OutputNotFinite, SignatureMismatch
from segsearch.core.score_codes import encode_probabilities
from segsearch.core.segments import cut_windows, segment_starts
from segsearch.service.scoring.golden_check import check_golden
from segsearch.service.scoring.micro_batches import micro_batches
from segsearch.service.scoring.model import open_model
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from tests.library_fixtures import make_videos
from tests.tiny_model import CONTEXT_FRAMES, NAMES, SPEC, TinyModel, tiny_manifest, vocabulary_of

VOCABULARY = vocabulary_of()
MODEL = TinyModel.seeded(len(NAMES))


def bundle_of(
    root: Path, proto: onnx.ModelProto | bytes, edit: Callable[[Manifest], Manifest] = lambda manifest: manifest
) -> Bundle:
    """A bundle around any model file."""
    content = proto if isinstance(proto, bytes) else proto.SerializeToString()
    return Bundle.open(write_bundle(root, edit(tiny_manifest(MODEL, VOCABULARY)), VOCABULARY, content))


def refusal(bundle: Bundle, kind: type[BundleRefused] = BundleRefused) -> str:
    """Why a bundle is refused, with an error of exactly this kind."""
    with pytest.raises(BundleRefused) as caught:
        OnnxScorer(bundle)
    assert type(caught.value) is kind
    return caught.value.reason


def test_scores_are_what_the_model_says_in_plain_numpy(scorer):
    frames = make_videos(1, seed=5)[0].frames
    scores = scorer.score(frames)
    wanted, embeddings = MODEL.plain(*cut_windows(frames, segment_starts(len(frames)), CONTEXT_FRAMES))
    np.testing.assert_allclose(scores.probabilities, wanted, atol=1e-5)
    np.testing.assert_allclose(scores.embeddings, embeddings, atol=1e-5)
    assert scores.starts.tolist() == list(range(0, len(frames), 5))


def test_a_library_in_micro_batches_scores_as_each_video_alone(scorer):
    videos = make_videos(20, seed=9)
    together = np.concatenate(list(scorer.codes(video.frames for video in videos)))
    alone = np.concatenate([encode_probabilities(scorer.score(video.frames).probabilities) for video in videos])
    assert np.abs(together.astype(int) - alone).max() <= 1  # 1e-5 of a probability may cross one code's edge


def test_micro_batches_cut_every_window_once_and_are_full():
    videos = [video.frames for video in make_videos(10, seed=3)]
    batches = list(micro_batches(videos, CONTEXT_FRAMES, 8))
    wanted = [cut_windows(frames, segment_starts(len(frames)), CONTEXT_FRAMES) for frames in videos]
    np.testing.assert_array_equal(np.concatenate([b.windows for b in batches]), np.concatenate([w for w, _ in wanted]))
    np.testing.assert_array_equal(
        np.concatenate([b.frame_counts for b in batches]), np.concatenate([count for _, count in wanted])
    )
    assert {len(batch.windows) for batch in batches[:-1]} == {8}


def test_an_error_in_the_stream_of_videos_reaches_whoever_scores(scorer):
    def videos():
        yield from (video.frames for video in make_videos(10))
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(scorer.codes(videos()))


def test_without_a_driver_the_cpu_runs_and_is_named(scorer):
    assert scorer.provider in ("CPUExecutionProvider", "CUDAExecutionProvider")


def test_cuda_on_demand_is_an_error_where_there_is_none(tiny_bundle, scorer):
    if scorer.provider == "CPUExecutionProvider":
        with pytest.raises(ConfigError, match="provider is 'cuda'"):
            OnnxScorer(tiny_bundle, provider="cuda")


@pytest.mark.parametrize("options", [{"batch": -1}, {"batch": 4097}, {"threads": -1}])
def test_options_that_cannot_work_are_named(tiny_bundle, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        OnnxScorer(tiny_bundle, **options)


def test_a_model_that_misses_its_golden_segments_is_refused_with_the_difference(tmp_path):
    def worse(manifest: Manifest) -> Manifest:
        scores = manifest.golden.scores.copy()
        scores[1, 2] += 0.01
        return dataclasses.replace(manifest, golden=dataclasses.replace(manifest.golden, scores=scores))

    with pytest.raises(GoldenMismatch, match=r"golden segment 1 differs by 0.01, wanted at most 0.0001") as caught:
        OnnxScorer(bundle_of(tmp_path, MODEL.onnx(), worse))
    assert (caught.value.segment, caught.value.tolerance) == (1, 1e-4)
    assert caught.value.difference == pytest.approx(0.01, abs=1e-5)


def test_a_model_that_gives_nan_is_refused(tmp_path):
    broken = TinyModel(np.full_like(MODEL.weights, np.nan), MODEL.biases)
    assert "NaN" in refusal(bundle_of(tmp_path, broken.onnx()), OutputNotFinite)


def scaled_scores(model: TinyModel, factor: float) -> onnx.ModelProto:
    """A tiny model with its scores multiplied at the end."""
    proto = model.onnx()
    proto.graph.node[-1].output[0] = "unscaled"
    proto.graph.node.append(helper.make_node("Mul", ["unscaled", "factor"], ["scores"]))
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "factor"))
    return proto


def test_a_score_that_rounding_carries_past_one_is_one(tmp_path):
    certain = TinyModel(np.zeros_like(MODEL.weights), np.full_like(MODEL.biases, 30))

    def all_ones(manifest: Manifest) -> Manifest:
        ones = np.ones_like(manifest.golden.scores)
        return dataclasses.replace(manifest, golden=dataclasses.replace(manifest.golden, scores=ones))

    with OnnxScorer(bundle_of(tmp_path, scaled_scores(certain, 1 + 2**-23), all_ones)) as scorer:
        assert scorer.score(np.zeros((5, SPEC.size), np.uint8)).probabilities.tolist() == [[1.0] * len(NAMES)]


def test_a_model_whose_scores_are_no_probabilities_is_refused(tmp_path):
    assert "outside 0 to 1" in refusal(bundle_of(tmp_path, scaled_scores(MODEL, 50)), OutputNotFinite)


def test_a_model_that_gives_an_infinite_embedding_is_refused_as_no_answer_could_hold_it(tmp_path):
    proto = MODEL.onnx()
    mean = next(node for node in proto.graph.node if node.output[0] == "embedding")
    classifier = next(node for node in proto.graph.node if node.input[0] == "embedding")
    mean.output[0] = classifier.input[0] = "mean"
    proto.graph.node.append(helper.make_node("Div", ["mean", "nothing"], ["embedding"]))
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(0), "nothing"))
    assert "embedding that is NaN or infinite" in refusal(bundle_of(tmp_path, proto), OutputNotFinite)


def test_a_model_of_another_output_size_is_refused(tmp_path):
    other = TinyModel.seeded(5)
    assert "scores is tensor(float)" in refusal(bundle_of(tmp_path, other.onnx()), SignatureMismatch)


def test_a_model_of_another_frame_size_is_refused(tmp_path):
    other = TinyModel.seeded(len(NAMES), SPEC.size + 1)
    assert "frames is tensor(uint8)" in refusal(bundle_of(tmp_path, other.onnx()), SignatureMismatch)


def test_a_model_with_another_input_name_is_refused(tmp_path):
    text = MODEL.onnx().SerializeToString().replace(b"frame_count", b"frame_kount")
    assert "inputs of the model" in refusal(bundle_of(tmp_path, text), SignatureMismatch)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    assert "model.onnx" in refusal(bundle_of(tmp_path, b"\xff" * 100))


def test_half_a_model_is_refused(tmp_path):
    content = MODEL.onnx().SerializeToString()
    assert "model.onnx" in refusal(bundle_of(tmp_path, content[: len(content) // 2]))


def external(tensor: TensorProto) -> TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    return tensor


def test_a_weight_outside_the_file_is_refused(tmp_path):
    proto = MODEL.onnx()
    external(next(tensor for tensor in proto.graph.initializer if tensor.name == "weights"))
    assert "outside the model file" in refusal(bundle_of(tmp_path, proto))


def test_a_weight_outside_the_file_is_refused_in_an_inner_graph_too(tmp_path):
    proto = MODEL.onnx()
    inner = helper.make_graph([], "inner", [], [], [external(TensorProto(name="w"))])
    proto.graph.node.add(op_type="If").attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g.CopyFrom(
        inner
    )
    assert "outside the model file" in refusal(bundle_of(tmp_path, proto))


def test_a_foreign_operator_is_refused(tmp_path):
    proto = MODEL.onnx()
    proto.opset_import.append(helper.make_opsetid("evil.ops", 1))
    assert "operators of domain 'evil.ops'" in refusal(bundle_of(tmp_path, proto))


def test_endlessly_nested_graphs_are_refused(tmp_path):
    def wrapped(field: int, content: bytes) -> bytes:
        length = len(content)
        return bytes([field << 3 | 2, length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + content

    graph = b""
    for _ in range(40):  # graph.node.attribute.g
        graph = wrapped(1, wrapped(5, wrapped(6, graph)))
    assert "nested deeper" in refusal(bundle_of(tmp_path, wrapped(7, graph)))


def test_a_model_of_very_many_operators_is_refused(tmp_path):
    proto = MODEL.onnx()
    proto.graph.node.extend(helper.make_node("Identity", ["frames"], [f"copy_{number}"]) for number in range(20_000))
    assert "operators, wanted at most 20000" in refusal(bundle_of(tmp_path, proto))


def looping_model(turns: int) -> onnx.ModelProto:
    """The tiny model, its scores led through a loop that changes nothing."""
    proto = MODEL.onnx()
    proto.graph.node[-1].output[0] = "unlooped"
    value = helper.make_tensor_value_info("turning", TensorProto.FLOAT, None)
    again = helper.make_tensor_value_info("again", TensorProto.BOOL, [])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["more"], ["again"]),
            helper.make_node("Identity", ["given"], ["turning"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("given", TensorProto.FLOAT, None),
        ],
        [again, value],
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.int64(turns), "turns"))
    proto.graph.initializer.append(numpy_helper.from_array(np.bool_(True), "always"))
    proto.graph.node.append(helper.make_node("Loop", ["turns", "always", "unlooped"], ["scores"], body=body))
    return proto


def test_a_loop_that_ends_is_a_model_like_any_other(tmp_path):
    with OnnxScorer(bundle_of(tmp_path, looping_model(3))) as scorer:
        assert scorer.score(np.zeros((5, SPEC.size), np.uint8)).probabilities.shape == (1, len(NAMES))


def test_a_model_that_never_ends_is_refused(tmp_path):
    bundle = bundle_of(tmp_path, looping_model(2**62))
    model = open_model(bundle, bundle.graph(), "cpu")
    with pytest.raises(BundleRefused, match="the model fails on the golden videos"):
        check_golden(bundle, bundle.graph(), model, limit_s=0.3)
