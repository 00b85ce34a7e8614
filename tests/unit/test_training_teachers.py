"""The mean teacher: its cost by hand, what disturbances do to a segment, and what they must leave alone."""

import numpy as np
import pytest
import tensorflow as tf

from segsearch.core.errors import ConfigError
from segsearch.core.features import FeatureSpec
from segsearch.training.aggregations import DBoFConfig, FrameMeanConfig, LogisticConfig, LSTMConfig
from segsearch.training.averaging import Average
from segsearch.training.config import (
    AverageConfig,
    EngineConfig,
    NetworkConfig,
    RunConfig,
    StageConfig,
    SwaConfig,
    stage_two,
)
from segsearch.training.models.network import Network
from segsearch.training.objective import CrossEntropyObjective, objective_of
from segsearch.training.perturbations import add_noise, disturb, drop_frames, mix_up, reverse
from segsearch.training.supervision import MeanTeacherConfig
from segsearch.training.teachers import MeanTeacherObjective, consistency, consistency_weight
from segsearch.training.trainer import OptimiserStep

FEATURES = FeatureSpec.parse("rgb:12,audio:4")
DBOF, LSTM = DBoFConfig(clusters=8, hidden=6, batch_norm_decay=0.9), LSTMConfig(cells=6, layers=1)
STEP = tf.constant(7, tf.int64)
SEED = tf.constant([3, 7], tf.int64)
UNDISTURBED = MeanTeacherConfig(reverse=False)


@pytest.fixture
def segments():
    """Six windows of up to five frames: codes (6, 5, 16), counts (6,)."""
    counts = np.array([5, 4, 1, 3, 5, 2], np.int32)
    codes = np.random.default_rng(0).integers(0, 256, (6, 5, FEATURES.size), np.uint8)
    codes[np.arange(5) >= counts[:, None]] = 0
    return codes, counts


def test_the_cost_is_the_mean_squared_difference_of_the_two_probability_vectors(segments):
    network, teacher = _network(LSTM), _network(LSTM, seed=1)
    reversed_codes = reverse(*segments)
    apart = network(reversed_codes, segments[1])["scores"] - teacher(*segments)["scores"]
    cost = consistency(network, teacher, *segments, MeanTeacherConfig(), STEP)
    np.testing.assert_allclose(cost, np.mean(np.square(apart)), rtol=1e-5)


def test_reversal_says_nothing_to_a_bag_of_frames_and_something_to_a_recurrent_network(segments):
    bag, recurrent = _network(DBOF), _network(LSTM)
    backwards = (reverse(*segments), segments[1])
    np.testing.assert_allclose(bag(*backwards)["scores"], bag(*segments)["scores"], atol=1e-6)
    assert np.abs(recurrent(*backwards)["scores"] - recurrent(*segments)["scores"]).max() > 1e-4


def test_the_teacher_gets_no_gradient_and_the_student_does(segments):
    network, teacher = _network(LSTM), _network(LSTM, seed=1)
    with tf.GradientTape(persistent=True) as tape:
        cost = consistency(network, teacher, *segments, MeanTeacherConfig(), STEP)
    assert all(gradient is None for gradient in tape.gradient(cost, teacher.trainable_variables))
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(cost, network.trainable_variables)[:2])


def test_batch_norms_moving_statistics_never_see_a_disturbed_segment(segments):
    network = _network(DBOF)
    before = network.get_weights()
    consistency(network, network.copy(), *segments, MeanTeacherConfig(noise=0.5), STEP)
    for weight, value in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_with_mixup_the_teacher_mixes_its_scores_as_the_frames_were_mixed(segments):
    network, config = _network(LSTM), MeanTeacherConfig(reverse=False, mixup=0.5)
    seen = disturb(config, *segments, 4 / 255, tf.stack([tf.constant(0x5EED, tf.int64), STEP]))
    scores = network(*segments)["scores"].numpy()
    target = (1 - seen.share) * scores + seen.share * np.roll(scores, 1, axis=0)
    apart = network(seen.codes, seen.frame_count)["scores"] - target
    np.testing.assert_allclose(
        consistency(network, network.copy(), *segments, config, STEP), np.mean(np.square(apart)), rtol=1e-4
    )


