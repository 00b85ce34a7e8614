"""Reads the steps of inference off a trained network, weight by weight, as plainly as the network computes.

Networks whose pooling is not here (recurrent ones see frames in order) are served by the segment graph.

D and K columns, C classes, M experts.
"""

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np

from segsearch.export.branches import Columns, Fork, Relu, Softmax
from segsearch.export.folding import Steps, fold
from segsearch.export.head_weights import array, batch_norm, head_logits, read_head
from segsearch.export.heads import MixScores
from segsearch.export.line import Line
from segsearch.export.pooling import MaxPool, MeanPool, SumPool
from segsearch.export.steps import Activation, Dense, Dequantise, Scale, UnitLength
from segsearch.export.vlad import AttendedShares, FisherPool, VLADPool
from segsearch.training.layers.assignment import Assignment
from segsearch.training.layers.by_stream import ByStream
from segsearch.training.layers.context_gating import ContextGating, SqueezeGating
from segsearch.training.layers.dbof import DBoF
from segsearch.training.layers.frame_mean import FrameMean
from segsearch.training.layers.frames import UNIT_FLOOR, Frames
from segsearch.training.layers.gated_dbof import GatedBag
from segsearch.training.layers.hidden import Hidden
from segsearch.training.layers.mix import Mix
from segsearch.training.layers.netfv import SPREAD_FLOOR, FisherVector
from segsearch.training.layers.netvlad import VLAD
from segsearch.training.layers.nextvlad import GroupedVLAD, NeXtVLAD
from segsearch.training.layers.soft_dbof import SoftBag
from segsearch.training.layers.tower import Tower


def line_of(network: Any, frame_size: int, context: int) -> Line | None:
    """The network's steps for windows of this context; None for a network that cannot be written block by block."""
    line = (
        _mix(network.body, frame_size, context)
        if isinstance(network.body, Mix)
        else _tower(network.body, frame_size, context)
    )
    return None if line is None else dataclasses.replace(line, body=(*_frames(network.frames), *line.body))


def _tower(tower: Tower, frame_size: int, context: int) -> Line | None:
    """From float frames on."""
    body, head = _body(tower.aggregation, context), read_head(tower.head)
    if body is None or head is None:
        return None
    product, scores = head
    return Line(body, (product,), scores, frame_size, context, tower.head.classes, len(product.weights))


def _mix(mix: Mix, frame_size: int, context: int) -> Line | None:
    """Towers side by side, and beside them what each weighs; the head keeps them apart by their columns."""
    towers = [_tower(tower, frame_size, context) for tower in mix.towers]
    if mix.config.gate_input != "real" or any(tower is None for tower in towers):
        return None
    gate = Dense(array(mix.gate), array(mix.gate_biases))
    weights = (MeanPool(context), batch_norm(mix.gate_bn), gate, Softmax())
    ends = [int(end) for end in np.cumsum([0, *(tower.embedding_size for tower in towers)])]
    heads = [
        (Columns(first, end), *tower.head, *head_logits(tower.scores))
        for tower, (first, end) in zip(towers, pairwise(ends), strict=True)
    ]
    head = Fork((*heads, (Columns(ends[-1], ends[-1] + len(towers)),)))
    body = Fork((*(tower.body for tower in towers), weights))
    classes = towers[0].classes
    scores = MixScores(classes, len(towers))
    return Line((body,), (head,), scores, frame_size, context, classes, ends[-1], (Columns(0, ends[-1]),))


def _frames(frames: Frames) -> Steps:
    dequantise = Dequantise(frames.scale, frames.offset)
    return (dequantise, UnitLength(UNIT_FLOOR)) if frames.normalisation == "l2" else (dequantise,)


def _body(aggregation: Any, context: int) -> Steps | None:
    match aggregation:
        case FrameMean():
            return (MeanPool(context),)
        case DBoF():
            activation = Activation(aggregation.config.activation)
            return (
                batch_norm(aggregation.input_bn),
                Dense(array(aggregation.clusters), mean=array(aggregation.input_bn.beta)),  # what batch norm leaves
                batch_norm(aggregation.cluster_bn),
                activation,
                (MaxPool if aggregation.config.pooling == "max" else MeanPool)(context),
                Dense(array(aggregation.hidden)),
                batch_norm(aggregation.hidden_bn),
                activation,
            )
        case ByStream():
            pooled = _by_stream(aggregation, aggregation.poolings, context)
            return None if pooled is None else (batch_norm(aggregation.input_bn), *pooled)
        case NeXtVLAD():
            return _by_stream(aggregation, aggregation.vlads, context)
    return None


