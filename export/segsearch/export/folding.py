"""Passes that make a list of steps cheaper and leave its meaning: each takes steps and gives steps.

Every pass is a rewrite of a few neighbouring steps; sums of weights are made in float64.
"""

from collections.abc import Callable

import numpy as np

from segsearch.export.branches import Fork
from segsearch.export.pooling import MaxPool
from segsearch.export.steps import Activation, AsFloats, Dense, Dequantise, Scale, Shift, Step, UnitCodes, UnitLength

Steps = tuple[Step, ...]


def fold(steps: Steps) -> Steps:
    """All passes, in the order in which they help each other, in branches too."""
    steps = tuple(step.map(fold) if isinstance(step, Fork) else step for step in steps)
    for fold_more in (fold_dequantisation, fold_batch_norms, pool_first):
        steps = fold_more(steps)
    return steps


def fold_dequantisation(steps: Steps) -> Steps:
    """Dequantising goes into what follows: a row's length loses the scale, a product takes scale and offset."""
    return rewrite(steps, 2, _dequantised)


def fold_batch_norms(steps: Steps) -> Steps:
    """A batch norm goes into the product before it or behind it."""
    return rewrite(steps, 2, _normed)


def pool_first(steps: Steps) -> Steps:
    """Maximum before bias, scale and activation, which all rise: they then see one row a segment, not every frame."""
    return rewrite(rewrite(steps, 3, _biases_apart), 2, _pooled_first)


def merge_shifts(steps: Steps) -> Steps:
    """Neighbouring scales and shifts as one."""
    return rewrite(steps, 2, _merged)


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
    weights = _double(step.weights)
    biases = _double(shift) @ weights + (0 if step.biases is None else step.biases)
    mean = None if step.mean is None else _single((step.mean - _double(shift)) / np.where(scale == 0, 1, scale))
    return (Dense(_single(weights * _double(scale)[:, None]), _single(biases), mean),)


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
