"""Products in 8-bit integers: exact where they promise to be, near where they round."""

import dataclasses

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from segsearch.core.blocks import Piece, lay_out
from segsearch.core.segments import segment_count
from segsearch.export.block_graph import block_graph
from segsearch.export.onnx_graph import FLOAT, OnnxGraph
from segsearch.export.pooling import INPUTS, MaxPool, MeanPool
from segsearch.export.quantisation import HIGHEST_LEVEL, IntegerDense, Quantise, quantise, round_weights
from segsearch.export.steps import AsFloats, Dense, Dequantise, UnitCodes
from tests.tiny_blocks import plain_scores, tiny_line
from tests.tiny_model import SPEC


def run(steps, codes):
    """What the steps make of rows of codes (N, D)."""
    graph = OnnxGraph()
    rows = graph.input("rows", TensorProto.UINT8, ["row", codes.shape[1]])
    for step in steps:
        rows = step.write(graph, rows)
    model = graph.model("steps", {"out": (rows, FLOAT, ["row", "column"])})
    return onnxruntime.InferenceSession(model.SerializeToString()).run(["out"], {"rows": codes})[0]


def test_the_largest_codes_and_levels_do_not_saturate():
    levels = np.full((512, 16), HIGHEST_LEVEL, np.int8)
    levels[:, 8:] *= -1
    codes = np.full((6, 512), 255, np.uint8)
    wanted = codes.astype(np.int64) @ levels
    np.testing.assert_array_equal(run([IntegerDense(levels)], codes), wanted)


@pytest.mark.parametrize("centre", [0.0, 127.00195, 127.5, -0.498, 254.9])
def test_codes_less_their_centre_times_levels_are_right(centre):
    random = np.random.default_rng(0)
    levels = random.integers(-HIGHEST_LEVEL, HIGHEST_LEVEL + 1, (40, 9)).astype(np.int8)
    codes = random.integers(0, 256, (7, 40), np.uint8)
    wanted = (codes - np.float64(centre)) @ levels
    np.testing.assert_allclose(run([IntegerDense(levels, centre)], codes), wanted, atol=1 / 128 * 40 * HIGHEST_LEVEL)
    np.testing.assert_allclose(run([IntegerDense(levels, centre)], codes), wanted, rtol=1e-2, atol=20)


def test_weights_move_by_at_most_half_a_level():
    weights = np.random.default_rng(0).normal(0, 1, (50, 8)).astype(np.float32) * np.float32(10.0) ** np.arange(-4, 4)
    levels, scales = round_weights(weights)
    assert levels.max() == HIGHEST_LEVEL or levels.min() == -HIGHEST_LEVEL
    assert (np.abs(levels * scales - weights) <= scales / 2 * 1.001).all()


def test_a_column_of_zeros_stays_zero():
    levels, scales = round_weights(np.zeros((4, 2), np.float32))
    assert not levels.any()
    assert np.isfinite(scales).all()


def test_values_of_an_activation_round_to_the_nearest_code():
    values = np.arange(256, dtype=np.uint8)[None]
    found = run([Dequantise(6 / 255, 0.004), Quantise(6.0), AsFloats()], values)
    np.testing.assert_array_equal(found, values)


def test_values_of_both_signs_round_to_the_nearest_code_and_large_ones_are_cut():
    codes = np.arange(256, dtype=np.uint8)[None]
    found = run([Dequantise(1 / 128, -1.0), Quantise(127 / 256, 128), AsFloats()], codes)  # steps of 1/128 to 1/256
    np.testing.assert_array_equal(found[0], np.clip(2 * (np.arange(256) - 128) + 128, 0, 255))


def test_the_mean_frame_comes_out_as_before_rounding():
    random = np.random.default_rng(3)
    codes = random.integers(0, 256, (200, 30), np.uint8)
    unit, dense = UnitCodes(127.00195, 1e-9), Dense(random.normal(0, 1, (30, 12)).astype(np.float32))
    exact = run([unit, dense], codes)
    centred = codes - 127.00195
    mean = (centred / np.linalg.norm(centred, axis=1, keepdims=True)).mean(axis=0)
    knowing = dataclasses.replace(dense, mean=mean)
    plain, corrected = run(quantise((unit, dense)), codes), run(quantise((unit, knowing)), codes)
    assert np.abs((corrected - exact).mean(axis=0)).max() < 0.2 * np.abs((plain - exact).mean(axis=0)).max()


@pytest.mark.parametrize("activation", ["sigmoid", "relu6"])
@pytest.mark.parametrize("pool", [MaxPool, MeanPool])
@pytest.mark.parametrize("unit", [True, False], ids=["unit length", "as dequantised"])
def test_scores_in_integers_are_near_those_in_floats(pool, activation, unit):
    line = tiny_line(5, pool=pool, activation=activation, unit=unit)
    frames = np.random.default_rng(0).integers(0, 256, (38, SPEC.size), np.uint8)
    batch = lay_out([Piece(frames, 0, segment_count(38))], 5)
    session = onnxruntime.InferenceSession(block_graph(line.quantised()).SerializeToString())
    found = session.run(["scores"], dict(zip(INPUTS, batch, strict=True)))[0]
    difference = np.abs(found - plain_scores(line, frames))
    assert 0 < difference.max() < 0.06


def test_every_product_of_the_body_is_in_integers():
    body = tiny_line().quantised().body
    assert [type(step).__name__ for step in body] == [
        "IntegerDense", "MaxPool", "Scale", "Activation", "Quantise", "IntegerDense", "Scale", "Activation",
    ]  # fmt: skip


def test_a_line_without_such_a_product_has_no_integer_variant():
    line = tiny_line(pool=MeanPool)
    assert dataclasses.replace(line, body=(*line.body[:2], MeanPool(5))).quantised() is None