def _by_stream(aggregation: ByStream | NeXtVLAD, poolings: list[Any], context: int) -> Steps | None:
    """Every stream's pooling side by side, hidden layer, gating."""
    branches, first = [], 0
    for stream, pooling in zip(aggregation.streams, poolings, strict=True):
        pooled = _pooling(pooling, context)
        if pooled is None:
            return None
        branches.append((Columns(first, first + stream.size), *pooled))
        first += stream.size
    gating = _gating(aggregation.gating)
    hidden = () if aggregation.hidden is None else _hidden(aggregation.hidden, poolings)
    return (Fork(tuple(branches)), *hidden, *gating)


def _pooling(pooling: Any, context: int) -> Steps | None:
    match pooling:
        case SoftBag():
            total = (SumPool(context), UnitLength(UNIT_FLOOR))
            if not pooling.max_pool:
                return (*_assignment(pooling.assignment), *total)
            return (*_assignment(pooling.assignment), Fork((total, (MaxPool(context), UnitLength(UNIT_FLOOR)))))
        case GatedBag():
            gate = (
                MaxPool(context), UnitLength(UNIT_FLOOR), Dense(array(pooling.narrow)), Dense(array(pooling.widen)),
                batch_norm(pooling.batch_norm), Activation("sigmoid"),
            )  # fmt: skip
            gated = Fork(((SumPool(context),), gate), "product")
            return (*_assignment(pooling.assignment), gated, UnitLength(UNIT_FLOOR))
        case VLAD():
            centres = array(pooling.centres).T if pooling.form == "residual" else None
            gates = 1 / (1 + np.exp(-array(pooling.gates).T)) if pooling.form == "gated" else None
            pool = VLADPool(context, fold(_assignment(pooling.assignment)), UNIT_FLOOR, centres, gates)
            return (pool, UnitLength(UNIT_FLOOR))
        case FisherVector():
            coupled = pooling.config.coupled
            centres = array(pooling.assignment.clusters) * pooling.config.coupling if coupled else pooling.centres
            spread = array(pooling.spread) ** 2 + np.float32(SPREAD_FLOOR)
            return (FisherPool(context, fold(_assignment(pooling.assignment)), UNIT_FLOOR, array(centres), spread),)
        case GroupedVLAD() if pooling.config.masked:
            assign = fold((Dense(array(pooling.assign)), batch_norm(pooling.cluster_bn)))
            attend = (Dense(array(pooling.attend), array(pooling.attend_biases)), Activation("sigmoid"))
            shares = (AttendedShares(pooling.groups, assign, attend),)
            expand = Dense(array(pooling.expand), array(pooling.expand_biases))
            pool = VLADPool(context, shares, UNIT_FLOOR, array(pooling.centres).T, groups=pooling.groups)
            norm, order = batch_norm(pooling.vlad_bn), _clusters_first([pooling])
            return (expand, pool, Scale(norm.scale[order], norm.shift[order]))
    return None  # unmasked groups let padding count, which whole videos do not have


def _assignment(assignment: Assignment) -> Steps:
    return Dense(array(assignment.clusters)), batch_norm(assignment.batch_norm), Softmax()


def _hidden(hidden: Hidden, poolings: list[Any]) -> Steps:
    kernel = array(hidden.kernel)
    if all(isinstance(pooling, VLAD | GroupedVLAD) for pooling in poolings):
        kernel = kernel[_clusters_first(poolings)]
    if hidden.config.form == "bias":
        return (Dense(kernel, array(hidden.biases)),)
    normed = (Dense(kernel), batch_norm(hidden.batch_norm))
    return (*normed, Activation("relu6")) if hidden.config.form == "batch_norm_relu6" else normed


def _clusters_first(vlads: list[Any]) -> np.ndarray:
    """Where the numbers of a `VLADPool` stand in the network's own descriptors, which go feature by feature."""
    orders, width = [], 0
    for vlad in vlads:
        shape = (vlad.centres if isinstance(vlad, GroupedVLAD) else vlad.assignment.clusters).shape  # (D, K)
        orders.append(width + np.arange(np.prod(shape)).reshape(shape).T.ravel())
        width += len(orders[-1])
    return np.concatenate(orders)


def _gating(gating: Any) -> Steps:
    """Hidden units times gates that look at all of them; nothing for a network without."""
    match gating:
        case ContextGating():
            kernel = array(gating.kernel)
            if gating.config.remove_diagonal:
                kernel = kernel - np.diag(np.diag(kernel))
            product = (
                (Dense(kernel), batch_norm(gating.batch_norm))
                if gating.config.form == "batch_norm"
                else (Dense(kernel, array(gating.biases)),)
            )
            return (Fork(((), (*product, Activation("sigmoid"))), "product"),)
        case SqueezeGating():
            squeezed = (Dense(array(gating.squeeze)), batch_norm(gating.batch_norm), Relu())
            return (Fork(((), (*squeezed, Dense(array(gating.excite)), Activation("sigmoid"))), "product"),)
    return ()
