"""How a segment's classes weigh: each way of handling labels is the loss that its source states."""

import numpy as np
import pytest

from segsearch.core.errors import ConfigError
from segsearch.training.input.weighing import class_weights_of, weigh
from segsearch.training.losses import EPSILON, cross_entropy
from segsearch.training.supervision import LabelConfig

# One segment, five classes: rated yes, rated no, a video label that nobody rated, and two that are nothing.
LABELS = np.array([[1, 0, 0, 0, 0]], np.float32)
RATED = np.array([[1, 1, 0, 0, 0]], np.float32)
IN_VIDEO = np.array([[1, 0, 1, 0, 0]], np.float32)
SCORES = np.array([[0.7, 0.2, 0.9, 0.4, 0.1]], np.float32)
YES, NO = -np.log(SCORES[0] + EPSILON), -np.log(1 - SCORES[0] + EPSILON)  # (5,) each


def test_as_it_stands_rated_classes_alone_count():
    labels, weights = weigh(LabelConfig(), LABELS, RATED, IN_VIDEO, None)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(weights, RATED)


def test_each_weak_negative_weighs_the_same():
    _, weights = weigh(LabelConfig(weak_negatives="each", weak_weight=0.1), LABELS, RATED, IN_VIDEO, None)
    np.testing.assert_allclose(weights, [[1, 1, 0, 0.1, 0.1]])


def test_the_seventh_places_loss_is_theirs():
    config = LabelConfig(weak_negatives="mean", weak_weight=0.5, positive_weight=1.5, negative_weight=0.5)
    assert _loss(config) == pytest.approx(1.5 * YES[0] + 0.5 * NO[1] + 0.5 * (NO[3] + NO[4]) / 2, rel=1e-5)


def test_the_second_places_loss_is_theirs():
    config = LabelConfig(weak_negatives="label_mean", weak_weight=1.0)
    assert _loss(config) == pytest.approx(YES[0] + NO[1] + (NO[1] + NO[3] + NO[4]) / 3, rel=1e-5)


def test_a_class_rated_yes_that_is_no_video_label_is_pulled_both_ways_by_the_second_places_loss():
    config, nothing = LabelConfig(weak_negatives="label_mean", weak_weight=1.0), np.zeros_like(IN_VIDEO)
    assert _loss(config, in_video=nothing) == pytest.approx(YES[0] + NO[1] + NO.mean(), rel=1e-5)


def test_a_segment_whose_every_class_is_known_has_no_weak_negative():
    everything = np.ones_like(IN_VIDEO)
    assert _loss(LabelConfig(weak_negatives="mean"), in_video=everything) == pytest.approx(YES[0] + NO[1], rel=1e-5)


def test_a_half_sure_rating_keeps_its_half_under_weights():
    config = LabelConfig(positive_weight=1.5, negative_weight=0.5)
    assert _loss(config, labels=LABELS / 2) == pytest.approx(0.75 * YES[0] + 0.25 * NO[0] + 0.5 * NO[1], rel=1e-5)


def test_class_weights_even_out_what_was_rated_unevenly():
    weights = class_weights_of(LabelConfig(class_power=1.0), np.array([0] * 6 + [1] * 2), classes=3)
    np.testing.assert_allclose(weights, [2 / 3, 2, 1])  # each class's ratings weigh 4 in all; the third has none
    halfway = class_weights_of(LabelConfig(class_power=0.5), np.array([0] * 4 + [1]), classes=2)
    np.testing.assert_allclose(halfway, [5 / 6, 5 / 3])


def test_class_weights_multiply_whatever_a_class_weighs():
    config = LabelConfig(weak_negatives="each", weak_weight=0.1)
    _, weights = weigh(config, LABELS, RATED, IN_VIDEO, np.array([1, 2, 3, 4, 5], np.float32))
    np.testing.assert_allclose(weights, [[1, 2, 0, 0.4, 0.5]])


def test_without_a_power_there_are_no_class_weights():
    assert class_weights_of(LabelConfig(), np.array([0, 0, 1]), classes=2) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weak_negatives", "all"),
        ("weak_weight", 0.0),
        ("positive_weight", -1.0),
        ("negative_weight", float("inf")),
        ("class_power", -0.5),
    ],
)
def test_a_way_of_handling_labels_that_cannot_work_is_refused_by_name(field, value):
    with pytest.raises(ConfigError) as caught:
        LabelConfig(**{field: value})
    assert caught.value.field == field


def _loss(config: LabelConfig, labels=LABELS, in_video=IN_VIDEO) -> float:
    soft, weights = weigh(config, labels, RATED, in_video, None)
    return float(cross_entropy(SCORES, soft, weights))