def test_an_objective_adds_the_weighted_cost_to_what_labels_ask_for(segments):
    config = MeanTeacherConfig(weight=3.0, ramp_up_steps=0)
    network, teacher = _network(LSTM), _network(LSTM, seed=1)
    batch = {"codes": segments[0], "frame_count": segments[1], "labels": np.eye(6, 5, dtype=np.float32)}
    batch |= {"unlabelled_codes": segments[0], "unlabelled_frame_count": segments[1]}
    labelled = CrossEntropyObjective()
    loss = MeanTeacherObjective(labelled, config).loss(network, teacher, batch, STEP)
    apart = consistency(network, teacher, *segments, config, STEP)
    np.testing.assert_allclose(loss, labelled.loss(network, teacher, batch, STEP) + 3.0 * apart, rtol=1e-5)


def test_a_batch_taken_in_parts_teaches_as_the_whole_batch(segments):
    codes, counts = segments
    batch = {"codes": codes, "frame_count": counts, "labels": np.eye(6, 5, dtype=np.float32)}
    batch |= {"unlabelled_codes": codes[:4], "unlabelled_frame_count": counts[:4]}
    spec = {name: tf.TensorSpec((None, *values.shape[1:]), values.dtype) for name, values in batch.items()}
    batch = {name: tf.constant(values) for name, values in batch.items()}
    teacher, losses = MeanTeacherConfig(ramp_up_steps=0), []
    for parts in (1, 2):
        network, engine = _network(FrameMeanConfig()), EngineConfig(accumulation=parts)
        objective = MeanTeacherObjective(CrossEntropyObjective(), teacher)
        step = OptimiserStep(network, StageConfig(mean_teacher=teacher), spec, objective, engine)
        losses.append([float(step(batch, number)) for number in range(3)])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert losses[0][2] < losses[0][0]


@pytest.mark.parametrize(("step", "share"), [(0, np.exp(-5)), (50, np.exp(-1.25)), (100, 1.0), (5000, 1.0)])
def test_the_weight_ramps_up_as_in_the_mean_teacher_paper(step, share):
    config = MeanTeacherConfig(weight=8.0, ramp_up_steps=100)
    np.testing.assert_allclose(consistency_weight(config, tf.constant(step, tf.int64)), 8 * share, rtol=1e-6)


def test_a_stage_with_a_mean_teacher_gets_its_objective():
    stage = stage_two(mean_teacher=MeanTeacherConfig())
    config = RunConfig(name="trial", stage2=stage)
    assert objective_of(config, stage) == MeanTeacherObjective(CrossEntropyObjective(), MeanTeacherConfig())
    assert objective_of(config, config.stage1) == CrossEntropyObjective()


def test_reversal_turns_real_frames_around_and_leaves_padding_behind(segments):
    codes, counts = segments
    for turned, row, count in zip(reverse(codes, counts).numpy(), codes, counts, strict=True):
        np.testing.assert_array_equal(turned[:count], row[:count][::-1])
        assert not turned[count:].any()


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.99])
def test_dropped_frames_leave_the_others_in_order_and_at_least_one(segments, probability):
    codes, counts = segments
    left, left_counts = (np.asarray(part) for part in drop_frames(codes, counts, probability, SEED))
    assert ((left_counts >= 1) & (left_counts <= counts)).all()
    for row, kept, count, whole in zip(left, left_counts, counts, codes, strict=True):
        places = [int(np.flatnonzero((whole[:count] == frame).all(axis=1))[0]) for frame in row[:kept]]
        assert places == sorted(places)
        assert not row[kept:].any()


def test_as_many_frames_are_dropped_as_asked_for():
    codes, counts = np.ones((4000, 5, 1), np.uint8), np.full(4000, 5, np.int32)
    _, left = drop_frames(codes, counts, 0.4, SEED)
    assert np.mean(left) == pytest.approx(5 * 0.6 + 0.4**5, abs=0.05)  # all five dropped: one stays


def test_mixup_is_the_mean_by_share_of_the_frames_that_both_have():
    codes = np.array([[[100], [200]], [[0], [0]]], np.uint8)  # two frames, and one with padding
    mixed, counts = mix_up(codes, np.array([2, 1]), np.array([[0.25], [0.5]], np.float32))
    np.testing.assert_array_equal(mixed, [[[75], [0]], [[50], [0]]])
    np.testing.assert_array_equal(counts, [1, 1])


