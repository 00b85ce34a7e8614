"""Heads in ONNX: probabilities as the formula says, logits and codes sound at both ends."""

from typing import get_args

import numpy as np
import onnxruntime
import pytest

from segsearch.core.score_codes import encode_logits
from segsearch.export.head_weights import read_head
from segsearch.export.heads import (
    GatedScores,
    LogisticScores,
    LogitMixtureScores,
    MixtureScores,
    score_codes,
    soundness,
)
from segsearch.export.onnx_graph import BOOL, FLOAT, UINT16, OnnxGraph
from segsearch.training.aggregations import Head
from segsearch.training.models.bodies import head_of

CLASSES, EXPERTS = 5, 3


def judge(scores, columns):
    """Probabilities, logits and codes of head columns (S, ...)."""
    graph = OnnxGraph()
    rows = graph.input("rows", FLOAT, ["row", columns.shape[1]])
    judged = scores.judge(graph, rows)
    outputs = {
        "p": (judged.scores, FLOAT, ["row", CLASSES]),
        "logits": (judged.logits, FLOAT, ["row", CLASSES]),
        "codes": (score_codes(graph, judged.logits), UINT16, ["row", CLASSES]),
    }
    session = onnxruntime.InferenceSession(graph.model("head", outputs).SerializeToString())
    return session.run(list(outputs), {"rows": columns})


def mixture(columns):
    """p and 1 - p in float64 by the formula of google/youtube-8m's MoeModel."""
    x = columns.astype(np.float64)
    gates = x[:, : (EXPERTS + 1) * CLASSES].reshape(-1, EXPERTS + 1, CLASSES)
    experts = x[:, (EXPERTS + 1) * CLASSES :].reshape(-1, EXPERTS, CLASSES)
    shares = np.exp(gates - gates.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    yes = (shares[:, :-1] / (1 + np.exp(-experts))).sum(axis=1)
    return yes, shares[:, -1] + (shares[:, :-1] / (1 + np.exp(experts))).sum(axis=1)


@pytest.mark.parametrize("spread", [1, 8, 40])
def test_logits_of_a_mixture_are_sound_however_sure_it_is(spread):
    random = np.random.default_rng(spread)
    columns = random.normal(0, spread, (300, (2 * EXPERTS + 1) * CLASSES)).astype(np.float32)
    p, logits, codes = judge(MixtureScores(CLASSES, EXPERTS), columns)
    yes, no = mixture(columns)
    np.testing.assert_allclose(p, yes, atol=1e-6)
    wanted = np.log(yes) - np.log(no)
    told_apart = np.abs(wanted) < 32
    np.testing.assert_allclose(logits[told_apart], wanted[told_apart], atol=1e-4, rtol=1e-5)
    assert np.abs(codes.astype(int) - encode_logits(wanted)).max() <= 1


def test_a_mixture_that_is_all_but_sure_keeps_classes_apart():
    gates = np.tile(np.float32([[20.0], [20.0], [20.0], [-20.0]]), (1, CLASSES)).reshape(1, -1)
    experts = np.tile(np.float32(18) + np.arange(CLASSES, dtype=np.float32), (EXPERTS, 1)).reshape(1, -1)
    _, _, codes = judge(MixtureScores(CLASSES, EXPERTS), np.concatenate([gates, experts], axis=1))
    assert (np.diff(codes[0].astype(int)) > 900).all()


@pytest.mark.parametrize("shared", [False, True], ids=["a gate a class", "one gate"])
@pytest.mark.parametrize("spread", [1, 30])
def test_a_mixture_of_logits_is_as_the_formula_says(shared, spread):
    gated = 1 if shared else CLASSES
    random = np.random.default_rng(spread)
    columns = random.normal(0, spread, (100, (EXPERTS + 1) * gated + EXPERTS * CLASSES)).astype(np.float32)
    p, logits, _ = judge(LogitMixtureScores(CLASSES, EXPERTS, shared), columns)
    x = columns.astype(np.float64)
    gates = x[:, : (EXPERTS + 1) * gated].reshape(-1, EXPERTS + 1, gated)
    shares = np.exp(gates - gates.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    wanted = (shares[:, :-1] * x[:, (EXPERTS + 1) * gated :].reshape(-1, EXPERTS, CLASSES)).sum(axis=1)
    np.testing.assert_allclose(logits, wanted, atol=1e-4, rtol=1e-5)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-wanted)), atol=1e-6)


@pytest.mark.parametrize("spread", [1, 8, 25])
def test_logits_of_gated_probabilities_are_sound_however_sure_head_and_gate_are(spread):
    random = np.random.default_rng(spread)
    columns = random.normal(0, spread, (300, 2 * CLASSES)).astype(np.float32)
    own = random.normal(0, 2, CLASSES).astype(np.float32)
    p, logits, codes = judge(GatedScores(CLASSES, LogisticScores(), own=own), columns)
    gates, ungated = np.split(columns.astype(np.float64), 2, axis=1)
    yes, no = 1 / (1 + np.exp(-ungated)), 1 / (1 + np.exp(ungated))
    gates = gates + own * yes
    wanted = yes / (1 + np.exp(-gates))
    left = no + yes / (1 + np.exp(gates))
    np.testing.assert_allclose(p, wanted, atol=1e-6)
    exact = np.log(wanted) - np.log(left)
    told_apart = np.abs(exact) < 32
    np.testing.assert_allclose(logits[told_apart], exact[told_apart], atol=1e-4, rtol=1e-5)
    assert np.abs(codes.astype(int) - encode_logits(exact)).max() <= 1


def test_every_head_of_training_has_a_form_as_a_product_and_what_is_made_of_it():
    for config in get_args(Head):
        head = head_of(config(), CLASSES)
        head.build((None, 8))
        product, scores = read_head(head)
        found, _, _ = judge(scores, np.zeros((2, product.weights.shape[1]), np.float32))
        assert found.shape == (2, CLASSES), config.kind


def test_codes_of_a_logistic_head_are_those_of_its_logits():
    logits = np.concatenate([np.linspace(-40, 40, 2000), [0.5 / 1024, 1.5 / 1024, -0.5 / 1024, np.inf, -np.inf]])
    columns = np.resize(logits.astype(np.float32), (401, CLASSES))
    p, _, codes = judge(LogisticScores(), columns)
    np.testing.assert_array_equal(codes, encode_logits(columns))
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-columns.astype(np.float64))), atol=1e-6)


def test_a_segment_is_sound_unless_a_logit_is_nan_or_its_embedding_no_number():
    logits, embedding = np.zeros((6, CLASSES), np.float32), np.zeros((6, 4), np.float32)
    logits[1, 2], logits[2, 0], logits[3, 4] = np.nan, np.inf, -np.inf
    embedding[4, 1], embedding[5, 3] = np.nan, -np.inf
    graph = OnnxGraph()
    names = [graph.input("l", FLOAT, ["row", CLASSES]), graph.input("e", FLOAT, ["row", 4])]
    model = graph.model("sound", {"sound": (soundness(graph, *names), BOOL, ["row"])}).SerializeToString()
    (sound,) = onnxruntime.InferenceSession(model).run(["sound"], {"l": logits, "e": embedding})
    assert sound.tolist() == [True, False, True, True, False, False]
