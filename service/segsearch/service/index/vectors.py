"""Embeddings as neighbours compare them: of length one, by cosine.

Where it stands: `jobs` packs embeddings for a generation's file, `neighbours` compares what lies there.

n vectors, H embedding size.
"""

import numpy as np

from segsearch.service.index.format import EMBEDDINGS_DTYPE


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
