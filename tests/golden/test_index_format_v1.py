"""A generation written by format version 1: every later release must open it and find the same.

`format_v1/` was made by `test_index_generation.publish`: three videos, two classes; `format_v1_scores/`, with a file of
scores, by `test_index_cli.generation_of(score=9)`; `format_v1_embeddings/` by
`made_up_embeddings.write_generation(clustered(400, 4))` with FLAT_BELOW at 100. They are never written again.
"""

from pathlib import Path

import numpy as np

from segsearch.service.index.index_directory import IndexDirectory

INDEX = IndexDirectory(Path(__file__).parent / "format_v1")


def test_a_generation_of_format_1_opens_and_verifies():
    generation = INDEX.open_current()
    generation.verify()
    assert (generation.number, generation.manifest.bundle.name, generation.manifest.limit) == (1, "tiny", 10)


def test_a_generation_of_format_1_with_scores_opens_and_verifies():
    generation = IndexDirectory(Path(__file__).parent / "format_v1_scores").open_current()
    generation.verify()
    assert (generation.scores.shape, generation.scores.dtype, generation.scores[5, 1]) == ((6, 2), np.uint16, 9)


def test_a_generation_of_format_1_with_embeddings_finds_the_same_neighbours():
    generation = IndexDirectory(Path(__file__).parent / "format_v1_embeddings").open_current()
    generation.verify()
    near = generation.neighbours
    found = near.nearest(near.vector(7), 4, lambda ordinals: ordinals != 7)
    assert (near.about.kind, found.ordinals.tolist()) == ("ivf-sq8", [40, 24, 130, 288])
    np.testing.assert_allclose(found.similarities, [0.964602, 0.912282, 0.90652, 0.906477], atol=1e-6)


def test_a_generation_of_format_1_without_embeddings_has_no_neighbours():
    assert INDEX.open_current().neighbours is None


def test_a_generation_of_format_1_gives_the_same_postings():
    generation = INDEX.open_current()
    ordinals, codes = generation.postings(generation.vocabulary.find("speech"), 10)
    ids, starts = generation.segments(ordinals)
    assert (ids, starts.tolist(), codes.tolist()) == (["x" * 256, "ab"], [0, 5], [9, 7])


def test_a_generation_of_format_1_finds_the_same_segments():
    assert INDEX.open_current().ordinals_of("jälv", np.array([0, 5])).tolist() == [3, -1]
