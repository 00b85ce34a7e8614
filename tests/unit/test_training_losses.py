"""Losses at the ends of what float32 can hold."""

import numpy as np
import pytest
import tensorflow as tf

from segsearch.training.losses import cross_entropy


@pytest.mark.parametrize("epsilon", [1e-5, 1e-8])
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_saturated_score_costs_the_same_in_a_graph_as_outside_of_it(score, epsilon):
    scores, labels = tf.constant([[score, 0.5]]), tf.constant([[score, 0.0]])
    compiled = tf.function(lambda scores: cross_entropy(scores, labels, epsilon=epsilon))
    found, plain = compiled(scores), cross_entropy(scores, labels, epsilon=epsilon)
    np.testing.assert_allclose(plain, np.log(2), rtol=1e-4)
    np.testing.assert_allclose(found, plain, rtol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-8])
def test_a_saturated_score_that_is_wrong_costs_what_epsilon_allows(epsilon):
    scores, labels = tf.constant([[1.0]]), tf.constant([[0.0]])
    compiled = tf.function(lambda scores: cross_entropy(scores, labels, epsilon=epsilon))
    np.testing.assert_allclose(compiled(scores), -np.log(epsilon), rtol=1e-4)
