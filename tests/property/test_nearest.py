"""The nearest segments of a view against looking at every embedding: with ties, zeros, and videos that are gone."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segsearch.service.index import neighbour_building
from segsearch.service.index.live.delta import Delta
from segsearch.service.index.vectors import packed, unit
from segsearch.service.index.view import View
from tests.made_up_embeddings import clustered, write_generation


def plain(view: View, query: np.ndarray, but: int) -> np.ndarray:
    """(N,) float64: each segment's cosine; NaN for those that no answer may name."""
    kept = unit(view.generation.neighbours.embeddings).astype(np.float64)
    cosines = kept @ query.astype(np.float64)
    gone = view.hidden[view.generation.segment_videos] | ~kept.any(axis=1)
    gone[but : but + 1 or None] |= but >= 0
    return np.where(gone, np.nan, cosines)


def check(view: View, query: np.ndarray, k: int, but: int) -> None:
    found, wanted = view.nearest(query, k, but), plain(view, query, but)
    best = np.sort(wanted[~np.isnan(wanted)])[::-1][:k]
    np.testing.assert_allclose(found.similarities, best, atol=1e-6)
    np.testing.assert_allclose(found.similarities, wanted[found.ordinals], atol=1e-6)
    order = list(zip(-found.similarities, found.ordinals, strict=True))
    assert order == sorted(set(order))


def without(view: View, gone: set[str]) -> View:
    return View.of(view.generation, replace(Delta.empty(2), changed=frozenset(gone)))


@settings(max_examples=50)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(1, 9), st.integers(0, 2**32 - 1), st.data()
)  # fmt: skip
def test_the_nearest_are_those_that_sorting_everything_gives(lengths, size, seed, data):
    random, count = np.random.default_rng(seed), sum(lengths)
    few = random.normal(0, 1, (max(1, count // 2), size))
    embeddings = few[random.integers(0, len(few), count)] * (random.random((count, 1)) < 0.9)  # ties, and zeros
    gone = data.draw(st.sets(st.sampled_from([f"v{number}" for number in range(len(lengths))])))
    with TemporaryDirectory() as folder:
        generation = write_generation(Path(folder), embeddings.astype(np.float32), lengths)
        view = without(View.of(generation, Delta.empty(2)), gone)
        own = data.draw(st.integers(0, count - 1))
        query = unit(few[random.integers(0, len(few))])
        check(view, query, data.draw(st.integers(1, count + 2)), own)
        check(view, query, data.draw(st.integers(1, count + 2)), -1)


@pytest.mark.parametrize("share_gone", [0.0, 0.5, 0.999])
def test_an_index_of_cells_names_nobody_who_is_gone_and_tells_the_truth_of_the_others(
    tmp_path, monkeypatch, share_gone
):
    monkeypatch.setattr(neighbour_building, "FLAT_BELOW", 1_000)
    embeddings = clustered(2_000, 8)
    generation = write_generation(tmp_path, embeddings)
    chance = np.random.default_rng(1)
    view = without(View.of(generation, Delta.empty(2)), {f"v{n}" for n in range(2_000) if chance.random() < share_gone})
    for own in range(5):
        query = unit(packed(embeddings[own]))
        found, wanted = view.nearest(query, 50, own), plain(view, query, own)
        np.testing.assert_allclose(found.similarities, wanted[found.ordinals], atol=1e-6)  # and none is NaN
        least = np.sort(wanted[~np.isnan(wanted)])[::-1][:50].min()
        assert (found.similarities >= least - 1e-6).mean() >= 0.9
        assert len(found.ordinals) == min(50, int((~np.isnan(wanted)).sum()))
