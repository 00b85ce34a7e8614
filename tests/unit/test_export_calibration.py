"""Calibration: every product learns the mean row it meets, and rounding then leaves the mean where it was."""

import dataclasses

import numpy as np
import onnxruntime
import pytest

from segsearch.core.blocks import Piece, lay_out
from segsearch.core.errors import ConfigError
from segsearch.core.segments import segment_count
from segsearch.export.block_graph import block_graph
from segsearch.export.branches import Columns, Fork
from segsearch.export.calibration import calibrated, with_smaller_embedding
from segsearch.export.pooling import INPUTS, MaxPool
from segsearch.export.steps import AsFloats, Dense
from tests.tiny_blocks import tiny_line
from tests.tiny_model import SPEC


@pytest.fixture(scope="module")
def videos():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (count, SPEC.size), np.uint8) for count in (60, 35, 90)]


def embeddings(line, videos):
    session = onnxruntime.InferenceSession(block_graph(line).SerializeToString())
    batches = [lay_out([Piece(frames, 0, segment_count(len(frames)))], line.context) for frames in videos]
    return np.concatenate([session.run(["embedding"], dict(zip(INPUTS, each, strict=True)))[0] for each in batches])


def test_the_head_learns_the_mean_embedding(videos):
    line = tiny_line().folded()
    head = calibrated(line, videos).head[0]
    np.testing.assert_allclose(head.mean, embeddings(line, videos).mean(axis=0), atol=1e-5)


def test_products_in_branches_learn_the_mean_of_their_rows(videos):
    line = tiny_line()
    halves = (Columns(0, SPEC.size // 2), Columns(SPEC.size // 2, SPEC.size))
    weights = np.eye(SPEC.size // 2, 8, dtype=np.float32)
    branches = tuple((half, Dense(weights), MaxPool(5)) for half in halves)
    _, fork = calibrated(dataclasses.replace(line, body=(AsFloats(), Fork(branches))), videos).body
    found = np.concatenate([branch[1].mean for branch in fork.branches])
    np.testing.assert_allclose(found, np.concatenate(videos).mean(axis=0), rtol=1e-5)


def test_what_training_knows_stays():
    line = tiny_line().folded()
    known = np.full(SPEC.size, 0.5, np.float32)
    body = (line.body[0], Dense(line.body[1].weights, line.body[1].biases, known), *line.body[2:])
    found = calibrated(dataclasses.replace(line, body=body), [np.zeros((5, SPEC.size), np.uint8)])
    assert found.body[1].mean is known


def test_calibrated_integers_are_nearer_on_average(videos):
    line = tiny_line(activation="sigmoid").folded()
    exact = embeddings(line, videos).mean(axis=0)
    plain, better = (
        np.abs(embeddings(each.quantised(), videos).mean(axis=0) - exact).mean()
        for each in (line, calibrated(line, videos))
    )
    assert better < plain


def test_a_smaller_embedding_keeps_the_directions_in_which_segments_differ(videos):
    line = tiny_line().folded()
    small = with_smaller_embedding(line, videos, 4)
    whole, found = embeddings(line, videos).astype(np.float64), embeddings(small, videos)
    assert found.shape == (len(whole), 4)
    kept = np.linalg.svd(whole - whole.mean(axis=0), compute_uv=False)[:4]
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), kept, rtol=1e-3)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)


def test_a_smaller_embedding_leaves_the_scores_alone(videos):
    line = tiny_line().folded()
    batch = lay_out([Piece(videos[0], 0, segment_count(len(videos[0])))], line.context)
    before, after = (
        onnxruntime.InferenceSession(block_graph(each).SerializeToString()).run(
            ["scores"], dict(zip(INPUTS, batch, strict=True))
        )[0]
        for each in (line, with_smaller_embedding(line, videos, 4))
    )
    np.testing.assert_array_equal(before, after)


def test_an_embedding_larger_than_the_networks_is_an_error(videos):
    with pytest.raises(ConfigError, match="embedding size is 17, wanted 1 to 16"):
        with_smaller_embedding(tiny_line().folded(), videos, 17)
