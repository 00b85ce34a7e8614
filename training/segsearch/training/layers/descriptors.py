"""What VLADs and Fisher vectors share: sums of frames by cluster, and their normalisations.

B segments, W frames of a window, D features, K clusters. Descriptors are feature-major: cluster fastest.
"""

from keras import ops

from segsearch.training.layers.frames import UNIT_FLOOR


def frame_sums(assignment, frames):  # (B, W, K), (B, W, D)
    """Each cluster's weighted sum of frames, (B, D, K)."""
    return ops.matmul(ops.transpose(frames, (0, 2, 1)), assignment)


def unit_clusters(descriptor):  # (B, D, K)
    """Each cluster's column to unit length."""
    length = ops.sum(ops.square(ops.cast(descriptor, "float32")), axis=1, keepdims=True)  # float16 has no 1e-12
    return descriptor * ops.cast(ops.rsqrt(ops.maximum(length, UNIT_FLOOR)), descriptor.dtype)


def flatten(descriptor):  # (B, D, K)
    """(B, D K)."""
    return ops.reshape(descriptor, (-1, descriptor.shape[1] * descriptor.shape[2]))
