"""How much each class of a rated segment counts, as weights and labels that every loss understands.

Where it stands: `segments` calls `weigh` on each training batch. Cross entropy is linear in label and weight, so all
ways of handling labels are a choice of the two: an objective need not know which. Evaluation never passes here.

B segments, C classes.
"""

import numpy as np
import tensorflow as tf

from segsearch.training.supervision import LabelConfig


def weigh(
    config: LabelConfig, labels: tf.Tensor, rated: tf.Tensor, in_video: tf.Tensor, class_weights: np.ndarray | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels and weights to train on, (B, C) float32 each.

    labels: (B, C) the rating's score, 0 where there is none; rated, in_video: (B, C) 1 or 0, whether the segment was
    rated for the class, and whether the class is among its video's labels. class_weights: (C,) float32.
    """
    positive = labels * rated * config.positive_weight  # what weighs on -log(p)
    negative = (1.0 - labels) * rated * config.negative_weight + _weak(config, rated, in_video)  # ... on -log(1 - p)
    weights = positive + negative
    soft = tf.math.divide_no_nan(positive, weights)
    return soft, weights if class_weights is None else weights * class_weights


def _weak(config: LabelConfig, rated: tf.Tensor, in_video: tf.Tensor) -> tf.Tensor:
    """(B, C) float32: how much each class counts as a negative without a rating that says so."""
    if config.weak_negatives == "none":
        return tf.zeros_like(rated)
    absent = 1.0 - in_video
    if config.weak_negatives != "label_mean":
        absent *= 1.0 - rated
    if config.weak_negatives == "each":
        return config.weak_weight * absent
    return config.weak_weight * tf.math.divide_no_nan(absent, tf.reduce_sum(absent, axis=1, keepdims=True))


def class_weights_of(config: LabelConfig, rated_ordinals: np.ndarray, classes: int) -> np.ndarray | None:
    """(C,) float32: count ** -power for each class, scaled so that the ratings' mean weight is 1; None at power 0.

    rated_ordinals: (P,) the class of each rating. A class without a rating weighs 1.
    """
    if config.class_power == 0:
        return None
    counts = np.bincount(rated_ordinals, minlength=classes).astype(np.float64)
    seen = counts > 0
    weights = np.ones(classes)
    weights[seen] = counts[seen] ** -config.class_power
    weights[seen] *= counts.sum() / (weights * counts).sum()
    return weights.astype(np.float32)
