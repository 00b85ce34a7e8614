"""Half-sized floats: what they may not touch, and a scale that keeps float16's gradients alive."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segsearch.core.features import FeatureSpec
from segsearch.training.config import EngineConfig, NetworkConfig, StageConfig
from segsearch.training.layers.batch_norm import BatchNorm
from segsearch.training.models.network import Network
from segsearch.training.precision import LossScale, computing_in
from segsearch.training.trainer import OptimiserStep
from tests.unit.test_layers_networks import BAGS, SEQUENCES

FEATURES, CLASSES = FeatureSpec.parse("rgb:16,audio:8"), 5
AGGREGATIONS = {**BAGS, **SEQUENCES}
# Each network is traced anew; what float16 adds, a scaled loss, is the same for all and tested below for one.
HALVES = ("bfloat16", pytest.param("float16", marks=pytest.mark.slow))


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("name", AGGREGATIONS)
def test_every_network_scores_and_learns_in_half_floats(name, precision):
    keras.utils.set_random_seed(1)
    config, batch = NetworkConfig(aggregation=AGGREGATIONS[name]), _batch()
    whole = Network(config, FEATURES, CLASSES)
    with computing_in(precision):
        half = whole.copy()
    outputs, wanted = (network(batch["codes"], batch["frame_count"]) for network in (half, whole))
    assert {str(value.dtype) for value in outputs.values()} == {"<dtype: 'float32'>"}
    assert {weight.dtype for weight in half.weights} == {"float32"}
    assert np.allclose(outputs["scores"], wanted["scores"], atol=0.03)
    with computing_in(precision):
        step = OptimiserStep(half, StageConfig(), _spec(batch), engine=EngineConfig(precision=precision))
    before = [np.asarray(weight) for weight in half.trainable_weights]
    losses = [float(step(batch, number)) for number in range(3)]
    assert np.isfinite(losses).all()
    assert all(np.isfinite(np.asarray(weight)).all() for weight in half.weights)
    after = [np.asarray(weight) for weight in half.trainable_weights]
    assert not all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))


def test_batch_norm_counts_more_rows_than_float16_can():
    random = np.random.default_rng(0)
    rows = random.normal(30, 2, (70_000, 2)).astype(np.float16)  # float16 ends at 65,504
    norm = BatchNorm(decay=0.0)
    normalised = norm(rows, np.ones(len(rows), np.float16), training=True)
    assert normalised.dtype == tf.float16
    assert np.allclose(norm.moving_mean, rows.astype(np.float64).mean(axis=0), rtol=1e-4)


def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_halved():
    weight = keras.Variable(np.ones(3, np.float32))
    optimiser = LossScale(keras.optimizers.Adam(0.1))
    optimiser.build([weight])
    scale = float(optimiser.scale_loss(1.0))
    optimiser.apply([tf.constant([1.0, np.inf, 1.0])])
    assert np.array_equal(weight, np.ones(3))
    assert float(optimiser.scale_loss(1.0)) == scale / 2


def test_half_floats_do_not_outlive_their_training():
    with computing_in("bfloat16"):
        pass
    assert keras.config.dtype_policy().name == "float32"


def test_xla_computes_the_same_step():
    keras.utils.set_random_seed(1)
    batch, losses = _batch(), []
    network = Network(NetworkConfig(aggregation=BAGS["dbof_mean"]), FEATURES, CLASSES)
    for xla in (False, True):
        step = OptimiserStep(network.copy(), StageConfig(), _spec(batch), engine=EngineConfig(xla=xla))
        losses.append([float(step(batch, number)) for number in range(3)])
    assert np.allclose(*losses, rtol=1e-5)


def test_a_warm_batch_norm_forgets_its_start():
    rows = np.random.default_rng(0).normal(0, 0.01, (64, 2)).astype(np.float32)
    cold, warm = BatchNorm(0.999), BatchNorm(0.999, warm_up=True)
    for _ in range(30):
        for norm in (cold, warm):
            norm(rows, training=True)
    true = rows.var(axis=0, ddof=1)
    assert np.all(np.asarray(cold.moving_variance) > 1000 * true)
    # The product of (1 + t) / (10 + t) over 30 moves leaves a billionth of the start.
    assert np.allclose(warm.moving_variance, true, rtol=1e-3)


def test_without_warm_up_batch_norm_has_the_weights_of_the_references():
    norm = BatchNorm()
    norm.build((None, 2))
    assert [weight.name for weight in norm.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]


def _batch() -> dict[str, tf.Tensor]:
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, (6, 5, FEATURES.size), np.uint8)
    codes[3, 2:] = 0
    counts = np.array([5, 5, 5, 2, 5, 5], np.int32)
    labels = random.integers(0, 2, (6, CLASSES)).astype(np.float32)
    return {key: tf.constant(value) for key, value in (("codes", codes), ("frame_count", counts), ("labels", labels))}


def _spec(batch: dict[str, tf.Tensor]) -> dict[str, tf.TensorSpec]:
    return {key: tf.TensorSpec((None, *value.shape[1:]), value.dtype) for key, value in batch.items()}
