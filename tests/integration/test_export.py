"""From a checkpoint to a bundle: the exported model is the network, or nothing is written."""

import itertools

import numpy as np
import onnx
import pytest

from segsearch.core.bundle import Bundle, Metric
from segsearch.core.errors import CheckpointMismatch, ExportFailed
from segsearch.core.features import FeatureSpec
from segsearch.core.segments import cut_windows, segment_starts
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.export.packing import pack
from segsearch.export.parity import golden_windows, made_up_videos
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.config import DBoFConfig, LogisticConfig, MoEConfig, NetworkConfig
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
    assert shapes == {"frames": ["batch", "window", FEATURES.size], "frame_count": ["batch"]}


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


def test_golden_windows_show_the_edges_of_videos():
    videos = itertools.islice(made_up_videos(4), 5)
    _, counts = golden_windows(videos, context=5, count=12)
    assert len(set(counts.tolist())) > 1
    assert counts.min() < 15
