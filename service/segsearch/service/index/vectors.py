"""Embeddings as neighbours compare them: of length one, by cosine.

Where it stands: `jobs` packs embeddings for a generation's file, `neighbours` compares what lies there.

n vectors, H embedding size.
"""

from typing import Final

import numpy as np

from segsearch.service.index.format import EMBEDDINGS_DTYPE

# The float32 of every half float: numpy takes four times as long to work one out as to look it up.
_FLOATS: Final = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """The same directions (..., H) float32 with length one; a vector of zeros has none and stays."""
    vectors = vectors.astype(np.float32)
    largest = np.maximum(vectors.max(axis=-1, keepdims=True), -vectors.min(axis=-1, keepdims=True))
    np.divide(vectors, largest, out=vectors, where=largest > 0)  # first, as squares of large values overflow
    length = np.sqrt(np.einsum("...h,...h->...", vectors, vectors))[..., None]
    np.divide(vectors, length, out=vectors, where=length > 0)
    return vectors


def packed(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings (n, H) as a generation keeps them."""
    return unit(embeddings).astype(EMBEDDINGS_DTYPE)


def cosines(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(n,) float32: how near unit vectors (n, H) are to one (H,), from 1 to -1. Equal vectors are equally near."""
    # Not a matrix product, which adds up in another order where a row lies in another place.
    found: np.ndarray = np.einsum("nh,h->n", vectors, query)
    return found.clip(-1, 1)


def kept_cosines(embeddings: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, H) as a generation keeps them, compared with a unit vector (H,).

    Returns which of them are known, (n,) bool, and the cosines of these, (m,) float32.
    """
    vectors = _FLOATS.take(embeddings.view(np.uint16))
    lengths = np.sqrt(np.einsum("nh,nh->n", vectors, vectors))  # that of one, but for the rounding to half floats
    known = lengths > 0
    found: np.ndarray = np.einsum("nh,h->n", vectors, query)[known] / lengths[known]
    return known, found.clip(-1, 1)
