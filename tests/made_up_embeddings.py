"""Made-up embeddings in clusters, as those of a library are, and a generation that keeps them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segsearch.service.index.generation import Generation
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.manifest import Skipped
from segsearch.service.index.vectors import packed
from segsearch.service.index.writer import GenerationWriter
from tests.unit.test_index_generation import ORIGIN


def clustered(count: int, size: int, *, clusters: int = 40, spread: float = 0.7, seed: int = 0) -> np.ndarray:
    """(count, size) float32 of any length, around centres."""
    random = np.random.default_rng(seed)
    centres = random.normal(0, 1, (clusters, size))
    near = centres[random.integers(0, clusters, count)] + random.normal(0, spread, (count, size))
    return (near * random.uniform(0.1, 10, (count, 1))).astype(np.float32)


def write_generation(root: Path, embeddings: np.ndarray, lengths: Sequence[int] | None = None) -> Generation:
    """Publishes videos `v0`, `v1`, ... of so many segments each, one each unless told, with these embeddings (N, H)."""
    index = IndexDirectory(root)
    with index.building() as building:
        with GenerationWriter(building.directory, ORIGIN, limit=5, embedding_size=embeddings.shape[1]) as writer:
            for number, length in enumerate([1] * len(embeddings) if lengths is None else lengths):
                writer.add_video(f"v{number}", np.arange(length) * 5)
            writer.add_embeddings(packed(embeddings))
            for _ in ORIGIN.vocabulary.entries:
                writer.add_postings(np.array([0]), np.array([7]))
            writer.seal(building.number, Skipped())
        index.publish(building)
    return index.open_current()
