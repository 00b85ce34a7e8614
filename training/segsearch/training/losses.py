"""Losses as the starter code counts them (google/youtube-8m losses.py, CrossEntropyLoss).

B segments, C classes.
"""

from keras import ops

EPSILON = 1e-5


def cross_entropy(scores, labels, weights=None, epsilon: float = EPSILON):
    """Mean over segments of the sum over classes of binary cross entropy; (B, C) each.

    weights: 0 leaves a (segment, class) pair out, as an unrated one must be. The sum is not divided by how many count.
    epsilon: inside the logarithms; the reference systems differ in it.
    """
    # The maximum changes no value. Without it TensorFlow folds 1 and epsilon into one constant, which loses an epsilon
    # of 1e-8 in float32: a score of exactly 1 then costs 0 times infinity.
    misses = ops.maximum(1 - scores, 0.0)
    entropy = -(labels * ops.log(scores + epsilon) + (1 - labels) * ops.log(misses + epsilon))
    if weights is not None:
        entropy = entropy * weights
    return ops.mean(ops.sum(entropy, axis=1))
