"""From a checkpoint to a bundle: the exported model is the network, or nothing is written."""

import itertools

import numpy as np
import onnx
import pytest

from segsearch.core.bundle import DIFFERENCE_LIMITS, Bundle, Metric
from segsearch.core.errors import CheckpointMismatch, ConfigError, ExportFailed
from segsearch.core.features import FeatureSpec
from segsearch.core.segments import cut_windows, segment_starts
from segsearch.core.videos import Video
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.export.packing import pack
from segsearch.export.parity import golden_videos, made_up_videos
from segsearch.export.serving_graph import LARGE
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.training.aggregations import (
    DBoFConfig,
    GRUConfig,
    LogisticConfig,
    LSTMConfig,
    MixConfig,
    MoEConfig,
    TowerConfig,
)
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.config import NetworkConfig
from segsearch.training.models.network import Network

FEATURES = FeatureSpec.parse("rgb:12,audio:4")
VOCABULARY = Vocabulary(Entry(label, f"tag {label}") for label in (3, 8, 5))


def checkpoint_of(directory, pooling="max", activation="sigmoid", head=None, poison=False):
    """A written checkpoint of a small DBoF whose batch norms have statistics of their own."""
    aggregation = DBoFConfig(clusters=16, hidden=8, pooling=pooling, activation=activation)
    config = NetworkConfig(aggregation=aggregation, head=head or MoEConfig())
    network = Network(config, FEATURES, len(VOCABULARY))
    random = np.random.default_rng(7)
    for weight in network.weights:
        if "moving" in weight.path:
            weight.assign(random.uniform(0.2, 0.8, weight.shape))
    if poison:
        network.head.biases.assign(np.full(network.head.biases.shape, np.nan))
    checkpoint = Checkpoint(
        directory=directory, run="tiny", network_config=config, features=FEATURES, vocabulary=VOCABULARY,
        context_frames=5, stage="stage2", step=10, metrics=(Metric("map", 0.5, "rated", "fold 0"),),
    )  # fmt: skip
    checkpoint.write(network)
    return Checkpoint.load(directory)


