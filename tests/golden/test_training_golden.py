"""Networks, losses, optimiser step, EMA and readers against the reference systems' own numbers.

Expected values: `golden/README.md` of the reference data (google/youtube-8m @ e6f6bf6 under TensorFlow 2.15).
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from segsearch.core.features import YOUTUBE8M
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.training.aggregations import DBoFConfig, FrameMeanConfig, LogisticConfig, MoEConfig
from segsearch.training.averaging import decay_at
from segsearch.training.config import AverageConfig, InputConfig, NetworkConfig, StageConfig
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.input.shards import Shards, parse
from segsearch.training.layers.frames import Frames, unit_length
from segsearch.training.losses import cross_entropy
from segsearch.training.models.network import Network
from segsearch.training.schedule import optimiser_of
from segsearch.training.trainer import OptimiserStep

TOLERANCE = 1e-5
# Our variable paths and the starter code's names.
NAMES = {
    "network/tower/dbof/clusters": "cluster_weights",
    "network/tower/dbof/hidden": "hidden1_weights",
    "network/tower/dbof/input_bn": "input_bn",
    "network/tower/dbof/cluster_bn": "cluster_bn",
    "network/tower/dbof/hidden_bn": "hidden1_bn",
    "network/tower/moe/gates": "gates/weights",
    "network/tower/moe/experts": "experts/weights",
    "network/tower/moe/biases": "experts/biases",
    "network/tower/logistic/kernel": "fully_connected/weights",
    "network/tower/logistic/biases": "fully_connected/biases",
}
ALL_CLASSES = Vocabulary(Entry(index, str(index)) for index in range(3862))


@pytest.fixture(scope="module")
def trained_once(golden):
    """The starter code's training step: its file, and our network before the step."""
    data = np.load(golden / "google_dbof_trainstep.npz")
    network = _network(DBoFConfig(clusters=32, hidden=16), MoEConfig(), 20, data)
    return data, network


