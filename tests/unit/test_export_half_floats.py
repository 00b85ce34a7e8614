"""Products in half floats: rounded as such, in range whatever the weights, and near the scores of 32 bits."""

import dataclasses

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from segsearch.core.blocks import Piece, lay_out
from segsearch.core.segments import segment_count
from segsearch.export.block_graph import block_graph
from segsearch.export.half_floats import (
    HIGHEST_CODE,
    HIGHEST_SUM,
    HalfDense,
    Widen,
    halve,
    rounded,
    scaled_columns,
)
from segsearch.export.onnx_graph import FLOAT, OnnxGraph
from segsearch.export.pooling import INPUTS, MaxPool, MeanPool
from segsearch.export.steps import AsFloats, Dense, Scale
from tests.tiny_blocks import plain_scores, tiny_line
from tests.tiny_model import SPEC

FRAMES = np.random.default_rng(0).integers(0, 256, (38, SPEC.size), np.uint8)


def run(make, rows):
    """What the nodes that `make(graph, rows)` adds make of rows of floats (N, D)."""
    graph = OnnxGraph()
    found = make(graph, graph.input("rows", FLOAT, ["row", rows.shape[1]]))
    model = graph.model("part", {"out": (found, FLOAT, ["row", "column"])}).SerializeToString()
    return onnxruntime.InferenceSession(model).run(["out"], {"rows": rows})[0]


def scores_of(line, frames=FRAMES):
    batch = lay_out([Piece(frames, 0, segment_count(len(frames)))], line.context)
    session = onnxruntime.InferenceSession(block_graph(line).SerializeToString())
    return session.run(["scores"], dict(zip(INPUTS, batch, strict=True)))[0]


@settings(max_examples=50)
@given(st.lists(st.floats(-65000, 65000, width=32).filter(lambda x: x == 0 or abs(x) > 6.2e-5), min_size=1))
def test_imitated_rounding_is_that_of_half_floats(values):
    rows = np.array([values], np.float32)
    np.testing.assert_array_equal(run(rounded, rows), rows.astype(np.float16).astype(np.float32))


def test_imitated_half_floats_overflow_as_half_floats_do():
    found = run(rounded, np.float32([[65504, 65536, -70000, 1e6]]))
    assert found.tolist()[0][:2] == [65504, np.inf]
    assert not np.isfinite(found[0, 2:]).any()


def test_an_imitated_product_is_that_of_half_floats():
    random = np.random.default_rng(1)
    rows = random.normal(0, 1, (50, 30)).astype(np.float32)
    weights = random.normal(0, 0.3, (30, 7)).astype(np.float16)
    wanted = (rows.astype(np.float16).astype(np.float64) @ weights.astype(np.float64)).astype(np.float16)
    found = run(HalfDense(weights, imitated=True).write, rows)
    np.testing.assert_allclose(found, wanted, rtol=2**-10)  # one half float apart, where float32 sums end on an edge
    assert np.array_equal(found, found.astype(np.float16))


@settings(max_examples=50)
@given(st.integers(-40, 40), st.sampled_from([1.0, HIGHEST_CODE]), st.integers(0, 100))
def test_weights_of_any_size_keep_their_eleven_bits(exponent, highest, seed):
    weights = (np.random.default_rng(seed).normal(0, 1, (40, 6)) * 2.0**exponent).astype(np.float32)
    halves, scales = scaled_columns(weights, highest)
    assert (np.frexp(scales)[0] == 0.5).all()  # powers of two: scaling loses nothing
    largest = np.abs(weights).max(axis=0)
    assert (np.abs(halves.astype(np.float32) * scales - weights) <= largest * 2**-11).all()
    assert (np.abs(halves.astype(np.float64)).sum(axis=0) * highest < 2 * HIGHEST_SUM).all()


def test_a_column_of_zeros_stays_zero():
    halves, scales = scaled_columns(np.zeros((4, 2), np.float32))
    assert not halves.any()
    assert np.isfinite(scales).all()


def test_the_largest_byte_codes_do_not_overflow():
    weights = np.full((1152, 3), 0.5, np.float32)
    steps = halve((AsFloats(), Dense(weights)), imitated=True)

    def write(graph, rows):
        for step in steps[1:]:
            rows = step.write(graph, rows)
        return rows

    np.testing.assert_allclose(run(write, np.full((2, 1152), 255, np.float32)), 1152 * 255 * 0.5, rtol=1e-3)


@pytest.mark.parametrize("activation", ["sigmoid", "relu6"])
@pytest.mark.parametrize("pool", [MaxPool, MeanPool])
@pytest.mark.parametrize("unit", [True, False], ids=["unit length", "as dequantised"])
@pytest.mark.parametrize("imitated", [True, False])
def test_scores_in_half_floats_are_near_those_in_floats(pool, activation, unit, imitated):
    line = tiny_line(5, pool=pool, activation=activation, unit=unit)
    difference = np.abs(scores_of(line.halved(imitated=imitated)) - plain_scores(line, FRAMES))
    assert 0 < difference.max() < 5e-3


def test_every_product_of_the_body_is_in_half_floats_and_the_pool_too():
    body = tiny_line().halved().body
    assert [type(step).__name__ for step in body] == [
        "UnitCodes", "HalfDense", "MaxPool", "Widen", "Scale", "Activation", "HalfDense", "Widen", "Scale",
        "Activation",
    ]  # fmt: skip


def test_logits_come_from_floats_of_32_bits():
    model = block_graph(tiny_line().halved())
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    products = [kinds[node.input[1]] for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    assert products == [TensorProto.FLOAT16, TensorProto.FLOAT16, TensorProto.FLOAT]
    assert {value.type.tensor_type.elem_type for value in model.graph.output} == {
        TensorProto.FLOAT, TensorProto.UINT16, TensorProto.BOOL,
    }  # fmt: skip


def test_the_weights_of_the_body_take_half_the_room():
    line = tiny_line()
    weights = [step.weights for step in line.folded().body if isinstance(step, Dense)]
    halves = [step.weights for step in line.halved().body if isinstance(step, HalfDense)]
    assert [half.nbytes * 2 for half in halves] == [full.nbytes for full in weights]


def test_steps_without_a_product_stay_as_they_are():
    steps = (AsFloats(), MeanPool(5), Scale(np.ones(4, np.float32), np.zeros(4, np.float32)), Widen())
    assert halve(steps) == steps
    assert dataclasses.replace(tiny_line(), body=steps[:2]).halved() is None
