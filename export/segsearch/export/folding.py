"""Passes that make a list of steps cheaper and leave its meaning: each takes steps and gives steps.

Every pass is a rewrite of a few neighbouring steps; sums of weights are made in float64.
"""

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from segsearch.export.branches import Columns, Fork
from segsearch.export.pooling import MaxPool
from segsearch.export.steps import Activation, AsFloats, Dense, Dequantise, Scale, Shift, Step, UnitCodes, UnitLength
from segsearch.export.vlad import AttendedShares, VLADPool

_ROWS = 1024  # of weights, at a time in float64

Steps = tuple[Step, ...]


def fold(steps: Steps) -> Steps:
    """All passes, in the order in which they help each other, in branches too."""
    steps = tuple(step.map(fold) if isinstance(step, Fork) else step for step in steps)
    for fold_more in (fold_dequantisation, assign_directly, fold_batch_norms, pool_first):
        steps = fold_more(steps)
    return steps


def fold_dequantisation(steps: Steps) -> Steps:
    """Dequantising goes into what follows: a row's length loses the scale, a product takes scale and offset."""
    return rewrite(steps, 2, _dequantised)


def assign_directly(steps: Steps) -> Steps:
    """A VLAD of expanded frames takes attention and assignment from the frames themselves, in one product with them."""
    return rewrite(steps, 2, _assigned_directly)


def fold_batch_norms(steps: Steps) -> Steps:
    """A batch norm goes into the product before it or behind it; those that end all branches, into the one behind."""
    return rewrite(rewrite(steps, 2, _norms_lifted), 2, _normed)


def pool_first(steps: Steps) -> Steps:
    """Maximum before bias, scale and activation, which all rise: they then see one row a segment, not every frame."""
    return rewrite(rewrite(steps, 3, _biases_apart), 2, _pooled_first)


def merge_shifts(steps: Steps) -> Steps:
    """Neighbouring scales and shifts as one."""
    return rewrite(steps, 2, _merged)


def beside(*products: Dense) -> Dense:
    """Products of the same rows as one, their columns side by side."""
    biases = [np.zeros(p.weights.shape[1], np.float32) if p.biases is None else p.biases for p in products]
    return Dense(np.concatenate([product.weights for product in products], axis=1), np.concatenate(biases))


def rewrite(steps: Steps, size: int, rule: Callable[..., Steps | None]) -> Steps:
    """Applies a rule to neighbouring steps until it fits nowhere."""
    for at in range(len(steps) - size + 1):
        if (better := rule(*steps[at : at + size])) is not None:
            return rewrite(steps[:at] + better + steps[at + size :], size, rule)
    return steps


def _dequantised(first: Step, second: Step) -> Steps | None:
    match first, second:
        case Dequantise(scale, offset), UnitLength(floor):
            return (UnitCodes(-offset / scale, floor / scale**2),)
        case Dequantise(scale, offset), Dense() | Scale():
            width = len(second.weights if isinstance(second, Dense) else second.scale)
            return (AsFloats(), *_ahead(np.full(width, scale), np.full(width, offset), second))
    return None


def _assigned_directly(first: Step, second: Step) -> Steps | None:
    """Both are products of products: (x E) A = x (E A), and E A has fewer rows than A."""
    match first, second:
        case Dense(), VLADPool(assignment=(AttendedShares(groups, (Dense() as assign,), (Dense() as attend, *rest)),)):
            products = (first, _through(first, assign), _through(first, attend))
            ends = np.cumsum([0, *(product.weights.shape[1] for product in products)]).tolist()
            frames, assigned, attended = (Columns(*bounds) for bounds in pairwise(ends))
            shares = AttendedShares(groups, (assigned,), (attended, *rest))
            return beside(*products), dataclasses.replace(second, frames=(frames,), assignment=(shares,))
    return None


def _through(first: Dense, second: Dense) -> Dense:
    """Both products as one."""
    weights = _double(first.weights) @ _double(second.weights)
    biases = np.zeros(len(weights[0])) if first.biases is None else _double(first.biases) @ _double(second.weights)
    return Dense(_single(weights), _single(biases + (0 if second.biases is None else second.biases)))


def _norms_lifted(first: Step, second: Step) -> Steps | None:
    """Batch norms that end all branches as one behind them."""
    if not (isinstance(first, Fork) and first.meet == "beside" and isinstance(second, Dense)):
        return None
    ends = [branch[-1] for branch in first.branches if branch and isinstance(branch[-1], Scale)]
    if len(ends) < len(first.branches):
        return None
    norm = Scale(np.concatenate([end.scale for end in ends]), np.concatenate([end.shift for end in ends]))
    return first.map(lambda branch: branch[:-1]), norm, second


def _normed(first: Step, second: Step) -> Steps | None:
    match first, second:
        case Scale(scale, shift), Dense():
            return _ahead(scale, shift, second)
        case Dense(weights, biases, mean), Scale(scale, shift):
            before = 0 if biases is None else _double(biases) * scale
            # One product a weight needs no float64, and hidden layers are the largest arrays there are.
            return (Dense(weights * _single(scale), _single(before + _double(shift)), mean),)
    return None


def _ahead(scale: np.ndarray, shift: np.ndarray, step: Dense | Scale) -> Steps:
    """The step that does to x what `step` does to x * scale + shift."""
    if isinstance(step, Scale):
        return (Scale(_single(scale * _double(step.scale)), _single(_double(shift) * step.scale + step.shift)),)
    biases = _sums(shift, step.weights) + (0 if step.biases is None else step.biases)
    mean = None if step.mean is None else _single((step.mean - _double(shift)) / np.where(scale == 0, 1, scale))
    return (Dense(step.weights * _single(scale)[:, None], _single(biases), mean),)


def _sums(row: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """row @ weights in float64, without all of the weights in float64."""
    parts = range(0, len(row), _ROWS)
    return sum(_double(row[at : at + _ROWS]) @ _double(weights[at : at + _ROWS]) for at in parts)


def _biases_apart(first: Step, second: Step, third: Step) -> Steps | None:
    """A product that is to meet the maximum by itself shows its biases as a step of their own."""
    match first, second, third:
        case Dense(weights, biases, mean), Activation(), MaxPool() if biases is not None:
            return Dense(weights, None, mean), Shift(biases), second, third
    return None


def _pooled_first(first: Step, second: Step) -> Steps | None:
    rises = isinstance(first, Activation | Shift) or (isinstance(first, Scale) and (first.scale > 0).all())
    return (second, first) if rises and isinstance(second, MaxPool) else None


def _merged(first: Step, second: Step) -> Steps | None:
    match first, second:
        case Scale(scale, shift), Shift(more):
            return (Scale(scale, shift + more),)
        case Shift(shift), Shift(more):
            return (Shift(shift + more),)
    return None


def _double(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float64)


def _single(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float32)
