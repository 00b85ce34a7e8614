"""What holds for every aggregation, head and mix, whoever published it."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from segsearch.core.errors import ConfigError
from segsearch.core.features import FeatureSpec
from segsearch.training.aggregations import (
    ContextGatingConfig,
    DBoFConfig,
    DistillationConfig,
    FrameMeanConfig,
    GatedDBoFConfig,
    GRUConfig,
    HiddenConfig,
    LogisticConfig,
    LogitMoEConfig,
    LSTMConfig,
    MixConfig,
    MoEConfig,
    NetFVConfig,
    NetVLADConfig,
    NeXtVLADConfig,
    ProbabilityGatingConfig,
    SoftDBoFConfig,
    TowerConfig,
)
from segsearch.training.distillation import mix_divergence, mix_loss
from segsearch.training.models.bodies import aggregation_of, body_of, head_of
from segsearch.training.sizes import embedding_size

FEATURES = FeatureSpec.parse("rgb:16,audio:8")
CLASSES = 5
HIDDEN = HiddenConfig(units=8)
BAGS = {
    "dbof_max": DBoFConfig(clusters=8, hidden=8),
    "dbof_mean": DBoFConfig(clusters=8, hidden=8, pooling="mean", activation="relu6"),
    "frame_mean": FrameMeanConfig(),
    "soft_dbof": SoftDBoFConfig(clusters=16, hidden=HIDDEN, max_pool=True),
    "gated_dbof": GatedDBoFConfig(clusters=16, hidden=HIDDEN, gating=ContextGatingConfig(remove_diagonal=True)),
    "netvlad": NetVLADConfig(clusters=4, hidden=HIDDEN),
    "netvlad_light": NetVLADConfig(clusters=4, form="light", hidden=HiddenConfig(units=8, form="batch_norm_relu6")),
    "netvlad_gated": NetVLADConfig(clusters=4, form="gated", hidden=HIDDEN, gating=None),
    "netfv": NetFVConfig(clusters=4, hidden=HIDDEN),
    "soft_dbof_alone": SoftDBoFConfig(clusters=16, hidden=None, max_pool=True),
    "gated_dbof_alone": GatedDBoFConfig(clusters=16, hidden=None, max_pool=True),
    "nextvlad": NeXtVLADConfig(clusters=4, groups=4, hidden=HiddenConfig(units=8, form="batch_norm")),
}
SEQUENCES = {
    "lstm": LSTMConfig(cells=4),
    "lstm_states": LSTMConfig(cells=4, output="states", direction="backward"),
    "lstm_bidirectional": LSTMConfig(cells=4, direction="bidirectional", output="cell"),
    "gru": GRUConfig(cells=4),
    "gru_backward": GRUConfig(cells=4, direction="backward"),
    "gru_bidirectional": GRUConfig(
        cells=4, direction="bidirectional", output="hidden", gating=ContextGatingConfig(form="bias")
    ),
}
AGGREGATIONS = {**BAGS, **SEQUENCES}
HEADS = {
    "moe": MoEConfig(),
    "logistic": LogisticConfig(),
    "he_logistic": LogisticConfig(l2=1e-5, bias_l2=1e-5, start="he"),
    "logit_moe": LogitMoEConfig(mixtures=2),
    "shared_gate": LogitMoEConfig(mixtures=2, shared_gate=True, batch_norm=True, dropout=0.5),
    "gated_by_embedding": ProbabilityGatingConfig(input="embedding"),
}
UNLIKE = MixConfig(
    towers=(
        TowerConfig(aggregation=BAGS["dbof_max"], head=MoEConfig()),
        TowerConfig(aggregation=BAGS["netvlad"], head=LogisticConfig(start="he")),
        TowerConfig(aggregation=SEQUENCES["lstm"], head=LogitMoEConfig(mixtures=2)),
    )
)


@pytest.fixture(autouse=True, scope="module")
def seed():
    keras.utils.set_random_seed(3)


@pytest.fixture
def frames():
    """Two segments of 6 and 3 real frames, padded to 6 with what must not count."""
    frames = np.random.default_rng(1).normal(size=(2, 6, FEATURES.size)).astype(np.float32)
    return frames, (np.arange(6) < np.array([6, 3])[:, None]).astype(np.float32)


def scattered(layer):
    """The layer with every weight moved, so that nothing is zero or one by chance of its start."""
    random = np.random.default_rng(2)
    layer.set_weights([np.abs(w + random.normal(0, 0.2, w.shape)).astype(np.float32) for w in layer.get_weights()])
    return layer


@functools.cache
def built(config, streams=FEATURES.streams):
    layer = aggregation_of(config, streams)
    layer.build((None, None, sum(stream.size for stream in streams)))
    return scattered(layer)


@functools.cache
def body(config, classes=CLASSES):
    layer = body_of(config, FEATURES.streams, classes)
    layer.build((None, None, FEATURES.size))
    return scattered(layer)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_padding_changes_no_embedding(name, frames):
    x, mask = frames
    layer = built(AGGREGATIONS[name])
    np.testing.assert_allclose(layer(x, mask)[1:], layer(x[1:, :3], mask[1:, :3]), atol=2e-6)


@pytest.mark.parametrize("name", sorted(BAGS.keys() - {"frame_mean"}))
def test_padding_counts_in_no_statistic_of_a_batch(name, frames):
    x, mask = frames
    other = np.where(mask[..., None] > 0, x, 7.0)
    layer = built(BAGS[name])
    np.testing.assert_allclose(layer(x, mask, training=True), layer(other, mask, training=True), atol=1e-5)


@pytest.mark.parametrize("name", BAGS)
def test_the_order_of_frames_is_nothing_to_a_bag(name, frames):
    x, _ = frames
    layer, mask = built(BAGS[name]), np.ones((2, 6), np.float32)
    np.testing.assert_allclose(layer(x, mask), layer(x[:, [3, 0, 5, 1, 4, 2]], mask), atol=2e-6)


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_order_of_frames_matters_to_a_recurrent_network(name, frames):
    x, _ = frames
    layer, mask = built(SEQUENCES[name]), np.ones((2, 6), np.float32)
    assert np.abs(layer(x, mask) - layer(x[:, ::-1], mask)).max() > 1e-3


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_every_aggregation_works_on_one_stream(name, frames):
    x, mask = frames
    layer = built(AGGREGATIONS[name], FeatureSpec.parse("audio:24").streams)
    assert np.isfinite(layer(x, mask)).all()


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_an_embedding_is_as_large_as_its_settings_say(name, frames):
    assert embedding_size(AGGREGATIONS[name], FEATURES) == built(AGGREGATIONS[name])(*frames).shape[-1]


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_every_trained_variable_gets_a_gradient(name, frames):
    x, mask = frames
    tower = body(TowerConfig(aggregation=AGGREGATIONS[name]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(x, mask, training=True)["scores"] ** 2)
    variables = [variable.value for variable in tower.trainable_variables]
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in tape.gradient(loss, variables))


@pytest.mark.parametrize("name", HEADS)
def test_a_head_restricted_to_classes_scores_them_as_before(name):
    embeddings = np.random.default_rng(4).normal(size=(3, 8)).astype(np.float32)
    whole, part = head_of(HEADS[name], CLASSES), head_of(HEADS[name], 2)
    whole.build((None, 8))
    part.build((None, 8))
    part.take_classes(scattered(whole), np.array([4, 1]))
    np.testing.assert_allclose(part(embeddings), np.asarray(whole(embeddings))[:, [4, 1]], atol=1e-6)


def test_a_mix_restricted_to_classes_scores_them_as_before(frames):
    whole, part = body(UNLIKE), body(UNLIKE, classes=2)
    part.take_classes(whole, np.array([4, 1]))
    found, expected = part(*frames)["scores"], np.asarray(whole(*frames)["scores"])[:, [4, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_mix_of_unlike_towers_is_their_weighted_logits(frames):
    outputs = body(UNLIKE)(*frames)
    weights, logits = np.asarray(outputs["tower_weights"]), np.asarray(outputs["tower_logits"])
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    expected = 1 / (1 + np.exp(-np.einsum("bn,bnc->bc", weights, logits)))
    np.testing.assert_allclose(outputs["scores"], expected, atol=1e-6)


def test_a_towers_scores_are_the_sigmoid_of_the_logits_it_gives_a_mix(frames):
    for head in HEADS.values():
        tower = body(TowerConfig(aggregation=BAGS["netvlad"], head=head))
        logits, _ = tower.logits(*frames)
        np.testing.assert_allclose(tower(*frames)["scores"], 1 / (1 + np.exp(-np.asarray(logits))), atol=2e-6)


def test_a_mix_judges_padding_only_if_asked_to(frames):
    x, mask = frames
    longer = np.pad(x, ((0, 0), (0, 4), (0, 0))), np.pad(mask, ((0, 0), (0, 4)))
    real, padded = (body(MixConfig(towers=UNLIKE.towers, gate_input=kind)) for kind in ("real", "padded"))
    np.testing.assert_allclose(real.weigh(*longer), real.weigh(*frames), atol=1e-6)
    assert np.abs(np.asarray(padded.weigh(*longer)) - padded.weigh(*frames)).max() > 1e-4


@pytest.mark.parametrize(
    "config", [UNLIKE, *(TowerConfig(aggregation=AGGREGATIONS[name]) for name in ("nextvlad", "gru_bidirectional"))]
)
def test_a_traced_network_scores_windows_of_any_length(config, frames):
    network = body(config)
    free = [tf.TensorSpec((None, None, FEATURES.size)), tf.TensorSpec((None, None))]
    traced = tf.function(lambda x, mask: network(x, mask)["scores"], input_signature=free)
    for x, mask in (frames, (frames[0][:1, :2], frames[1][:1, :2])):
        np.testing.assert_allclose(traced(x, mask), network(x, mask)["scores"], atol=1e-6)


def test_towers_that_agree_are_not_apart():
    logits = tf.constant(np.random.default_rng(0).normal(size=(4, CLASSES)), tf.float32)
    assert abs(float(mix_divergence(logits, tf.stack([logits] * 3, axis=1), temperature=2.0))) < 1e-6


@pytest.mark.parametrize("stops", [True, False])
def test_the_divergence_moves_the_mix_unless_its_gradient_stops(stops):
    random = np.random.default_rng(0)
    mix, towers = (tf.Variable(random.normal(size=shape), dtype=tf.float32) for shape in ((2, 5), (2, 3, 5)))
    with tf.GradientTape() as tape:
        divergence = mix_divergence(mix, towers, temperature=2.0, stop_gradient=stops)
    moved, taught = tape.gradient(divergence, [mix, towers])
    assert np.abs(taught).max() > 1e-4
    assert (moved is None) if stops else (np.abs(moved).max() > 1e-4)


def test_an_unrated_pair_is_in_no_label_term_of_a_mix(frames):
    outputs, settings = body(UNLIKE)(*frames), DistillationConfig()
    weights = np.zeros((2, CLASSES), np.float32)
    weights[:, 1] = 1
    labels = np.eye(CLASSES, dtype=np.float32)[[1, 2]]
    other = labels.copy()
    other[:, [0, 3, 4]] = 1
    found, same = (mix_loss(outputs, target, settings, weights).total for target in (labels, other))
    np.testing.assert_allclose(found, same, rtol=1e-6)


def test_the_divergence_weighs_temperature_squared_unless_told():
    assert DistillationConfig(temperature=3.0).divergence_weight == 9.0
    assert DistillationConfig(temperature=3.0, weight=0.5).divergence_weight == 0.5


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: HiddenConfig(form="relu"), "form is 'relu', wanted one of bias, batch_norm_relu6, batch_norm"),
        (lambda: NetVLADConfig(clusters=0), "clusters is 0, wanted at least 1"),
        (lambda: LSTMConfig(cells=5, direction="bidirectional"), r"cells, layers, output is \(5, 2, 'hidden'\)"),
        (lambda: MixConfig(towers=()), "towers is 0, wanted at least 2"),
        (lambda: DistillationConfig(temperature=0.0), "temperature is 0.0, wanted a finite number above 0"),
        (lambda: ContextGatingConfig(form="squeeze", remove_diagonal=True), "remove_diagonal is True, wanted false"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(config, message):
    with pytest.raises(ConfigError, match=message):
        config()


def test_groups_that_do_not_divide_the_features_are_refused():
    with pytest.raises(ConfigError, match="groups is 5, wanted a divisor of 32"):
        built(NeXtVLADConfig(groups=5))


def test_network_settings_and_reference_files_are_read_without_tensorflow():
    modules = "segsearch.training.aggregations, segsearch.training.reference.checkpoints"
    program = f"import sys, {modules}; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
