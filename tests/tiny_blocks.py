"""A small bag of frames with its bundle of block graphs, made without a training framework, and its twin in numpy.

N frames, F codes a frame, K clusters, H hidden units, C classes.
"""

from pathlib import Path

import numpy as np

from segsearch.core.bundle import INT8_MODEL, MODEL, Golden, Graph, Manifest, write_bundle
from segsearch.core.segments import segment_starts, window_bounds
from segsearch.export.block_graph import block_graph
from segsearch.export.heads import LogisticScores, MixtureScores
from segsearch.export.line import Line
from segsearch.export.pooling import MaxPool, MeanPool
from segsearch.export.steps import Activation, Dense, Dequantise, Scale, UnitLength
from tests.tiny_model import NAMES, SPEC, vocabulary_of

CLUSTERS, HIDDEN, EXPERTS = 24, 16, 2
INT8_DIFFERENCE = 0.02


def tiny_line(
    context: int = 5, *, pool: type = MaxPool, activation: str = "relu6", unit: bool = True, seed: int = 3
) -> Line:
    """A seeded line in its plainest form: dequantise, unit length, batch norms, pool, hidden layer, mixture head."""
    random = np.random.default_rng(seed)

    def batch_norm(size: int) -> Scale:
        # Some scales are negative: a trained gamma may be.
        scale = random.uniform(0.5, 2, size) * random.choice([-1, 1], size, p=[0.2, 0.8])
        return Scale(scale.astype(np.float32), random.normal(0, 0.3, size).astype(np.float32))

    def dense(rows: int, columns: int, *, biases: bool = False) -> Dense:
        weights = random.normal(0, rows**-0.5, (rows, columns)).astype(np.float32)
        return Dense(weights, random.normal(0, 1, columns).astype(np.float32) if biases else None)

    rises = Activation(activation)
    start = (Dequantise(4 / 255, 4 / 512 - 2), UnitLength(1e-12)) if unit else (Dequantise(4 / 255, 4 / 512 - 2),)
    body = (
        *start, batch_norm(SPEC.size), dense(SPEC.size, CLUSTERS), batch_norm(CLUSTERS), rises, pool(context),
        dense(CLUSTERS, HIDDEN), batch_norm(HIDDEN), rises,
    )  # fmt: skip
    head = (dense(HIDDEN, len(NAMES) * (2 * EXPERTS + 1), biases=True),)
    return Line(body, head, MixtureScores(len(NAMES), EXPERTS), SPEC.size, context, len(NAMES), HIDDEN)


def plain_scores(line: Line, video: np.ndarray) -> np.ndarray:
    """(S, C) probabilities of a video (T, F): window by window, step by step, in float64."""
    starts = segment_starts(len(video))
    bounds = zip(*window_bounds(starts, len(video), line.context), strict=True)
    windows = [_run(line.body + line.head, video[first:end].astype(np.float64)) for first, end in bounds]
    return np.concatenate([_judge(line.scores, window) for window in windows])


def _run(steps: tuple, x: np.ndarray) -> np.ndarray:
    for step in steps:
        match step:
            case Dequantise(scale, offset):
                x = x * scale + offset
            case UnitLength(floor):
                x = x / np.sqrt(np.maximum((x**2).sum(axis=1, keepdims=True), floor))
            case Scale(scale, shift):
                x = x * scale + shift
            case Dense(weights, biases):
                x = x @ weights.astype(np.float64) + (0 if biases is None else biases)
            case Activation("sigmoid"):
                x = 1 / (1 + np.exp(-x))
            case Activation("relu6"):
                x = np.clip(x, 0, 6)
            case MaxPool():
                x = x.max(axis=0, keepdims=True)
            case MeanPool():
                x = x.mean(axis=0, keepdims=True)
            case _:
                raise AssertionError(step)
    return x


def _judge(scores: LogisticScores | MixtureScores, x: np.ndarray) -> np.ndarray:
    if isinstance(scores, LogisticScores):
        return 1 / (1 + np.exp(-x))
    gates = x[:, : (scores.experts + 1) * scores.classes].reshape(-1, scores.experts + 1, scores.classes)
    experts = x[:, gates.shape[1] * scores.classes :].reshape(-1, scores.experts, scores.classes)
    shares = np.exp(gates - gates.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return (shares[:, :-1] / (1 + np.exp(-experts))).sum(axis=1)


def write_block_bundle(root: Path, line: Line) -> Path:
    """Writes `<root>/blocks/1` with a float32 and an int8 model; the golden scores are the numpy twin's."""
    random = np.random.default_rng(1)
    videos = [random.integers(0, 256, (count, SPEC.size), np.uint8) for count in (2, 7, 43)]
    scores = np.concatenate([plain_scores(line, video) for video in videos]).astype(np.float32)
    vocabulary = vocabulary_of()
    manifest = Manifest(
        name="blocks",
        version=1,
        features=SPEC,
        context_frames=line.context,
        vocabulary_digest=vocabulary.digest,
        class_count=len(vocabulary),
        embedding_size=HIDDEN,
        golden=Golden(np.concatenate(videos), np.array([2, 7, 43], np.int32), scores),
        graphs=(Graph(MODEL, "blocks"), Graph(INT8_MODEL, "blocks", "int8", INT8_DIFFERENCE)),
        created_at="2026-01-01T00:00:00+00:00",
    )
    integers = line.quantised()
    assert integers is not None
    full, small = (block_graph(each).SerializeToString() for each in (line.folded(), integers))
    return write_bundle(root, manifest, vocabulary, full, {INT8_MODEL: small})
