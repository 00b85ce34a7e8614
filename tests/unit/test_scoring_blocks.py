"""Scoring whole videos with a graph of blocks: every segment as if its window were scored by itself."""

import dataclasses
import json

import numpy as np
import onnx
import pytest

from segsearch.core.blocks import cut_pieces
from segsearch.core.bundle import Bundle, write_bundle
from segsearch.core.errors import BundleRefused, GoldenMismatch, OutputNotFinite, SignatureMismatch
from segsearch.core.score_codes import decode, encode_probabilities
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.scoring.onnx_scorer import PIECE_SEGMENTS, OnnxScorer
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_blocks import INT8_DIFFERENCE, plain_scores, tiny_line, write_block_bundle
from tests.tiny_model import SPEC

LINE = tiny_line(context=7)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return Bundle.open(write_block_bundle(tmp_path_factory.mktemp("blocks"), LINE))


@pytest.fixture(scope="module")
def block_scorer(bundle):
    with OnnxScorer(bundle, batch=4, threads=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def long_video():
    return np.random.default_rng(2).integers(0, 256, (173, SPEC.size), np.uint8)


def test_a_long_video_in_pieces_scores_as_its_windows_do(block_scorer, long_video):
    scores = block_scorer.score(long_video)
    np.testing.assert_allclose(scores.probabilities, plain_scores(LINE, long_video), atol=1e-5)
    assert scores.starts.tolist() == list(range(0, 173, 5))
    assert scores.embeddings.shape == (35, 16)


def test_a_library_in_batches_of_videos_has_the_codes_of_its_windows(block_scorer, long_video):
    videos = [long_video, *(video.frames for video in make_videos(9, seed=4))]
    found = np.concatenate(list(block_scorer.codes(videos)))
    wanted = encode_probabilities(np.concatenate([plain_scores(LINE, video) for video in videos]))
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_codes_by_class_are_the_same_codes_turned(block_scorer, long_video):
    rows = np.concatenate(list(block_scorer.codes([long_video, long_video[:9]])))
    columns = np.concatenate(list(block_scorer.codes([long_video, long_video[:9]], by_class=True)), axis=1)
    np.testing.assert_array_equal(columns, rows.T)


def test_a_reindex_with_blocks_keeps_the_best_segments(tmp_path, block_scorer):
    videos = make_videos(12, seed=8)
    index = IndexDirectory(tmp_path / "index")
    reindex(block_scorer, write_shards(tmp_path, videos), index, keep=5)
    best = np.sort(np.concatenate([plain_scores(LINE, video.frames) for video in videos]), axis=0)[::-1][:5]
    generation = index.open_current()
    found = [decode(generation.postings(ordinal, 5)[1]) for ordinal in range(best.shape[1])]
    np.testing.assert_allclose(np.transpose(found), best, atol=2e-4)


def test_the_int8_model_is_as_near_as_its_manifest_says(bundle, long_video):
    with OnnxScorer(bundle, precision="int8") as scorer:
        found = scorer.score(long_video).probabilities
    difference = np.abs(found - plain_scores(LINE, long_video)).max()
    assert 1e-6 < difference < INT8_DIFFERENCE


def test_a_precision_that_the_bundle_lacks_is_refused(tiny_bundle):
    with pytest.raises(BundleRefused, match="no int8 model, only float32"):
        OnnxScorer(tiny_bundle, precision="int8")


def test_pieces_bound_what_is_in_memory_at_once(long_video):
    pieces = list(cut_pieces(np.tile(long_video, (40, 1)), 7, PIECE_SEGMENTS))
    assert max(piece.segment_count for piece in pieces) <= PIECE_SEGMENTS
    assert max(len(piece.frames) for piece in pieces) <= (PIECE_SEGMENTS + 4) * 5


def edited(bundle, root, edit):
    """The same bundle around an edited float32 model."""
    model = onnx.load(bundle.model_path)
    edit(model.graph)
    small = (bundle.directory / "model.int8.onnx").read_bytes()
    content = model.SerializeToString()
    return Bundle.open(write_bundle(root, bundle.manifest, bundle.vocabulary, content, {"model.int8.onnx": small}))


def test_a_model_whose_codes_are_not_its_scores_is_refused(bundle, tmp_path):
    def wrong_codes(graph):
        rounding = next(node for node in graph.node if node.op_type == "Round")
        multiply = next(node for node in graph.node if node.output[0] == rounding.input[0])
        constant = next(c for c in graph.initializer if c.name == multiply.input[1])
        constant.CopyFrom(onnx.numpy_helper.from_array(np.float32(512), constant.name))

    with pytest.raises(GoldenMismatch, match=r"golden segment \d+ differs"):
        OnnxScorer(edited(bundle, tmp_path, wrong_codes))


def test_a_model_that_calls_its_own_codes_unsound_is_refused(bundle, tmp_path):
    def never_sound(graph):
        sound = next(node for node in graph.node if node.output[0] == "sound")
        node = next(node for node in graph.node if node.output[0] == sound.input[0])
        constant = next(c for c in graph.initializer if c.name == node.input[1])
        constant.CopyFrom(onnx.numpy_helper.from_array(np.float32(0), constant.name))

    with pytest.raises(OutputNotFinite, match="NaN or infinite"):
        OnnxScorer(edited(bundle, tmp_path, never_sound))


def test_a_graph_of_blocks_for_another_context_is_refused(bundle, tmp_path):
    other = Bundle.open(write_block_bundle(tmp_path, tiny_line(context=0)))
    manifest = dataclasses.replace(bundle.manifest, graphs=bundle.manifest.graphs[:1])
    target = write_bundle(tmp_path, manifest, bundle.vocabulary, other.model_path.read_bytes(), replace=True)
    with pytest.raises(SignatureMismatch, match=r"windows is tensor\(int32\)"):
        OnnxScorer(Bundle.open(target))


def test_a_layout_that_nobody_knows_is_refused(tmp_path):
    target = write_block_bundle(tmp_path, LINE)
    document = json.loads((target / "manifest.json").read_text())
    document["graphs"][0]["layout"] = "rows"
    (target / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BundleRefused, match=r"layout of model\.onnx is 'rows'"):
        Bundle.open(target)
