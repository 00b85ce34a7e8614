"""What a line learns from a few videos: the rows that each product meets, and the embedding's main directions.

Rounded weights are wrong by a little everywhere; on the mean row those errors would add up to a bias, which knowing the
row undoes. The first product knows its own from training, where a batch norm stands before it. How far the rows reach
says which byte codes stand for them.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import onnxruntime

from segsearch.core.blocks import Piece, lay_out
from segsearch.core.errors import ConfigError
from segsearch.core.segments import segment_count
from segsearch.export.block_graph import partial_graph
from segsearch.export.branches import Fork
from segsearch.export.folding import Steps
from segsearch.export.line import Line
from segsearch.export.pooling import INPUTS
from segsearch.export.steps import Dense


def calibrated(line: Line, videos: Sequence[np.ndarray]) -> Line:
    """The same line, its products told of the rows that they meet over all segments of the videos (T, F) uint8."""
    body = _told(line, (), line.body, videos)
    mixes = isinstance(line.head[0], Fork)  # towers' heads, which stay in floats
    return dataclasses.replace(line, body=body, head=line.head if mixes else _told(line, body, line.head, videos))


def with_smaller_embedding(line: Line, videos: Sequence[np.ndarray], size: int) -> Line:
    """The same line, giving out its embeddings in the `size` directions in which those of the videos differ most.

    Centred, so that neighbours are found by what sets segments apart. Raises ConfigError where there are fewer
    directions, or fewer segments.
    """
    rows = np.concatenate(list(_rows(line, line.body + line.projection, videos))).astype(np.float64)  # (S, H)
    if not 1 <= size <= min(rows.shape):
        raise ConfigError("embedding size", size, f"1 to {min(rows.shape)}, as {rows.shape} embeddings allow")
    mean = rows.mean(axis=0)
    _, directions = np.linalg.eigh((rows - mean).T @ (rows - mean))  # columns, rising
    chosen = directions[:, ::-1][:, :size]
    projection = Dense(chosen.astype(np.float32), (-mean @ chosen).astype(np.float32))
    return dataclasses.replace(line, projection=(*line.projection, projection), embedding_size=size)


def _told(line: Line, before: Steps, steps: Steps, videos: Sequence[np.ndarray]) -> Steps:
    """Steps that follow on others, their products told, in branches too where these end side by side: gates stay in
    floats.
    """
    for step in steps:
        match step:
            case Fork(branches, "beside"):
                told = dataclasses.replace(step, branches=tuple(_told(line, before, each, videos) for each in branches))
            case Dense(mean=None):
                mean, reach = _mean_and_reach(line, before, videos)
                told = dataclasses.replace(step, mean=mean, reach=reach)
            case _:
                told = step
        before = (*before, told)
    return before[len(before) - len(steps) :]


def _mean_and_reach(line: Line, steps: Steps, videos: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Of what these steps leave: the mean row (D,) float32, and the largest magnitude."""
    total, count, reach = np.float64(0), 0, 0.0
    for rows in _rows(line, steps, videos):
        total, count = total + rows.sum(axis=0, dtype=np.float64), count + len(rows)
        reach = max(reach, float(np.abs(rows).max(initial=0)))
    return np.asarray(total / count, np.float32), reach


def _rows(line: Line, steps: Steps, videos: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """What the first steps of a line leave of each video."""
    model = partial_graph(line, steps).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for frames in videos:
        batch = lay_out([Piece(frames, 0, segment_count(len(frames)))], line.context)
        yield session.run(["rows"], dict(zip(INPUTS, batch, strict=True)))[0]
