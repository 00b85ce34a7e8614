"""Another bundle in the place of the one in use, while requests are under way; and bundles that never get there."""

import dataclasses
import gc
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from segsearch.core.bundle import Bundle, write_bundle
from segsearch.core.errors import LackingScores, ModelNotLoaded
from segsearch.core.features import FeatureSpec
from segsearch.core.score_codes import encode_probabilities
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.compaction import compact
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SEARCH_LIMIT, SegmentLibrary
from segsearch.service.scoring.batching_scorer import BatchingScorer
from segsearch.service.scoring.bundle_folder import BundleFolder
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.settings import Settings
from tests.gated_scorer import PATIENCE_S, GatedScorer
from tests.hostile_bodies import NPY, npy_of
from tests.integration.test_micro_batching import in_background, until
from tests.library_fixtures import serving
from tests.rest_bodies import problem
from tests.tiny_model import NAMES, SPEC, TinyModel, tiny_manifest, vocabulary_of, write_tiny_bundle

VOCABULARY, MODEL = vocabulary_of(), TinyModel.seeded(len(NAMES))
FRAMES = np.random.default_rng(3).integers(0, 256, (33, SPEC.size), np.uint8)


def open_scorer(bundle: Bundle, tuning=None) -> BatchingScorer:
    return BatchingScorer(OnnxScorer(bundle, batch=8, threads=2, tuning=tuning), batch_wait_ms=0)


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with a bundle `one` and a bundle `two` of other weights."""
    for name, seed in (("one", 7), ("two", 8)):
        write_tiny_bundle(tmp_path / "bundles" / name, seed=seed)
    return tmp_path / "bundles"


def library_of(root: Path, index: IndexDirectory, scorer=None, store=None) -> SegmentLibrary:
    """Served with bundle `one`, and able to load what is in the folder."""
    scorer = scorer or open_scorer(Bundle.open(root / "one/tiny/1"))
    return SegmentLibrary(scorer, index, store, bundles=BundleFolder(root, open_scorer))


@pytest.fixture
def reloading(root, index) -> Iterator[SegmentLibrary]:
    library = library_of(root, index)
    yield library
    library.close()


@pytest.fixture
def client(reloading) -> Iterator[httpx.Client]:
    with serving(reloading) as opened:
        yield opened


def score(client: httpx.Client) -> dict:
    return client.post("/score", content=npy_of(FRAMES), headers={"content-type": NPY}).json()


def load(client: httpx.Client, path: object) -> httpx.Response:
    return client.post("/models:load", json={"path": path})


def wanted(path: Path) -> np.ndarray:
    """(S,) the best probability of each segment, by a bundle's plain scorer."""
    with OnnxScorer(Bundle.open(path)) as plain:
        return plain.score(FRAMES).probabilities.max(axis=1)


def best(answer: dict) -> list[float]:
    return [segment["tags"][0]["score"] for segment in answer["segments"]]


def test_the_bundle_in_use_is_named_with_what_runs_it(client, root, reloading):
    bundle = Bundle.open(root / "one/tiny/1")
    assert client.get("/models").json() == {
        "bundle": {"name": "tiny", "version": 1, "digest": bundle.digest},
        "provider": reloading.scorer.provider,
        "precision": "float32",
        "refused_load": None,
    }


@pytest.mark.parametrize("path", ["two/tiny/1", "two/tiny", "./two//tiny/"])
def test_a_bundle_that_is_loaded_scores_from_then_on_and_the_index_stays(client, root, path):
    two = Bundle.open(root / "two/tiny/1")
    searched = client.get("/search", params={"tag": "Rain"}).json()
    np.testing.assert_allclose(best(score(client)), wanted(root / "one/tiny/1"), atol=1e-6)
    loaded = load(client, path)
    assert (loaded.status_code, loaded.json()["bundle"]["digest"]) == (200, two.digest)
    answer = score(client)
    assert answer["bundle"]["digest"] == two.digest
    np.testing.assert_allclose(best(answer), wanted(root / "two/tiny/1"), atol=1e-6)
    assert client.get("/models").json() == loaded.json()
    assert client.get("/readyz").json()["bundle"]["digest"] == two.digest
    assert f'segsearch_bundle_info{{digest="{two.digest}"' in client.get("/metrics").text
    assert client.get("/search", params={"tag": "Rain"}).json() == searched


