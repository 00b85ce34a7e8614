"""Neighbours among embeddings: how many are found, what a generation keeps for that, and what damage does."""

import sys
import threading

import numpy as np
import pytest

from segsearch.core.errors import GenerationCorrupt, MissingExtra
from segsearch.service.index import neighbour_building, neighbours
from segsearch.service.index.format import EMBEDDINGS, EMBEDDINGS_DTYPE, NEIGHBOURS
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.manifest import NeighbourIndex, Probing
from segsearch.service.index.neighbour_building import FLAT_BELOW, PQ_FROM, build, kind_for
from segsearch.service.index.neighbours import import_faiss
from segsearch.service.index.vectors import cosines, kept_cosines, packed, unit
from segsearch.service.index.verification import verify_order
from tests.made_up_embeddings import clustered, write_generation
from tests.unit.test_index_generation import reseal

COUNT, SIZE = 3_000, 16


def everybody(ordinals):
    return np.ones(len(ordinals), bool)


@pytest.fixture
def many(monkeypatch):
    """As if a thousand embeddings were too many to compare one and all."""
    monkeypatch.setattr(neighbour_building, "FLAT_BELOW", 1_000)


@pytest.fixture(params=["ivf-sq8", "pq-scan"])
def kind(request, many, monkeypatch):  # noqa: ARG001 - it decides among those that are many
    """Each kind in turn, where there are too many to compare all."""
    few = neighbour_building.kind_for
    monkeypatch.setattr(neighbour_building, "kind_for", lambda n: few(n) if few(n) == "flat" else request.param)


def plain(embeddings, query, k):
    """Ordinals of the k nearest, by looking at every one of the embeddings as they are kept."""
    vectors = unit(packed(embeddings)).astype(np.float64)
    return np.argsort(-(vectors @ query.astype(np.float64)), kind="stable")[:k]


def recall(found, embeddings, queries):
    """Share of each query's 100 nearest that is found."""
    hits = [len(np.intersect1d(found.nearest(query, 100, everybody).ordinals, plain(embeddings, query, 100)))
            for query in queries]  # fmt: skip
    return sum(hits) / (100 * len(hits))


def test_the_kind_follows_the_number_of_segments():
    kinds = [kind_for(count) for count in (1, FLAT_BELOW - 1, FLAT_BELOW, PQ_FROM - 1, PQ_FROM)]
    assert kinds == ["flat", "flat", "ivf-sq8", "ivf-sq8", "ivf-pq"]


def test_a_small_generation_needs_no_faiss_file(tmp_path):
    generation = write_generation(tmp_path, clustered(500, SIZE))
    assert generation.manifest.neighbours == NeighbourIndex("flat", SIZE)
    assert EMBEDDINGS in generation.manifest.files
    assert not (generation.directory / NEIGHBOURS).exists()