def test_dbof_with_moe_scores_and_embeds_as_the_starter_code(golden):
    data = np.load(golden / "google_dbof_max_sigmoid_moe.npz")
    network = _network(DBoFConfig(clusters=64, hidden=32), MoEConfig(mixtures=2), 25, data)
    out = network(_drawn_frames(data), np.full(4, 15, np.int32))
    np.testing.assert_allclose(out["embedding"], data["tap/hidden"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(out["scores"], data["predictions"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(sum(network.losses), data["regularization_loss_sum"], rtol=1e-5)


def test_frame_logistic_scores_as_the_starter_code(golden):
    data = np.load(golden / "google_framelogistic.npz")
    network = _network(FrameMeanConfig(), LogisticConfig(l2=1e-8), 25, data)
    out = network(data["frames_u8"], data["num_frames"])
    np.testing.assert_allclose(out["scores"], data["predictions"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(sum(network.losses), data["regularization_loss_sum"], rtol=1e-5)


def test_frames_enter_the_network_as_the_reference_reader_gives_them(golden):
    data = np.load(golden / "google_dbof_max_sigmoid_moe.npz")
    mask = (np.arange(30) < data["num_frames"][:, None]).astype(np.float32)
    frames = Frames(YOUTUBE8M)(data["frames_u8"], mask)
    np.testing.assert_allclose(frames, data["model_input"], rtol=0, atol=1e-6)


def test_one_training_step_moves_every_weight_as_the_starter_code_does(trained_once):
    data, network = trained_once
    network = network.copy()
    batch = {
        "codes": tf.constant(_drawn_frames(data)),
        "frame_count": tf.constant([15] * 4),
        "labels": tf.constant(data["labels"]),
    }
    spec = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in batch.items()}
    step = OptimiserStep(network, StageConfig(learning_rate=0.01, clip_norm=1.0, average=None), spec)
    np.testing.assert_allclose(step(batch, 0), data["loss"], rtol=1e-6)
    for name, weight in _by_reference_name(network):
        # Adam's first step is lr * g / (|g| + 3e-7): where g is float noise the step's sign is noise as well, and
        # which noise differs with the number of cores.
        gradient = data[f"grad/tower/{name}"] if f"grad/tower/{name}" in data else np.ones(weight.shape, np.float32)
        settled = np.abs(gradient) > 2e-5
        difference = np.abs(np.asarray(weight) - data[f"after/tower/{name}"])
        assert difference[settled].max(initial=0) <= TOLERANCE, name
        assert difference.max() <= 3e-4, name


def test_gradients_are_the_starter_codes(trained_once):
    data, network = trained_once
    network = network.copy()
    with tf.GradientTape() as tape:
        scores = network(_drawn_frames(data), np.full(4, 15, np.int32), training=True)["scores"]
        loss = cross_entropy(scores, data["labels"]) + sum(network.losses)
    weights = dict(_by_reference_name(network))
    gradients = tape.gradient(loss, network.trainable_variables)
    found = {weight.path: gradient for weight, gradient in zip(network.trainable_variables, gradients, strict=True)}
    for name, weight in weights.items():
        if weight.path in found:
            np.testing.assert_allclose(found[weight.path], data[f"grad/tower/{name}"], rtol=0, atol=TOLERANCE)


def test_adam_with_clipping_takes_the_reference_gradients_to_the_reference_weights(trained_once):
    data, network = trained_once
    network = network.copy()
    weights = {weight.path: name for name, weight in _by_reference_name(network)}
    optimiser = optimiser_of(StageConfig(learning_rate=0.01, clip_norm=1.0))
    optimiser.build(network.trainable_variables)
    optimiser.apply([data[f"grad/tower/{weights[variable.path]}"] for variable in network.trainable_variables])
    for variable in network.trainable_variables:
        after = data[f"after/tower/{weights[variable.path]}"]
        np.testing.assert_allclose(variable, after, rtol=0, atol=TOLERANCE, err_msg=variable.path)


@pytest.mark.parametrize(("name", "weighted"), [("google_ce", False), ("google_ce_weighted", True)])
def test_cross_entropy_is_the_starter_codes(golden, name, weighted):
    data = np.load(golden / "losses.npz")
    loss = cross_entropy(data["predictions"], data["labels"], data["label_weights"] if weighted else None)
    np.testing.assert_allclose(loss, data[name], rtol=1e-6)


@pytest.mark.parametrize(("name", "warm_up"), [("ema_decay099", False), ("ema_decay099_num_updates", True)])
def test_the_moving_average_follows_the_reference_trace(golden, name, warm_up):
    data = np.load(golden / "small_ops.npz")
    config, shadow = AverageConfig(decay=0.99, warm_up=warm_up), np.zeros(3, np.float32)
    for step, value in enumerate(data["ema_inputs"]):
        shadow = shadow - (1 - decay_at(config, tf.constant(step, tf.int64)).numpy()) * (shadow - value)
        np.testing.assert_allclose(shadow, data[name][step], rtol=0, atol=1e-6)


def test_every_code_dequantises_as_the_reference_table(golden):
    table = np.load(golden / "small_ops.npz")["dequantize_table"]
    codes = np.arange(256, dtype=np.uint8).reshape(256, 1, 1)
    frames = Frames(YOUTUBE8M, normalisation="none")(codes, np.ones((256, 1), np.float32))
    np.testing.assert_allclose(np.ravel(frames), table, rtol=0, atol=1e-6)


def test_unit_length_is_the_references_and_leaves_zeros(golden):
    data = np.load(golden / "small_ops.npz")
    np.testing.assert_allclose(unit_length(data["l2_in"]), data["l2_out"], rtol=0, atol=1e-6)


def test_weights_start_with_the_spread_of_the_starter_codes(golden):
    measured = json.loads((golden / "init_stats_google.json").read_text())["google DbofModel+MoeModel"]["variables"]
    network = Network(NetworkConfig(aggregation=DBoFConfig(clusters=2048, hidden=256)), YOUTUBE8M, 100)
    for name, weight in _by_reference_name(network):
        assert measured[name]["shape"] == list(weight.shape)
        assert np.asarray(weight).std() == pytest.approx(measured[name]["std"], rel=0.02, abs=1e-9), name
        assert np.asarray(weight).mean() == pytest.approx(measured[name]["mean"], abs=0.001), name


def test_frame_level_records_parse_as_in_the_reference_reader(golden):
    expected = np.load(golden / "frame_level_parsed.npz")
    records = Shards([golden / "frame_level.tfrecord"], InputConfig(), 0).in_order()
    for row, serialised in enumerate(records):
        record = parse(serialised, YOUTUBE8M)
        codes = record.frames(tf.range(record.frame_count)).numpy()
        frames = Frames(YOUTUBE8M, "none")(codes[None], np.ones((1, len(codes)), np.float32))[0]
        np.testing.assert_allclose(frames, expected[f"video_matrix_{row}"], rtol=0, atol=1e-6)
        labels = expected["labels_true"][expected["labels_true"][:, 0] == row, 1]
        assert sorted(record.labels.numpy()) == sorted(labels)


def test_rated_segments_parse_as_in_the_reference_reader(golden):
    expected = np.load(golden / "segment_level_parsed.npz")
    stage = StageConfig(frame_draw="all")
    shards = [golden / "segment_level.tfrecord"]
    examples = SegmentExamples(shards, YOUTUBE8M, ALL_CLASSES, 0, stage, InputConfig(), 0)
    (batch,) = examples.in_order()
    frames = Frames(YOUTUBE8M, "none")(batch["codes"], (np.arange(5) < batch["frame_count"].numpy()[:, None]) * 1.0)
    matrices = np.concatenate([expected[f"video_matrix_{video}"] for video in range(3)])
    np.testing.assert_allclose(frames, matrices, rtol=0, atol=1e-6)
    for ours, theirs in (("labels", "labels_nonzero"), ("weights", "label_weights_nonzero")):
        dense = np.zeros((len(matrices), 3862), np.float32)
        first = 0
        for video in range(3):
            pairs = expected[f"{theirs}_{video}"]
            dense[first + pairs[:, 0], pairs[:, 1]] = 1
            first += len(expected[f"video_matrix_{video}"])
        np.testing.assert_array_equal(batch[ours], dense)


def _network(aggregation, head, classes, data) -> Network:
    """A network with a golden file's weights."""
    network = Network(NetworkConfig(aggregation=aggregation, head=head), YOUTUBE8M, classes)
    for name, weight in _by_reference_name(network):
        weight.assign(data[f"var/tower/{name}"])
    return network


def _by_reference_name(network):
    for weight in network.weights:
        prefix = next(prefix for prefix in NAMES if weight.path == prefix or weight.path.startswith(f"{prefix}/"))
        yield NAMES[prefix] + weight.path.removeprefix(prefix), weight


def _drawn_frames(data) -> np.ndarray:
    """(B, S, F) uint8: the frames the reference drew with these uniform numbers."""
    rows = np.floor(data["sample_uniform"] * data["num_frames"][:, None]).astype(np.int64)
    return np.take_along_axis(data["frames_u8"], rows[:, :, None], axis=1)