def test_uploads_under_way_end_on_the_model_they_began_on_which_is_then_closed(root, index):
    gated = GatedScorer(OnnxScorer(Bundle.open(root / "one/tiny/1"), batch=8, threads=1))
    library = library_of(root, index, BatchingScorer(gated, batch_wait_ms=0))
    with serving(library) as client:
        threads, answers = in_background(lambda: score(client), 3)
        gated.wait_for_run()
        until(lambda: "segsearch_queue_videos 3.0" in client.get("/metrics").text)
        assert load(client, "two/tiny/1").status_code == 200
        np.testing.assert_allclose(best(score(client)), wanted(root / "two/tiny/1"), atol=1e-6)
        assert not gated.closed
        gated.open()
        for thread in threads:
            thread.join(PATIENCE_S)
        until(lambda: gated.closed)
    library.close()
    assert {answer["bundle"]["digest"] for answer in answers} == {gated.bundle.digest}
    for answer in answers:
        np.testing.assert_allclose(best(answer), wanted(root / "one/tiny/1"), atol=1e-6)


@pytest.fixture
def no_collections():
    """Nothing that refers to itself leaves the memory."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collections")
def test_a_model_that_was_replaced_leaves_the_memory_by_itself_and_so_does_what_it_scored(root, index):
    """Until the next collection, which a server has seldom, there would be a model for each load."""
    library = library_of(root, index)
    before = []
    for path in ("two/tiny/1", "one/tiny/1", "two/tiny/1"):
        frames = FRAMES.copy()
        library.score(frames, 1)
        before += [weakref.ref(library.scorer), weakref.ref(frames)]
        del frames
        library.load(path)
    until(lambda: not any(each() for each in before))
    library.close()


# Bundles that never get there


def written(root: Path, *, weights: np.ndarray = MODEL.weights, off: float = 0.0) -> Path:
    """A bundle of a model that may not be what its golden segments say, by as much as they are `off`."""
    manifest = tiny_manifest(MODEL, VOCABULARY)
    scores = manifest.golden.scores.copy()
    scores[0, 0] += off
    manifest = dataclasses.replace(manifest, golden=dataclasses.replace(manifest.golden, scores=scores))
    return write_bundle(root, manifest, VOCABULARY, TinyModel(weights, MODEL.biases).onnx().SerializeToString())


def cut(root: Path) -> None:
    model = written(root) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])


def no_model(root: Path) -> None:
    (written(root) / "model.onnx").unlink()


def no_onnx(root: Path) -> None:
    write_bundle(root, tiny_manifest(MODEL, VOCABULARY), VOCABULARY, b"no model at all")


def other_signature(root: Path) -> None:
    small = TinyModel.seeded(len(NAMES) - 1).onnx().SerializeToString()
    write_bundle(root, tiny_manifest(MODEL, VOCABULARY), VOCABULARY, small)


def stranger(root: Path) -> None:
    (written(root) / "setup.py").write_text("raise SystemExit")


def link(root: Path) -> None:
    elsewhere = written(root.parent.parent / "elsewhere")
    (root / "tiny").mkdir(parents=True)
    (root / "tiny/1").symlink_to(elsewhere)


BAD = {
    "cut": (cut, "model-not-loaded", "model.onnx has sha256"),
    "no model": (no_model, "model-not-loaded", "model.onnx"),
    "no ONNX": (no_onnx, "model-not-loaded", "model.onnx"),
    "other signature": (other_signature, "model-not-loaded", "scores is tensor(float)"),
    "another's golden segments": (lambda root: written(root, off=0.01), "model-not-loaded", "differs by 0.01"),
    "NaN": (lambda root: written(root, weights=MODEL.weights * np.nan), "model-not-loaded", "NaN"),
    "a file too many": (stranger, "model-not-loaded", "unknown file setup.py"),
    "a link": (link, "model-not-loaded", "lie elsewhere"),
    "nothing": (lambda _: None, "model-not-loaded", "no manifest.json"),
    "other classes": (lambda root: write_tiny_bundle(root, names=NAMES[::-1]), "model-unfit", "vocabulary"),
    "other features": (
        lambda root: write_tiny_bundle(root, spec=FeatureSpec.parse("audio:6")), "model-unfit", "feature space",
    ),
}  # fmt: skip


def test_a_bundle_that_cannot_be_used_says_why_and_the_one_in_use_stays(client, root, tmp_path):
    before = score(client)
    for name, (make, code, told) in BAD.items():
        make(root / "bad")
        answer = load(client, "bad/tiny")
        detail = problem(answer, {"model-not-loaded": 422, "model-unfit": 409}[code], code)
        assert told in detail, (name, detail)
        assert str(tmp_path) not in answer.text, name
        shutil.rmtree(root / "bad", ignore_errors=True)
        shutil.rmtree(root.parent / "elsewhere", ignore_errors=True)
    assert score(client) == before
    assert load(client, "two/tiny").status_code == 200


PATHS = ("../one", "/etc", "one/../../x", "..", ".", "two\\tiny", "two/\0", "outside/tiny", "\u202eowt")


def test_paths_lead_nowhere_but_below_the_folder(client, root, tmp_path):
    write_tiny_bundle(tmp_path / "private")
    (root / "outside").symlink_to(tmp_path / "private")
    for path in PATHS:
        assert problem(load(client, path), 422, "invalid-input").startswith("path: "), path


@pytest.mark.parametrize(
    ("body", "place"),
    [(b"", "body"), (b"{", "body"), (b"[]", "body"), (b'{"path": 1}', "body.path"), (b'{"path": ""}', "body.path"),
     (b'{"path": "a", "x": 1}', "body.x"), (b'{"path": "\\ud800"}', "body"), (b"{" * 100_000, "body")],
)  # fmt: skip
def test_a_body_that_names_no_bundle_says_what_is_wrong(client, body, place):
    answer = client.post("/models:load", content=body, headers={"content-type": "application/json"})
    assert problem(answer, 422, "invalid-input").split(": ")[0] == place


def test_a_body_of_another_kind_or_size_is_refused(client):
    odd = client.post("/models:load", content=b"x", headers={"content-type": "text/plain"})
    problem(odd, 415, "unsupported-content")
    big = client.post("/models:load", content=bytes(2 << 20), headers={"content-type": "application/json"})
    problem(big, 413, "too-large")


def test_without_a_folder_of_bundles_nothing_can_be_loaded(library):
    with serving(library, Settings(port=0)) as client:
        assert "--bundles" in problem(load(client, "two/tiny"), 409, "not-configured")


# The index between a reload and the reindex that follows


def test_uploads_of_a_new_bundle_stand_in_until_a_reindex_scores_all_by_it(root, index, shards):
    with LiveStore.open(index.root / LIVE, SPEC.space) as store:
        library = library_of(root, index, store=store)
        library.add("before", FRAMES, 1)
        library.load("two/tiny")
        library.add("after", FRAMES, 1)
        with OnnxScorer(Bundle.open(root / "two/tiny"), batch=8) as plain:
            by_two = encode_probabilities(plain.score(FRAMES).probabilities[:, VOCABULARY.find("Rain")])
            assert codes_of(library, "after") == by_two.tolist()
            assert codes_of(library, "before") != by_two.tolist()
            with pytest.raises(LackingScores):  # a generation holds the scores of one bundle
                compact(index, store)
            reindex(plain, shards, index, keep=1000, store=store)
        library.refresh()
        assert library.view().manifest.bundle.digest == library.scorer.bundle.digest
        assert codes_of(library, "after") == codes_of(library, "before") == by_two.tolist()
        library.close()


def codes_of(library: SegmentLibrary, video_id: str) -> list[int]:
    """A video's codes for Rain, by time."""
    page = library.search("Rain", SEARCH_LIMIT)
    rows = zip(page.video_ids, page.starts.tolist(), page.codes.tolist(), strict=True)
    return [code for _, code in sorted((start, code) for name, start, code in rows if name == video_id)]


def test_the_library_tells_the_log_what_was_loaded_and_what_was_not(reloading, caplog):
    with caplog.at_level("INFO", "segsearch.service"):
        reloading.load("two/tiny")
        with pytest.raises(ModelNotLoaded):
            reloading.load("nowhere/tiny")
    assert [name for name in ("model_loaded", "model_not_loaded") if name in caplog.text] == [
        "model_loaded",
        "model_not_loaded",
    ]