@pytest.mark.parametrize("kind", ["ivf-sq8", "ivf-pq", "pq-scan"])
def test_an_index_finds_what_it_was_measured_to_find_for_vectors_it_never_saw(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(neighbour_building, "kind_for", lambda _count: kind)
    embeddings = clustered(COUNT + 100, SIZE)
    generation = write_generation(tmp_path, embeddings[:COUNT])
    about = generation.manifest.neighbours
    assert (about.kind, about.queries) == (kind, 200)
    assert about.recall >= 0.95
    assert recall(generation.neighbours, embeddings[:COUNT], unit(embeddings[COUNT:])) >= 0.95


def test_where_a_few_cells_hold_too_few_neighbours_all_are_looked_through(tmp_path):
    embeddings = packed(np.random.default_rng(0).normal(0, 1, (6_000, 31)))  # no clusters
    found = build(tmp_path, embeddings, "ivf-sq8")
    assert (found.kind, found.parameters.cells) == ("pq-scan", 1)
    assert found.recall >= 0.95


@pytest.mark.usefixtures("many")
def test_the_same_embeddings_give_the_same_file(tmp_path):
    embeddings = clustered(COUNT, SIZE)
    first, second = (write_generation(tmp_path / name, embeddings) for name in "ab")
    assert first.manifest.files == second.manifest.files


@pytest.mark.usefixtures("many", "kind")
def test_more_neighbours_than_the_probed_cells_hold_are_found_too(tmp_path):
    embeddings = clustered(COUNT, SIZE)
    found = write_generation(tmp_path, embeddings).neighbours.nearest(unit(embeddings[0]), COUNT, everybody)
    np.testing.assert_array_equal(np.sort(found.ordinals), np.arange(COUNT))
    assert (np.diff(found.similarities) <= 0).all()


@pytest.mark.usefixtures("many", "kind")
def test_where_nearly_all_are_gone_those_that_are_left_are_found(tmp_path):
    embeddings = clustered(COUNT, SIZE)
    left = np.array([7, 1_500, 2_999])
    found = write_generation(tmp_path, embeddings).neighbours.nearest(
        unit(embeddings[0]), 10, lambda ordinals: np.isin(ordinals, left)
    )
    assert sorted(found.ordinals) == left.tolist()


@pytest.mark.usefixtures("many", "kind")
def test_a_similarity_is_the_cosine_of_what_is_kept(tmp_path):
    embeddings = clustered(COUNT, SIZE)
    found = write_generation(tmp_path, embeddings).neighbours.nearest(unit(embeddings[3]), 5, everybody)
    kept = unit(packed(embeddings))[found.ordinals].astype(np.float64)
    np.testing.assert_allclose(found.similarities, kept @ unit(embeddings[3]), atol=1e-6)
    assert found.ordinals[0] == 3


@pytest.mark.usefixtures("many", "kind")
@pytest.mark.parametrize("count", [50, COUNT])
def test_a_segment_without_an_embedding_is_nobody_s_neighbour(tmp_path, count):
    embeddings = clustered(count, SIZE)
    embeddings[10:20] = 0
    found = write_generation(tmp_path, embeddings).neighbours
    assert not set(found.nearest(unit(embeddings[0]), count, everybody).ordinals) & set(range(10, 20))
    assert len(found.nearest(found.vector(10), 5, everybody).ordinals) == 0


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_recall_is_measured_by_segments_whose_embeddings_are_known(tmp_path, monkeypatch, share):
    monkeypatch.setattr(neighbour_building, "kind_for", lambda _count: "ivf-sq8")
    embeddings = clustered(6_100, SIZE)
    embeddings, queries = embeddings[:6_000], unit(embeddings[6_000:])
    known = np.random.default_rng(1).random(len(embeddings)) >= share
    embeddings[~known] = 0
    found = write_generation(tmp_path, embeddings).neighbours
    ordinals = np.flatnonzero(known)
    hits = [
        len(
            np.intersect1d(
                found.nearest(query, 100, everybody).ordinals, ordinals[plain(embeddings[known], query, 100)]
            )
        )
        for query in queries
    ]
    assert found.about.recall == pytest.approx(np.mean(hits) / 100, abs=0.015)
    assert np.mean(hits) / 100 >= 0.95


@pytest.mark.usefixtures("many")
def test_where_few_embeddings_are_known_these_are_all_compared(tmp_path):
    embeddings = clustered(COUNT, SIZE)
    embeddings[900:] = 0
    generation = write_generation(tmp_path, embeddings)
    assert generation.manifest.neighbours == NeighbourIndex("flat", SIZE)
    assert recall(generation.neighbours, embeddings[:900], unit(embeddings[:20])) == 1


@pytest.mark.usefixtures("many")
def test_where_no_embedding_is_known_that_is_said_and_nobody_is_found(tmp_path, capsys):
    generation = write_generation(tmp_path, np.zeros((COUNT, SIZE), np.float32))
    assert "no segment's embedding is known" in capsys.readouterr().err
    assert generation.manifest.neighbours == NeighbourIndex("flat", SIZE)
    assert len(generation.neighbours.nearest(unit(clustered(1, SIZE)[0]), 5, everybody).ordinals) == 0
    generation.verify()


def test_equal_embeddings_are_equally_near_and_come_in_order(tmp_path):
    one = clustered(1, SIZE)
    found = write_generation(tmp_path, np.repeat(one, 37, axis=0)).neighbours.nearest(unit(one[0]), 10, everybody)
    assert (found.ordinals.tolist(), len(set(found.similarities.tolist()))) == (list(range(10)), 1)


def test_embeddings_of_any_size_become_unit_vectors():
    vectors = np.array([[3e38, -3e38], [1e-38, 0], [0, 0], [3, 4]], np.float32)
    root = 0.5**0.5
    np.testing.assert_allclose(unit(vectors), [[root, -root], [1, 0], [0, 0], [0.6, 0.8]], rtol=1e-6)
    assert packed(vectors).dtype == EMBEDDINGS_DTYPE
    assert cosines(unit(vectors), unit(vectors[3])).tolist()[2:] == [0.0, 1.0]


def test_cosines_of_what_is_kept_are_those_of_its_unit_vectors():
    embeddings = packed(clustered(500, 31))
    embeddings[::7] = 0
    query = unit(clustered(1, 31, seed=1)[0])
    known, similarities = kept_cosines(embeddings, query)
    np.testing.assert_array_equal(known, embeddings.any(axis=1))
    np.testing.assert_allclose(similarities, cosines(unit(embeddings[known]), query), atol=1e-6)


# What is damaged


@pytest.fixture
def generation(tmp_path, many):  # noqa: ARG001 - it is written while a thousand are too many
    """One that has a file of FAISS's."""
    return write_generation(tmp_path, clustered(COUNT, SIZE))


def test_a_whole_generation_with_neighbours_verifies(generation):
    generation.verify()
    verify_order(generation)


def test_a_damaged_file_never_reaches_faiss(generation, monkeypatch):
    file = generation.directory / NEIGHBOURS
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    monkeypatch.setattr(import_faiss("serve"), "read_index", lambda *_: pytest.fail("FAISS read it"))
    for _ in range(2):
        with pytest.raises(GenerationCorrupt, match=r"neighbours\.faiss has xxh3"):
            generation.neighbours.nearest(generation.neighbours.vector(0), 5, everybody)
    with pytest.raises(GenerationCorrupt, match=r"neighbours\.faiss has xxh3"):
        generation.verify()


@pytest.mark.parametrize("name", [EMBEDDINGS, NEIGHBOURS])
@pytest.mark.parametrize("kept", [None, 0.0, 0.5, 0.99])
def test_a_file_that_is_missing_or_cut_short_is_named_at_opening(generation, tmp_path, name, kept):
    file = generation.directory / name
    content = file.read_bytes()
    file.unlink() if kept is None else file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(GenerationCorrupt, match=name):
        IndexDirectory(tmp_path).open_current()


def test_an_index_of_other_embeddings_is_refused_even_with_right_sums(generation, tmp_path):
    embeddings = packed(clustered(1_200, SIZE))
    build(generation.directory, embeddings, "ivf-sq8")
    content = (generation.directory / NEIGHBOURS).read_bytes()
    other = write_generation(tmp_path / "other", clustered(COUNT, SIZE))
    (other.directory / NEIGHBOURS).write_bytes(content)
    files = {name: {"bytes": sum_.bytes, "xxh3": sum_.xxh3} for name, sum_ in other.manifest.files.items()}
    found = neighbours.FileSum.of(other.directory / NEIGHBOURS)
    reseal(other.directory, files={**files, NEIGHBOURS: {"bytes": found.bytes, "xxh3": found.xxh3}})
    opened = IndexDirectory(tmp_path / "other").open_current()
    with pytest.raises(GenerationCorrupt, match=r"neighbours\.faiss is of 1200 embeddings of 16, wanted 3000 of 16"):
        opened.neighbours.nearest(opened.neighbours.vector(0), 5, everybody)


@pytest.mark.parametrize(
    "told",
    [
        {"kind": "hnsw", "embedding_size": 16, "recall": 1.0, "queries": 0, "parameters": None},
        {"kind": "flat", "embedding_size": 0, "recall": 1.0, "queries": 0, "parameters": None},
        {"kind": "ivf-sq8", "embedding_size": 16, "recall": 1.0, "queries": 0, "parameters": None},
        {"kind": "ivf-sq8", "embedding_size": 16, "recall": 1.0, "queries": 9, "parameters": {"cells": 0, "probes": 1,
         "candidates": 2}},
        {"kind": "flat"},
    ],
)  # fmt: skip
def test_a_manifest_that_tells_nonsense_of_neighbours_is_refused(generation, tmp_path, told):
    reseal(generation.directory, neighbours=told)
    with pytest.raises(GenerationCorrupt, match=r"manifest\.json is not usable"):
        IndexDirectory(tmp_path).open_current()


def test_embeddings_without_a_word_in_the_manifest_are_refused(generation, tmp_path):
    reseal(generation.directory, neighbours=None)
    with pytest.raises(GenerationCorrupt, match=r"manifest\.json is not usable"):
        IndexDirectory(tmp_path).open_current()


def test_embeddings_that_are_no_unit_vectors_are_named_by_row(generation):
    damaged = np.array(generation.neighbours.embeddings)
    damaged[2_000] *= 2
    generation.neighbours.embeddings = damaged
    with pytest.raises(GenerationCorrupt, match=r"embeddings\.npy, row 2000: length 2\.\d+, wanted 1 or 0"):
        verify_order(generation)


def test_without_faiss_a_generation_opens_and_its_neighbours_say_what_to_install(generation, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    opened = IndexDirectory(generation.directory.parent).open_current()
    opened.verify()
    with pytest.raises(MissingExtra, match=r"segsearch\[similar\]"):
        opened.neighbours.nearest(opened.neighbours.vector(0), 5, everybody)


def test_many_threads_open_the_index_once(generation, monkeypatch):
    faiss, opened, lists = import_faiss("serve"), [], []
    read = faiss.read_index
    monkeypatch.setattr(faiss, "read_index", lambda *arguments: opened.append(1) or read(*arguments))
    query = generation.neighbours.vector(0)

    def ask():
        lists.append(generation.neighbours.nearest(query, 9, everybody).ordinals.tolist())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(opened), len(lists), len(set(map(tuple, lists)))) == (1, 8, 1)


def test_the_manifest_says_what_is_kept_and_how_it_was_measured(generation):
    about = generation.manifest.neighbours
    assert about.files == (EMBEDDINGS, NEIGHBOURS)
    assert isinstance(about.parameters, Probing)
    assert (about.parameters.cells, about.embedding_size) == (219, SIZE)
