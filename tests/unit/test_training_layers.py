"""Layers and networks: padding changes nothing, unrated pairs teach nothing, classes can be selected."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segsearch.core.features import FeatureSpec
from segsearch.training.aggregations import DBoFConfig, FrameMeanConfig, LogisticConfig, MoEConfig
from segsearch.training.averaging import Average
from segsearch.training.config import AverageConfig, NetworkConfig, StageConfig
from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.losses import cross_entropy
from segsearch.training.models.network import Network
from segsearch.training.schedule import learning_rate_at

FEATURES = FeatureSpec.parse("rgb:12,audio:4")
CLASSES = 7
AGGREGATIONS = [
    DBoFConfig(clusters=16, hidden=8),
    DBoFConfig(clusters=16, hidden=8, pooling="mean", activation="relu6"),
    FrameMeanConfig(),
]
HEADS = [MoEConfig(mixtures=2), LogisticConfig()]


@pytest.fixture(params=[(a, h) for a in AGGREGATIONS for h in HEADS], ids=str)
def network(request):
    keras.utils.set_random_seed(1)
    aggregation, head = request.param
    return _with_moving_statistics(Network(NetworkConfig(aggregation=aggregation, head=head), FEATURES, CLASSES))


def test_padding_changes_no_score(network):
    codes, counts = _codes(3, 6), np.array([6, 4, 1], np.int32)
    alone = [network(codes[row : row + 1, :count], counts[row : row + 1])["scores"] for row, count in enumerate(counts)]
    padded = np.concatenate([codes, _codes(3, 5)], axis=1)  # what stands in the padding must not matter
    np.testing.assert_allclose(network(padded, counts)["scores"], np.concatenate(alone), rtol=0, atol=1e-6)


def test_padding_changes_no_gradient_and_no_statistic(network):
    codes, counts = _codes(3, 6), np.array([6, 6, 6], np.int32)
    padded = np.concatenate([codes, _codes(3, 5)], axis=1)
    short, long = network.copy(), network.copy()
    for some, other in zip(_gradients(short, codes, counts), _gradients(long, padded, counts), strict=True):
        np.testing.assert_allclose(some, other, rtol=1e-4, atol=1e-5)
    for some, other in zip(short.weights, long.weights, strict=True):
        np.testing.assert_allclose(some, other, rtol=0, atol=1e-6)


def test_a_window_without_frames_scores_finite(network):
    assert np.isfinite(network(_codes(1, 3), np.zeros(1, np.int32))["scores"]).all()


def test_scores_do_not_depend_on_the_company(network):
    codes, counts = _codes(4, 6), np.array([6, 5, 2, 3], np.int32)
    together = network(codes, counts)["scores"]
    np.testing.assert_allclose(network(codes[2:3], counts[2:3])["scores"], together[2:3], rtol=0, atol=1e-6)


def test_selected_classes_score_as_they_did_among_all(network):
    codes, counts, ordinals = _codes(3, 6), np.array([6, 5, 2], np.int32), np.array([5, 0, 3])
    selected = network.select_classes(ordinals)
    expected = network(codes, counts)["scores"].numpy()[:, ordinals]
    np.testing.assert_allclose(selected(codes, counts)["scores"], expected, rtol=0, atol=1e-6)


def test_an_unrated_pair_gives_no_gradient():
    scores = tf.Variable([[0.3, 0.8, 0.5], [0.1, 0.6, 0.9]])
    weights = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    with tf.GradientTape() as tape:
        loss = cross_entropy(scores, np.zeros((2, 3), np.float32), weights)
    np.testing.assert_array_equal(tape.gradient(loss, scores).numpy() != 0, weights > 0)


def test_an_unrated_class_keeps_its_head():
    network = Network(NetworkConfig(aggregation=AGGREGATIONS[0], head=LogisticConfig(l2=0.0)), FEATURES, CLASSES)
    codes, counts = _codes(3, 6), np.array([6, 6, 6], np.int32)
    weights = np.zeros((3, CLASSES), np.float32)
    weights[:, 2] = 1
    with tf.GradientTape() as tape:
        loss = cross_entropy(network(codes, counts, training=True)["scores"], np.ones((3, CLASSES)), weights)
    by_class = np.abs(tape.gradient(loss, network.head.kernel)).max(axis=0)
    np.testing.assert_array_equal(by_class > 0, np.arange(CLASSES) == 2)


def test_batch_norm_leaves_rows_of_weight_zero_out_of_its_statistics():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    norm = BatchNorm(decay=0.9)
    y = norm(x, np.array([1, 1, 1, 1, 0, 0], np.float32), training=True)
    np.testing.assert_allclose(np.mean(y[:4], axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(norm.moving_mean, 0.1 * x[:4].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * x[:4].var(axis=0, ddof=1), rtol=1e-5)


def test_dropout_acts_in_training_only():
    config = DBoFConfig(clusters=16, hidden=8, pooled_dropout=0.5, hidden_dropout=0.5)
    network = Network(NetworkConfig(aggregation=config), FEATURES, CLASSES)
    codes, counts = _codes(3, 6), np.array([6, 6, 6], np.int32)
    np.testing.assert_array_equal(network(codes, counts)["scores"], network(codes, counts)["scores"])
    some, other = (network(codes, counts, training=True)["embedding"] for _ in range(2))
    assert np.abs(some - other).max() > 0


def test_variables_have_the_same_names_in_every_network():
    some, other = (Network(NetworkConfig(aggregation=AGGREGATIONS[0]), FEATURES, CLASSES) for _ in range(2))
    assert [weight.path for weight in some.weights] == [weight.path for weight in other.weights]
    assert len({weight.path for weight in some.weights}) == len(some.weights)


def test_the_average_covers_batch_norms_moving_statistics():
    network = Network(NetworkConfig(aggregation=AGGREGATIONS[0]), FEATURES, CLASSES)
    average = Average(network, AverageConfig(decay=0.9, warm_up=False))
    moved = network.aggregation.input_bn.moving_mean
    moved.assign(moved + 1.0)
    average.update(tf.constant(0, tf.int64))
    np.testing.assert_allclose(average.network.aggregation.input_bn.moving_mean, 0.1, rtol=1e-5)


def test_before_its_start_the_average_is_a_copy():
    network = Network(NetworkConfig(aggregation=AGGREGATIONS[0]), FEATURES, CLASSES)
    average = Average(network, AverageConfig(decay=0.9, start_step=5))
    network.aggregation.hidden.assign(network.aggregation.hidden * 2.0)
    average.update(tf.constant(4, tf.int64))
    np.testing.assert_array_equal(average.network.aggregation.hidden, network.aggregation.hidden)


def test_the_learning_rate_falls_in_stairs_of_examples():
    config = StageConfig(learning_rate=0.01, decay=0.5, decay_examples=100, batch_size=30)
    rates = [learning_rate_at(config, step) for step in (0, 3, 4, 6, 7)]
    assert rates == [0.01, 0.01, 0.005, 0.005, 0.0025]


def _codes(batch, width):
    return np.random.default_rng(width).integers(0, 256, (batch, width, FEATURES.size), np.uint8)


def _with_moving_statistics(network):
    """Moving statistics as if trained, so that inference differs from identity."""
    random = np.random.default_rng(2)
    for weight in network.non_trainable_weights:
        weight.assign(random.uniform(0.5, 1.5, weight.shape).astype(np.float32))
    return network


def _gradients(network, codes, counts):
    with tf.GradientTape() as tape:
        scores = network(codes, counts, training=True)["scores"]
        loss = cross_entropy(scores, np.ones(scores.shape, np.float32))
    return tape.gradient(loss, network.trainable_variables)
