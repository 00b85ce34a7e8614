"""A student's loss: people's ratings and teachers' scores, by formulas worked out in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from segsearch.core.errors import ConfigError
from segsearch.training.student.config import DistilConfig, student_run, taught
from segsearch.training.student.objective import DistilObjective, logits_of, teacher_loss

SCORES = np.array([[0.9, 0.2, 0.4], [0.1, 0.6, 0.03]])
TEACHER = np.array([[1.0, -2.0, 0.5], [-3.0, 0.2, -1.0]], np.float32)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def entropy(scores, targets):
    return -(targets * np.log(scores + 1e-5) + (1 - targets) * np.log(1 - scores + 1e-5))


class Recorded:
    """A network that has always the same to say."""

    def __call__(self, codes, frame_count, training):  # noqa: ARG002
        assert training
        return {"scores": tf.constant(SCORES, tf.float32)}


def loss(config, labels, weights):
    batch = {"codes": None, "frame_count": None, "labels": labels, "weights": weights, "teacher": TEACHER}
    return float(DistilObjective(config).loss(Recorded(), None, batch, tf.constant(0)))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_each_class_follows_its_own_softened_probability(temperature):
    logits = np.log(SCORES) - np.log1p(-SCORES)
    expected = (
        temperature**2 * entropy(sigmoid(logits / temperature), sigmoid(TEACHER / temperature)).sum(axis=1).mean()
    )
    found = teacher_loss(tf.constant(SCORES, tf.float32), TEACHER, DistilConfig(temperature=temperature))
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_under_softmax_only_the_distance_between_classes_counts():
    config = DistilConfig(divergence="softmax", temperature=2.0)
    logits = np.log(SCORES) - np.log1p(-SCORES)
    target, found = softmax(TEACHER / 2), softmax(logits / 2)
    expected = 4 * (target * (np.log(target) - np.log(found))).sum(axis=1).mean()
    scores = tf.constant(SCORES, tf.float32)
    assert float(teacher_loss(scores, TEACHER, config)) == pytest.approx(expected, rel=1e-4)
    shifted = TEACHER + np.array([[3.0], [-2.0]], np.float32)
    assert float(teacher_loss(scores, shifted, config)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_ratings_count_where_they_are_and_teachers_everywhere(share):
    labels, weights = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    labels[0, 1] = weights[0, 1] = weights[1, 2] = 1
    rated = (entropy(SCORES, labels) * weights).sum(axis=1).mean()
    followed = entropy(SCORES, sigmoid(TEACHER)).sum(axis=1).mean()
    expected = share * rated + (1 - share) * followed
    assert loss(DistilConfig(label_weight=share), labels, weights) == pytest.approx(expected, rel=1e-4)


def test_logits_of_scores_at_the_ends_are_finite():
    found = np.asarray(logits_of(tf.constant([[0.0, 0.5, 1.0]])))
    assert np.isfinite(found).all()
    assert found[0, 1] == pytest.approx(0)


def test_a_gradient_keeps_its_size_at_any_temperature():
    sizes = []
    for temperature in (1.0, 4.0):
        scores = tf.Variable(np.full((2, 3), 0.5), dtype=tf.float32)
        with tf.GradientTape() as tape:
            found = teacher_loss(scores, 0.1 * TEACHER, DistilConfig(temperature=temperature))
        sizes.append(np.abs(tape.gradient(found, scores).numpy()).mean())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


@pytest.mark.parametrize(
    "field", [{"temperature": 0.0}, {"label_weight": 1.5}, {"label_weight": float("nan")}, {"divergence": "cosine"}]
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(field):
    with pytest.raises(ConfigError, match=next(iter(field))):
        DistilConfig(**field)


@pytest.mark.parametrize("kind", ["dbof", "nextvlad"])
def test_students_come_in_three_sizes(kind):
    clusters = [student_run(f"{kind}-{size}").network.aggregation.clusters for size in ("small", "medium", "large")]
    assert clusters == sorted(set(clusters))


def test_a_student_that_nobody_knows_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="one of dbof-large, dbof-medium, dbof-small, nextvlad-large"):
        student_run("dbof-tiny")


@pytest.mark.parametrize("name", ["mixdbof_audioset", "mixdbof_teacher_audioset"])
def test_a_mix_is_no_student(name):
    with pytest.raises(ConfigError, match=r"network\.mix"):
        taught(student_run(name))
