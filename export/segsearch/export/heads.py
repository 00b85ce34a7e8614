"""From the last product of a head to probabilities, logits and score codes.

Both sides of a probability are computed, p and 1 - p, each accurate however small, so that the logit
log(p) - log(1 - p) is sound at both ends; 1 - p by subtraction has no correct digit left near 1.

S segments, C classes, M experts.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from segsearch.core.score_codes import HIGHEST, STEPS_PER_LOGIT
from segsearch.export.onnx_graph import FLOAT, UINT16, OnnxGraph, ints
from segsearch.export.steps import Step

_LOGIT_BOUND = 44.0  # exp of it is finite in float32, and far beyond what a score code tells apart (32)
_LOGIT_ZERO = (HIGHEST + 1) // 2
_END = ints(2**62)


class Judged(NamedTuple):
    """Names of (S, C) values."""

    scores: str
    logits: str


class Sides(NamedTuple):
    """Names of (S, C) values that sum to 1: the probability, and what is left of it."""

    yes: str
    no: str


class Scores(Protocol):
    """What a head makes of its last product."""

    def judge(self, graph: OnnxGraph, rows: str) -> Judged:
        """From the product's columns."""


class SidedScores(Scores, Protocol):
    """Scores that others can be built on."""

    def sides(self, graph: OnnxGraph, rows: str) -> Sides:
        """Both sides of each probability, each accurate however small."""


@dataclass(frozen=True, slots=True)
class LogisticScores:
    """(S, C) logits to probabilities."""

    def judge(self, graph: OnnxGraph, rows: str) -> Judged:
        return Judged(graph("Sigmoid", rows), rows)

    def sides(self, graph: OnnxGraph, rows: str) -> Sides:
        return sides_of_logits(graph, rows)


@dataclass(frozen=True, slots=True)
class MixtureScores:
    """(S, (2M + 1) C) to probabilities: M + 1 gates, then M experts, C columns of each.

    p = sum share_k sigmoid(e_k) over the experts; 1 - p = share of the dummy + sum share_k sigmoid(-e_k). With shares
    left undivided by their sum, which p and 1 - p have in common.
    """

    classes: int
    experts: int

    def judge(self, graph: OnnxGraph, rows: str) -> Judged:
        yes, no = self._undivided(graph, rows)
        scores = graph("Div", yes, graph("Add", yes, no))
        return Judged(scores, graph("Sub", graph("Log", yes), graph("Log", no)))

    def sides(self, graph: OnnxGraph, rows: str) -> Sides:
        yes, no = self._undivided(graph, rows)
        total = graph("Add", yes, no)
        return Sides(graph("Div", yes, total), graph("Div", no, total))

    def _undivided(self, graph: OnnxGraph, rows: str) -> tuple[str, str]:
        gates, judgements = by_expert(graph, rows, self.experts, self.classes, self.classes)
        shares = graph("Exp", graph("Sub", gates, graph("ReduceMax", gates, ints(1), keepdims=1)))  # (S, M + 1, C)
        shares, dummy = graph.split("Split", shares, ints(self.experts, 1), outputs=2, axis=1)
        odds = odds_of(graph, judgements)
        against = graph("Div", shares, graph("Add", odds, np.float32(1)))  # (S, M, C): share * sigmoid(-e)
        yes = graph("ReduceSum", graph("Mul", against, odds), ints(1), keepdims=0)  # (S, C), p times the sum of shares
        no = graph("Add", graph("ReduceSum", against, ints(1), keepdims=0), graph("Squeeze", dummy, ints(1)))
        return yes, no


@dataclass(frozen=True, slots=True)
class LogitMixtureScores:
    """(S, (M + 1) G + M C) to probabilities: M + 1 gates of G columns, then the logits of M experts, C columns of each.

    The logit is sum share_k e_k; the dummy's is 0. G is C, or 1 where all classes share a gate.
    """

    classes: int
    experts: int
    shared_gate: bool

    def judge(self, graph: OnnxGraph, rows: str) -> Judged:
        gates, logits = by_expert(graph, rows, self.experts, 1 if self.shared_gate else self.classes, self.classes)
        shares, _ = graph.split("Split", graph("Softmax", gates, axis=1), ints(self.experts, 1), outputs=2, axis=1)
        mixed = graph("ReduceSum", graph("Mul", shares, logits), ints(1), keepdims=0)
        return LogisticScores().judge(graph, mixed)

    def sides(self, graph: OnnxGraph, rows: str) -> Sides:
        return sides_of_logits(graph, self.judge(graph, rows).logits)


@dataclass(frozen=True, slots=True, eq=False)
class GatedScores:
    """Another head's columns to its probabilities p times sigmoid(g), where g looks at all of p, or at the embedding.

    1 - p sigmoid(g) = (1 - p) + p sigmoid(-g). With `gates` g is what they make of p; without, it stands in the first C
    columns, and the other head's follow.
    """

    classes: int
    ungated: SidedScores
    gates: tuple[Step, ...] | None = None
    own: np.ndarray | None = None  # (C,) what a class's own probability adds to its gate, times it

    def judge(self, graph: OnnxGraph, rows: str) -> Judged:
        columns = rows if self.gates is not None else graph("Slice", rows, ints(self.classes), _END, ints(1))
        yes, no = self.ungated.sides(graph, columns)
        opened, closed = sides_of_logits(graph, self._gate(graph, rows, yes))
        scores = graph("Mul", yes, opened)
        against = graph("Add", no, graph("Mul", yes, closed))
        return Judged(scores, graph("Sub", graph("Log", scores), graph("Log", against)))

    def _gate(self, graph: OnnxGraph, rows: str, yes: str) -> str:
        if self.gates is None:
            gate = graph("Slice", rows, ints(0), ints(self.classes), ints(1))
        else:
            gate = yes
            for step in self.gates:
                gate = step.write(graph, gate)
        return gate if self.own is None else graph("Add", gate, graph("Mul", yes, self.own))


@dataclass(frozen=True, slots=True)
class HeadLogits:
    """A step: a head's columns to logits (S, C), with a `margin` those of probabilities no nearer than it to 0 or 1."""

    scores: Scores
    margin: float | None

    def write(self, graph: OnnxGraph, rows: str) -> str:
        logits = self.scores.judge(graph, rows).logits
        if self.margin is None:
            return logits
        bound = np.float32(np.log1p(-self.margin) - np.log(self.margin))
        return graph("Clip", logits, -bound, bound)


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


def sides_of_logits(graph: OnnxGraph, logits: str) -> Sides:
    """sigmoid(x) and sigmoid(-x) by way of the odds: ONNX Runtime's own sigmoid is 0 below -18."""
    odds = odds_of(graph, logits)
    whole = graph("Add", odds, np.float32(1))
    return Sides(graph("Div", odds, whole), graph("Reciprocal", whole))


def odds_of(graph: OnnxGraph, logits: str) -> str:
    """exp(x), within what float32 holds."""
    return graph("Exp", graph("Clip", logits, np.float32(-_LOGIT_BOUND), np.float32(_LOGIT_BOUND)))


def by_expert(graph: OnnxGraph, rows: str, experts: int, gated: int, classes: int) -> tuple[str, str]:
    """Gates (S, M + 1, gated) and experts (S, M, C) out of a mixture's columns."""
    gates, judgements = graph.split("Split", rows, ints((experts + 1) * gated, experts * classes), outputs=2, axis=1)
    return (
        graph("Reshape", gates, ints(-1, experts + 1, gated)),
        graph("Reshape", judgements, ints(-1, experts, classes)),
    )


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
