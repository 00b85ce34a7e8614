"""From the last product of a head to probabilities, logits and score codes.

Both sides of a probability are computed, p and 1 - p, each accurate however small, so that the logit
log(p) - log(1 - p) is sound at both ends; 1 - p by subtraction has no correct digit left near 1.

S segments, C classes, M experts.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from segsearch.core.score_codes import HIGHEST, STEPS_PER_LOGIT
from segsearch.export.onnx_graph import FLOAT, UINT16, OnnxGraph, ints

_LOGIT_BOUND = 44.0  # exp of it is finite in float32, and far beyond what a score code tells apart (32)
_LOGIT_ZERO = (HIGHEST + 1) // 2


class Judged(NamedTuple):
    """Names of (S, C) values."""

    scores: str
    logits: str


@dataclass(frozen=True, slots=True)
class LogisticScores:
    """(S, C) logits to probabilities."""

    def judge(self, graph: OnnxGraph, rows: str) -> Judged:
        return Judged(graph("Sigmoid", rows), rows)


@dataclass(frozen=True, slots=True)
class MixtureScores:
    """(S, (2M + 1) C) to probabilities: M + 1 gates, then M experts, C columns of each.

    p = sum share_k sigmoid(e_k) over the experts; 1 - p = share of the dummy + sum share_k sigmoid(-e_k). With shares
    left undivided by their sum, which p and 1 - p have in common.
    """

    classes: int
    experts: int

    def judge(self, graph: OnnxGraph, rows: str) -> Judged:
        width, experts = self.classes, self.experts
        gates, judgements = graph.split("Split", rows, ints((experts + 1) * width, experts * width), outputs=2, axis=1)
        gates = graph("Reshape", gates, ints(-1, experts + 1, width))
        judgements = graph("Reshape", judgements, ints(-1, experts, width))
        shares = graph("Exp", graph("Sub", gates, graph("ReduceMax", gates, ints(1), keepdims=1)))  # (S, M + 1, C)
        shares, dummy = graph.split("Split", shares, ints(experts, 1), outputs=2, axis=1)
        odds = graph("Exp", graph("Clip", judgements, np.float32(-_LOGIT_BOUND), np.float32(_LOGIT_BOUND)))
        against = graph("Div", shares, graph("Add", odds, np.float32(1)))  # (S, M, C): share * sigmoid(-e)
        yes = graph("ReduceSum", graph("Mul", against, odds), ints(1), keepdims=0)  # (S, C), p times the sum of shares
        no = graph("Add", graph("ReduceSum", against, ints(1), keepdims=0), graph("Squeeze", dummy, ints(1)))
        scores = graph("Div", yes, graph("Add", yes, no))
        return Judged(scores, graph("Sub", graph("Log", yes), graph("Log", no)))


@dataclass(frozen=True, slots=True)
class MixtureLogits:
    """A step: (S, (2M + 1) C) to logits (S, C), of probabilities no nearer than `margin` to 0 or 1."""

    mixture: MixtureScores
    margin: float

    def write(self, graph: OnnxGraph, rows: str) -> str:
        bound = np.float32(np.log1p(-self.margin) - np.log(self.margin))
        return graph("Clip", self.mixture.judge(graph, rows).logits, -bound, bound)


@dataclass(frozen=True, slots=True)
class MixScores:
    """(S, N C + N) to probabilities: the logits of N towers, then the weight of each."""

    classes: int
    towers: int

    def judge(self, graph: OnnxGraph, rows: str) -> Judged:
        logits, weights = graph.split("Split", rows, ints(self.towers * self.classes, self.towers), outputs=2, axis=1)
        by_tower = graph("Reshape", logits, ints(-1, self.towers, self.classes))
        mixed = graph("ReduceSum", graph("Mul", by_tower, graph("Unsqueeze", weights, ints(2))), ints(1), keepdims=0)
        return Judged(graph("Sigmoid", mixed), mixed)


def score_codes(graph: OnnxGraph, logits: str) -> str:
    """(S, C) uint16 codes of logits, as `core.score_codes.encode_logits`: nearest step, ties to even, saturated."""
    steps = graph("Round", graph("Mul", logits, np.float32(STEPS_PER_LOGIT)))
    inside = graph("Clip", graph("Add", steps, np.float32(_LOGIT_ZERO)), np.float32(0), np.float32(HIGHEST))
    return graph("Cast", inside, to=UINT16)


def soundness(graph: OnnxGraph, logits: str, embedding: str) -> str:
    """(S,) bool: whether no logit of a segment (S, C) is NaN and its embedding (S, H) is finite.

    An infinite logit stands for a probability that rounds to 0 or 1; x - x is NaN only where x is not finite.
    """
    faults = [
        graph("ReduceMax", graph("Cast", graph("IsNaN", value), to=FLOAT), ints(1), keepdims=0)
        for value in (logits, graph("Sub", embedding, embedding))
    ]
    return graph("Less", graph("Add", *faults), np.float32(1))
