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
    entropy = -(labels * ops.log(scores + epsilon) + (1 - labels) * ops.log(1 - scores + epsilon))
    if weights is not None:
        entropy = entropy * weights
    return ops.mean(ops.sum(entropy, axis=1))
