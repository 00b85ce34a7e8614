"""How much each member counts: found by MAP@100k on rated pairs, and judged on folds that had no say in it.

Three ways to find weights: equal ones; greedy forward selection with replacement (Caruana et al., 2004), which leaves
useless members out; and from there, one weight after the other moved while that helps. `nested` gives the honest
figure: for each fold, weights found on the other four.

M members, P rated pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.score_matrix import ScoreMatrix
from segsearch.training.ensemble.members import MATRIX, Members
from segsearch.training.ensemble.votes import codes_of, votes_of, weighted_mean
from segsearch.training.folder import FOLDS
from segsearch.training.input.survey import RatedSegments
from segsearch.training.rated_map import mean_precision, pair_precisions, rated_map, rated_precisions

ROUNDS = 40  # of forward selection: weights are multiples of 1/40 at the finest
STEPS = (0.0, 0.5, 0.8, 1.25, 2.0)  # what a weight is multiplied by when it is tried
PASSES = 5  # over all members


@dataclass(frozen=True, eq=False)
class Ballot:
    """The members' votes on some folds' rated pairs."""

    way: str
    votes: np.ndarray  # (M, P) float32
    rated: RatedSegments  # P pairs

    @classmethod
    def of(cls, members: Members, way: str, folds: Sequence[int]) -> "Ballot":
        """A vote is looked up in its own matrix: ranks are among a fold's segments, not among all."""
        votes = [
            np.concatenate(
                [
                    votes_of(way, member.folds[fold].codes).of(
                        members.pair_codes(member, fold), members.rated[fold].ordinals
                    )
                    for fold in folds
                ]
            )
            for member in members.members
        ]
        return cls(way, np.stack(votes), RatedSegments.joined([members.rated[fold] for fold in folds]))

    def within(self, members: Members, folds: Sequence[int]) -> "Ballot":
        """The part of a ballot over all folds that lies in these."""
        ends = np.cumsum([0, *(len(part.rows) for part in members.rated)])
        columns = np.concatenate([np.arange(ends[fold], ends[fold + 1]) for fold in folds])
        return Ballot(self.way, self.votes[:, columns], RatedSegments.joined([members.rated[fold] for fold in folds]))

    def rated_map(self, weights: np.ndarray) -> float:
        """MAP@100k of the weighted mean, ranked as 16-bit codes."""
        mean = weighted_mean(self.votes, weights.tolist())
        return mean_precision(pair_precisions(codes_of(self.way, mean).astype(np.int64), self.rated))


Finder = Callable[[Ballot], np.ndarray]  # -> (M,) weights that sum to 1


def equal(ballot: Ballot) -> np.ndarray:
    """Every member the same."""
    return np.full(len(ballot.votes), 1 / len(ballot.votes))


def greedy(ballot: Ballot) -> np.ndarray:
    """Forward selection: the best member, then again and again the one whose vote added helps most; the best prefix."""
    counts, best, best_value = np.zeros(len(ballot.votes)), None, -1.0
    for _ in range(ROUNDS):
        tried = [ballot.rated_map(counts + unit) for unit in np.eye(len(counts))]
        counts[int(np.argmax(tried))] += 1
        if max(tried) > best_value:
            best, best_value = counts.copy(), max(tried)
    assert best is not None  # a MAP is never below 0
    return best / best.sum()


def searched(ballot: Ballot) -> np.ndarray:
    """Coordinate ascent from the better of `greedy` and `equal`."""
    weights = max((greedy(ballot), equal(ballot)), key=ballot.rated_map)
    value = ballot.rated_map(weights)
    for _ in range(PASSES):
        before = value
        for member in range(len(weights)):
            for step in STEPS:
                tried = weights.copy()
                # A member that was left out may come back, with a small say.
                tried[member] = tried[member] * step if tried[member] else 0.5 * step / len(weights)
                if tried.sum() > 0 and (found := ballot.rated_map(tried)) > value:
                    weights, value = tried, found
        if value <= before:
            break
    return weights / weights.sum()


FINDERS: dict[str, Finder] = {"equal": equal, "greedy": greedy, "searched": searched}


@dataclass(frozen=True)
class Nested:
    """An ensemble's honest figures."""

    pooled: float  # rated MAP of all folds' pairs in one list a class, each fold with weights found on the others
    folds: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]  # of each fold

    @property
    def mean(self) -> float:
        return float(np.mean(self.folds))


def figures_of(members: Members, folder: Path) -> dict[str, Any]:
    """Rated MAP of the matrices below `folder`, as `segsearch train` names its figures: of `blend.write_folds`, say."""
    matrices = [ScoreMatrix.open(folder / f"fold{fold}" / MATRIX) for fold in range(FOLDS)]
    parts = zip(matrices, members.rated, strict=True)
    codes = [np.asarray(matrix.codes[matrix.rows_of(rated.ids)]) for matrix, rated in parts]
    folds = [rated_map(*fold) for fold in zip(codes, members.rated, strict=True)]
    return {
        "pooled_rated_map_at_100k": mean_precision(rated_precisions(np.concatenate(codes), members.together)),
        "mean_rated_map_at_100k": float(np.mean(folds)),
        "fold_rated_map_at_100k": folds,
    }


def nested(members: Members, ballot: Ballot, find: Finder) -> Nested:
    """Finds weights on four folds and judges them on the fifth, five times. ballot: over all folds."""
    weights, codes, folds = [], [], []
    for fold in range(FOLDS):
        others = [other for other in range(FOLDS) if other != fold]
        weights.append(find(ballot.within(members, others)))
        held_out = ballot.within(members, [fold])
        folds.append(held_out.rated_map(weights[-1]))
        codes.append(codes_of(ballot.way, weighted_mean(held_out.votes, weights[-1].tolist())))
    pooled = mean_precision(pair_precisions(np.concatenate(codes).astype(np.int64), members.together))
    return Nested(pooled, tuple(folds), tuple(tuple(part.tolist()) for part in weights))
