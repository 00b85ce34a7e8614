"""Each folding pass leaves what the steps compute; together they leave little to compute."""

import dataclasses

import numpy as np
import onnxruntime
import pytest

from segsearch.core.blocks import Piece, lay_out
from segsearch.core.segments import segment_count
from segsearch.export.block_graph import block_graph
from segsearch.export.branches import Columns, Fork
from segsearch.export.folding import assign_directly, fold, fold_batch_norms, fold_dequantisation, pool_first
from segsearch.export.pooling import INPUTS, MaxPool, MeanPool
from segsearch.export.steps import Activation, AsFloats, Dense, Scale, Shift, UnitCodes
from segsearch.export.vlad import AttendedShares, VLADPool
from tests.tiny_blocks import HIDDEN, tiny_line
from tests.tiny_model import SPEC

CONTEXT = 5


def outputs(line):
    """Scores and embeddings of three videos, as ONNX Runtime computes the line's steps."""
    random = np.random.default_rng(0)
    videos = [random.integers(0, 256, (count, SPEC.size), np.uint8) for count in (33, 4, 11)]
    batch = lay_out([Piece(frames, 0, segment_count(len(frames))) for frames in videos], CONTEXT)
    session = onnxruntime.InferenceSession(block_graph(line).SerializeToString())
    return session.run(["scores", "embedding"], dict(zip(INPUTS, batch, strict=True)))


def grouped_vlads():
    """A line with a VLAD of two groups in each half of a frame, plainly as a network computes it."""
    random = np.random.default_rng(4)
    clusters, size, half = 3, 6, SPEC.size // 2

    def dense(rows, columns):
        return Dense(random.normal(0, rows**-0.5, (rows, columns)).astype(np.float32), normal(columns))

    def normal(*shape):
        return random.normal(0, 1, shape).astype(np.float32)

    def vlad(first):
        shares = AttendedShares(2, (dense(2 * size, 2 * clusters),), (dense(2 * size, 2), Activation("sigmoid")))
        pool = VLADPool(CONTEXT, (shares,), 1e-12, normal(clusters, size), groups=2)
        norm = Scale(normal(clusters * size), normal(clusters * size))
        return Columns(first, first + half), dense(half, 2 * size), pool, norm

    line = tiny_line(CONTEXT)
    hidden = dense(2 * clusters * size, HIDDEN)
    return dataclasses.replace(line, body=(*line.body[:2], Fork((vlad(0), vlad(half))), hidden, Activation("sigmoid")))


def in_branches(rewrite):
    return lambda steps: tuple(step.map(rewrite) if isinstance(step, Fork) else step for step in steps)


def kinds(steps):
    return [type(step).__name__ for step in steps]


@pytest.mark.parametrize("activation", ["sigmoid", "relu6"])
@pytest.mark.parametrize("pool", [MaxPool, MeanPool])
@pytest.mark.parametrize("unit", [True, False], ids=["unit length", "as dequantised"])
@pytest.mark.parametrize("rewrite", [fold_dequantisation, fold_batch_norms, pool_first, fold])
def test_scores_after_a_pass_are_those_before_it(rewrite, unit, pool, activation):
    line = tiny_line(CONTEXT, pool=pool, activation=activation, unit=unit)
    before, after = outputs(line), outputs(dataclasses.replace(line, body=rewrite(line.body)))
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    np.testing.assert_allclose(after[1], before[1], atol=1e-5)


@pytest.mark.parametrize("rewrite", [in_branches(assign_directly), fold_batch_norms, fold])
def test_scores_of_grouped_vlads_after_a_pass_are_those_before_it(rewrite):
    line = grouped_vlads()
    changed = dataclasses.replace(line, body=rewrite(line.body))
    assert changed.body != line.body
    before, after = outputs(line), outputs(changed)
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    np.testing.assert_allclose(after[1], before[1], atol=1e-5)


def test_one_product_makes_a_frame_ready_for_its_vlad_and_what_follows_it_goes_into_the_hidden_layer():
    _, fork, hidden, _ = fold(grouped_vlads().body)
    assert [kinds(branch) for branch in fork.branches] == [["Columns", "Dense", "VLADPool"]] * 2
    _, product, _ = fork.branches[0]
    assert product.weights.shape[1] == 2 * 6 + 2 * 3 + 2  # expansion, assignment, attention
    assert isinstance(hidden, Dense)


def test_batch_norms_of_some_branches_stay_where_they_are():
    line = grouped_vlads()
    fork = line.body[2]
    without = Fork((fork.branches[0], fork.branches[1][:-1]))
    assert kinds(fold((*line.body[:2], without, *line.body[3:]))[1].branches[0])[-1] == "Scale"


def test_dequantising_disappears_into_the_length_of_a_row():
    first, *_ = fold_dequantisation(tiny_line().body)
    assert isinstance(first, UnitCodes)
    assert first.centre == pytest.approx(127.00195)


def test_dequantising_without_a_length_disappears_into_the_product():
    steps = fold(tiny_line(unit=False).body)
    assert isinstance(steps[0], AsFloats)
    assert isinstance(steps[1], Dense)


def test_batch_norms_disappear_into_the_products():
    steps = fold_batch_norms(tiny_line().body)
    assert kinds(steps) == ["Dequantise", "UnitLength", "Dense", "Activation", "MaxPool", "Dense", "Activation"]


def test_only_the_product_and_the_maximum_see_every_frame():
    steps = fold(tiny_line().body)
    assert kinds(steps) == ["UnitCodes", "Dense", "MaxPool", "Shift", "Activation", "Dense", "Activation"]


def test_a_mean_stays_behind_its_activation():
    steps = fold(tiny_line(pool=MeanPool).body)
    assert kinds(steps) == ["UnitCodes", "Dense", "Activation", "MeanPool", "Dense", "Activation"]


def test_a_scale_that_turns_the_order_round_stays_ahead_of_the_maximum():
    steps = (Scale(np.array([1, -1], np.float32), np.zeros(2, np.float32)), MaxPool(0))
    assert pool_first(steps) == steps


def test_folding_twice_changes_nothing_more():
    once = fold(tiny_line().body)
    assert fold(once) == once


def test_biases_behind_a_maximum_stay_where_they_are():
    steps = fold(tiny_line().body)
    assert isinstance(steps[3], Shift)
    assert isinstance(steps[4], Activation)
    assert steps[1].biases is None
    assert steps[5].biases is not None