def test_noise_has_the_size_asked_for_and_spares_padding():
    codes, counts = np.full((500, 4, 20), 128, np.uint8), np.full(500, 3)
    codes[:, 3:] = 0
    noisy = add_noise(codes, counts, 9.0, SEED).numpy().astype(float)
    assert noisy[:, :3].std() == pytest.approx(9.0, rel=0.02)
    assert noisy[:, :3].mean() == pytest.approx(128, abs=0.3)
    assert not noisy[:, 3:].any()


def test_noise_is_in_the_features_own_units():
    codes, counts = np.full((500, 4, 20), 128, np.uint8), np.full(500, 4)
    seen = disturb(MeanTeacherConfig(reverse=False, noise=0.25), codes, counts, 4 / 255, SEED)
    assert np.std(np.asarray(seen.codes).astype(float)) * 4 / 255 == pytest.approx(0.25, rel=0.02)


def test_disturbances_follow_from_their_seed(segments):
    config = MeanTeacherConfig(drop=0.3, noise=0.2, mixup=0.4)
    first, again = (disturb(config, *segments, 4 / 255, SEED) for _ in range(2))
    other = disturb(config, *segments, 4 / 255, SEED + 1)
    tf.nest.map_structure(np.testing.assert_array_equal, tuple(first), tuple(again))
    assert not np.array_equal(first.codes, other.codes)


def test_without_disturbance_the_student_sees_the_segments_themselves(segments):
    seen = disturb(UNDISTURBED, *segments, 4 / 255, SEED)
    np.testing.assert_array_equal(seen.codes, segments[0])
    np.testing.assert_array_equal(seen.share, np.zeros((6, 1)))


@pytest.mark.parametrize(
    ("field", "value"),
    [("weight", 0.0), ("ramp_up_steps", -1), ("unlabelled_share", 0.0), ("drop", 1.0), ("noise", -0.1), ("mixup", 0.6)],
)
def test_a_mean_teacher_that_cannot_work_is_refused_by_name(field, value):
    with pytest.raises(ConfigError) as caught:
        MeanTeacherConfig(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize("average", [None, SwaConfig()])
def test_a_mean_teacher_needs_an_exponential_average(average):
    with pytest.raises(ConfigError, match="average"):
        StageConfig(mean_teacher=MeanTeacherConfig(), average=average)


@pytest.mark.parametrize("changes", [{"mean_teacher": MeanTeacherConfig()}, {"evaluate_shift": 1}])
def test_stage_one_knows_no_segments(changes):
    with pytest.raises(ConfigError, match="stage1"):
        RunConfig(name="trial", stage1=StageConfig(**changes))


@pytest.mark.parametrize(("share", "count"), [(1.0, 64), (0.5, 32), (0.001, 1)])
def test_the_mixing_ratio_gives_whole_segments(share, count):
    assert MeanTeacherConfig(unlabelled_share=share).segments_beside(64) == count


def test_plain_averaging_is_the_mean_over_epochs_from_its_start_on_batch_norms_statistics_included():
    network = _network(DBOF)
    average, ends = Average(network, SwaConfig(start_epoch=2)), []
    for epoch in (1, 2, 3, 4):
        network.set_weights([value + epoch for value in network.get_weights()])
        average.update(STEP)  # steps change nothing
        average.end_epoch(epoch)
        ends.append(network.get_weights())
        counted = ends[1:] if epoch > 1 else ends
        for mine, theirs in zip(average.network.get_weights(), zip(*counted, strict=True), strict=True):
            np.testing.assert_allclose(mine, np.mean(theirs, axis=0), rtol=1e-5)


def test_an_exponential_average_may_copy_batch_norms_statistics():
    network = _network(DBOF)
    average = Average(network, AverageConfig(decay=0.9, warm_up=False, batch_norm="copied"))
    start = network.get_weights()
    network.set_weights([value + 1 for value in start])
    average.update(STEP)
    for mine, theirs in zip(average.network.non_trainable_weights, network.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(average.network.trainable_weights[0], network.trainable_weights[0] - 0.9, atol=1e-6)


def _network(aggregation, seed: int = 0) -> Network:
    tf.keras.utils.set_random_seed(seed)
    config = NetworkConfig(normalisation="none", aggregation=aggregation, head=LogisticConfig())
    return Network(config, FEATURES, 5)