@pytest.mark.parametrize("head", [MoEConfig(mixtures=3), LogisticConfig()], ids=["moe", "logistic"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu6"])
@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_onnx_runtime_scores_as_keras_does(tmp_path, pooling, activation, head):
    packed = pack(checkpoint_of(tmp_path / "checkpoint", pooling, activation, head), tmp_path, "tiny", 1)
    assert max(packed.differences.values()) <= 1e-5


def test_the_service_scores_a_whole_video_as_keras_scores_its_windows(tmp_path):
    checkpoint = checkpoint_of(tmp_path / "checkpoint")
    bundle = Bundle.open(pack(checkpoint, tmp_path, "tiny", 1).directory)
    frames = np.random.default_rng(1).integers(0, 256, (23, FEATURES.size), np.uint8)
    windows, counts = cut_windows(frames, segment_starts(23), context=5)
    expected = np.asarray(checkpoint.build_network()(windows, counts)["scores"])
    with OnnxScorer(bundle) as scorer:
        np.testing.assert_allclose(scorer.score(frames).probabilities, expected, atol=1e-5)


def test_exporting_again_makes_the_next_version_and_never_replaces_one_unasked(tmp_path):
    checkpoint = checkpoint_of(tmp_path / "checkpoint")
    assert [pack(checkpoint, tmp_path, "tiny", 0).directory.name for _ in range(2)] == ["1", "2"]
    before = Bundle.open(tmp_path / "tiny/1").digest
    with pytest.raises(ConfigError, match="version is 1"):
        pack(checkpoint, tmp_path, "tiny", 1)
    assert Bundle.open(tmp_path / "tiny/1").digest == before
    assert pack(checkpoint, tmp_path, "tiny", 1, replace=True).directory.name == "1"


def test_a_name_that_leads_elsewhere_is_refused_before_any_work(tmp_path):
    checkpoint = checkpoint_of(tmp_path / "checkpoint")
    with pytest.raises(ConfigError, match=r"name is '\.\./evil/x'"):
        pack(checkpoint, tmp_path / "bundles", "../evil/x", 0)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoint"]


def test_the_manifest_carries_window_feature_space_and_metrics(tmp_path):
    manifest = Bundle.open(pack(checkpoint_of(tmp_path / "c"), tmp_path, "tiny", 4).directory).manifest
    assert (manifest.name, manifest.version, manifest.context_frames) == ("tiny", 4, 5)
    assert (manifest.features.space, manifest.embedding_size) == (FEATURES.space, 8)
    assert manifest.metrics == (Metric("map", 0.5, "rated", "fold 0"),)


def test_the_exported_model_uses_standard_operators_and_nothing_outside_its_file(tmp_path):
    model = onnx.load(Bundle.open(pack(checkpoint_of(tmp_path / "c"), tmp_path, "tiny", 1).directory).model_path)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    assert shapes == {"frames": ["frame", FEATURES.size], "block_frames": ["block"], "windows": ["segment", 3]}


def test_a_network_that_gives_nan_is_not_exported(tmp_path):
    with pytest.raises(ExportFailed, match="scores of the exported model differ by nan"):
        pack(checkpoint_of(tmp_path / "c", poison=True), tmp_path / "bundles", "tiny", 1)
    assert not (tmp_path / "bundles").exists()


def test_weights_of_another_shape_name_the_first_variable_that_differs(tmp_path):
    checkpoint = checkpoint_of(tmp_path / "c")
    with np.load(tmp_path / "c/weights.npz") as arrays:
        changed = {name: array[..., :-1] if name.endswith("dbof/clusters") else array for name, array in arrays.items()}
    np.savez(tmp_path / "c/weights.npz", **changed)
    with pytest.raises(CheckpointMismatch, match=r"dbof/clusters of shape \(16, 15\); wanted shape \(16, 16\)"):
        checkpoint.build_network()


def test_golden_videos_show_the_edges_of_videos():
    lengths = [len(frames) for frames in golden_videos(made_up_videos(4), context=5)]
    assert lengths == [2, 7, 28, 28, 28, 28]


def packed_network(directory, config, **more):
    """A bundle of an untrained network."""
    checkpoint = Checkpoint(
        directory=directory / "c", run="other", network_config=config, features=FEATURES, vocabulary=VOCABULARY,
        context_frames=5, stage="stage2", step=10,
    )  # fmt: skip
    checkpoint.write(Network(config, FEATURES, len(VOCABULARY)))
    return pack(Checkpoint.load(directory / "c"), directory, "other", 1, **more)


def test_a_network_that_sees_frames_in_order_is_exported_as_a_graph_of_windows(tmp_path):
    network = NetworkConfig(aggregation=LSTMConfig(cells=4, layers=1), head=LogisticConfig())
    packed = packed_network(tmp_path, network)
    assert [(graph.layout, graph.precision) for graph in packed.graphs] == [("windows", "float32")]
    with OnnxScorer(Bundle.open(packed.directory)) as scorer:
        assert scorer.score(np.zeros((23, FEATURES.size), np.uint8)).probabilities.shape == (5, len(VOCABULARY))


@pytest.mark.parametrize(
    "aggregation", [LSTMConfig(cells=32, layers=2), GRUConfig(cells=32, layers=1)], ids=["lstm", "gru"]
)
def test_large_weights_pass_the_converter_by_and_stand_in_the_model(tmp_path, aggregation):
    config = NetworkConfig(aggregation=aggregation, head=LogisticConfig())
    packed = packed_network(tmp_path, config)  # which compares with the network
    model = onnx.load(Bundle.open(packed.directory).model_path)
    assert [value.name for value in model.graph.input] == ["frames", "frame_count"]
    inside = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name.startswith("weight_")}
    network = Checkpoint.load(tmp_path / "c").build_network()
    large = [np.asarray(weight) for weight in network.weights if np.asarray(weight).size > LARGE]
    assert len(large) >= 2
    assert sorted(array.shape for array in large) == sorted(tuple(tensor.dims) for tensor in inside.values())


def test_a_mix_of_towers_is_exported_as_a_graph_of_blocks_with_an_8_bit_model(tmp_path):
    tower = TowerConfig(aggregation=DBoFConfig(clusters=16, hidden=8), head=LogisticConfig())
    packed = packed_network(tmp_path, NetworkConfig(mix=MixConfig(towers=(tower, tower))))
    assert [graph.layout for graph in packed.graphs] == ["blocks"] * 3
    assert packed.graphs[1].difference > 1e-6


def test_a_bag_of_frames_has_smaller_models_beside_the_full_one(tmp_path):
    packed = pack(checkpoint_of(tmp_path / "c"), tmp_path, "tiny", 1)
    full, small, half = packed.graphs
    assert (full.file, small.file, half.file) == ("model.onnx", "model.int8.onnx", "model.fp16.onnx")
    assert full.difference < 1e-5 < half.difference < small.difference < 0.05
    bundle = Bundle.open(packed.directory)
    frames = np.random.default_rng(1).integers(0, 256, (23, FEATURES.size), np.uint8)
    with OnnxScorer(bundle) as scorer:
        wanted = scorer.score(frames).probabilities
    for graph in (small, half):
        with OnnxScorer(bundle, precision=graph.precision) as scorer:
            assert scorer.precision == graph.precision
            assert np.abs(scorer.score(frames).probabilities - wanted).max() < 0.05


def test_a_variant_that_is_too_far_off_is_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(DIFFERENCE_LIMITS, "float16", 1e-9)
    packed = pack(checkpoint_of(tmp_path / "c"), tmp_path, "tiny", 1)
    assert [graph.precision for graph in packed.graphs] == ["float32", "int8"]
    assert "no float16 model: a probability differs by" in capsys.readouterr().err
    assert not (packed.directory / "model.fp16.onnx").exists()


def test_the_embedding_is_made_smaller_on_demand(tmp_path):
    made_up = itertools.islice(made_up_videos(FEATURES.size, seed=4), 5)
    videos = [Video(f"v{number}", None, frames=frames) for number, frames in enumerate(made_up)]
    packed = pack(checkpoint_of(tmp_path / "c"), tmp_path, "tiny", 1, videos, embedding_size=3)
    with OnnxScorer(Bundle.open(packed.directory)) as scorer:
        assert scorer.score(videos[0].frames).embeddings.shape == (20, 3)


def test_a_smaller_embedding_needs_videos(tmp_path):
    with pytest.raises(ConfigError, match="embedding size is 3"):
        pack(checkpoint_of(tmp_path / "c"), tmp_path, "tiny", 1, embedding_size=3)


def test_tritons_config_names_what_goes_in_and_out(tmp_path):
    text = (pack(checkpoint_of(tmp_path / "c"), tmp_path, "tiny", 1).directory.parent / "config.pbtxt").read_text()
    assert 'platform: "onnxruntime_onnx"' in text
    assert 'input { name: "windows" data_type: TYPE_INT32 dims: [ -1, 3 ] }' in text
    assert 'output { name: "codes" data_type: TYPE_UINT16 dims: [ -1, 3 ] }' in text
