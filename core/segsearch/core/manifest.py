"""What a bundle says of itself: the manifest, and its form as JSON.

Where it stands: `bundle` reads and writes the file and checks it against the others; `export` fills one in. Nothing
here touches a disk.

V golden videos, T frames of all of them, G segments of all of them, F codes a frame, C classes.
"""

import base64
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from segsearch.core.errors import BundleSpaceMismatch, ConfigError
from segsearch.core.features import FeatureSpec
from segsearch.core.segments import SEGMENT_FRAMES, segment_count

MODEL = "model.onnx"
INT8_MODEL = "model.int8.onnx"
FLOAT16_MODEL = "model.fp16.onnx"
CONTEXT_LIMIT_FRAMES = 1000
VERSION_LIMIT = 10**9
# A bundle says itself how exactly its models must be reproduced; one that says more than this proves nothing.
TOLERANCE_LIMIT = 1e-2
# Of a probability: more is a fault; what less costs in MAP is for a measurement to say.
DIFFERENCE_LIMITS: Final[Mapping[str, float]] = {"float32": TOLERANCE_LIMIT, "int8": 0.1, "float16": 1e-2}
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")


Layout = Literal["windows", "blocks"]
Precision = Literal["float32", "int8", "float16"]
FILES: Final[Mapping[Precision, str]] = {"float32": MODEL, "int8": INT8_MODEL, "float16": FLOAT16_MODEL}


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """A few short videos with the scores that the training framework gave their segments."""

    frames: np.ndarray  # (T, F) uint8, video after video
    lengths: np.ndarray  # (V,) int32, frames of each
    scores: np.ndarray  # (G, C) float32 probabilities
    tolerance: float = 1e-4  # largest difference allowed to whoever runs a float32 model

    def videos(self) -> list[np.ndarray]:
        """Each video's frames (length, F) uint8."""
        return np.split(self.frames, np.cumsum(self.lengths)[:-1])

    def scores_by_video(self) -> list[np.ndarray]:
        """Each video's scores (segments, C) float32."""
        counts = [segment_count(int(length)) for length in self.lengths]
        return np.split(self.scores, np.cumsum(counts)[:-1])


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured quality: what, how much, by which protocol, on which split."""

    name: str
    value: float
    protocol: str
    split: str


@dataclass(frozen=True, slots=True)
class Graph:
    """One model file of a bundle. They score alike, up to `difference`; `model.onnx` is always there.

    A graph of windows takes `frames` (B, W, F) uint8 and `frame_count` (B,) int32, batch and W free. A graph of blocks
    takes what `core.blocks.BlockBatch` holds: `frames` (5M, F) uint8, `block_frames` (M,) int32 and `windows` (B, P)
    int32. Both give `scores` (B, C) float32 probabilities and `embedding` (B, embedding_size) float32, the vector
    before the classifier; a graph of blocks also `codes` (B, C) and `class_codes` (C, B), uint16 score codes, and
    `sound` (B,) bool, false where they stand for no score.
    """

    file: str = MODEL
    layout: Layout = "windows"
    precision: Precision = "float32"
    difference: float = 0.0  # largest of a probability to the training framework's, on the golden videos, as measured
    metrics: tuple[Metric, ...] = ()  # of this model, measured when the bundle was made


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """Everything a reader of the bundle must know before it touches a model."""

    name: str
    version: int
    features: FeatureSpec
    context_frames: int  # frames of context each side of a segment
    vocabulary_digest: str
    class_count: int
    embedding_size: int
    golden: Golden
    graphs: tuple[Graph, ...] = (Graph(),)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    created_at: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        ConfigError.check_range("version", self.version, 1, VERSION_LIMIT)
        ConfigError.check_range("context_frames", self.context_frames, 0, CONTEXT_LIMIT_FRAMES)


def check_name(name: str) -> None:
    """Raises ConfigError unless a bundle may be called so: its name is a directory's."""
    if not _NAME.fullmatch(name):
        raise ConfigError("name", name, "1 to 128 letters, digits, _, - and ., the first one not a dot")


def document_of(manifest: Manifest) -> dict[str, Any]:
    """The manifest as a JSON object."""
    features = manifest.features
    return {
        "name": manifest.name,
        "version": manifest.version,
        "created_at": manifest.created_at,
        "feature_space": features.space,
        "features": {
            "streams": str(features), "extractor": features.extractor, "low": features.low, "high": features.high,
        },
        "window": {"segment_frames": SEGMENT_FRAMES, "context_frames": manifest.context_frames},
        "vocabulary_digest": manifest.vocabulary_digest,
        "class_count": manifest.class_count,
        "embedding_size": manifest.embedding_size,
        "graphs": [dataclasses.asdict(graph) for graph in manifest.graphs],
        "training": dict(manifest.training),
        "metrics": [dataclasses.asdict(metric) for metric in manifest.metrics],
        "golden": {
            "tolerance": manifest.golden.tolerance,
            "frames": _array_document(manifest.golden.frames),
            "lengths": _array_document(manifest.golden.lengths),
            "scores": _array_document(manifest.golden.scores),
        },
    }  # fmt: skip


def manifest_of(directory: Path, document: Mapping[str, Any]) -> Manifest:
    """The manifest that a JSON object holds; raises whatever a field that is missing or wrong raises.

    directory: of the bundle, to name it.
    """
    features = document["features"]
    spec = dataclasses.replace(
        FeatureSpec.parse(features["streams"], features["extractor"]), low=features["low"], high=features["high"]
    )
    if document["feature_space"] != spec.space:
        raise BundleSpaceMismatch(directory, str(document["feature_space"]), spec.space)
    if document["window"]["segment_frames"] != SEGMENT_FRAMES:
        raise ValueError(f"segment_frames is {document['window']['segment_frames']}, wanted {SEGMENT_FRAMES}")
    golden = document["golden"]
    return Manifest(
        name=str(document["name"]),
        version=int(document["version"]),
        features=spec,
        context_frames=int(document["window"]["context_frames"]),
        vocabulary_digest=str(document["vocabulary_digest"]),
        class_count=int(document["class_count"]),
        embedding_size=int(document["embedding_size"]),
        golden=Golden(
            frames=_array_of(golden["frames"]),
            lengths=_array_of(golden["lengths"]),
            scores=_array_of(golden["scores"]),
            tolerance=_within("tolerance", golden["tolerance"], TOLERANCE_LIMIT),
        ),
        graphs=_graphs_of(document["graphs"]),
        training=dict(document["training"]),
        metrics=_metrics_of(document["metrics"]),
        created_at=str(document["created_at"]),
    )


def _graphs_of(documents: list[dict[str, Any]]) -> tuple[Graph, ...]:
    graphs = tuple(Graph(**{**each, "metrics": _metrics_of(each.get("metrics", []))}) for each in documents)
    named = [(graph.precision, graph.file) for graph in graphs]
    known = [(precision, file) for precision, file in FILES.items() if (precision, file) in named]
    if len(known) != len(named) or ("float32", MODEL) not in known:
        raise ValueError(f"graphs are {dict(named)}, wanted float32 in {MODEL}, and others in {list(FILES.values())}")
    for graph in graphs:
        if graph.layout not in ("windows", "blocks"):
            raise ValueError(f"layout of {graph.file} is {graph.layout!r}, wanted windows or blocks")
        _within(f"difference of {graph.file}", graph.difference, DIFFERENCE_LIMITS[graph.precision])
    return graphs


def _metrics_of(documents: list[dict[str, Any]]) -> tuple[Metric, ...]:
    return tuple(Metric(**document) for document in documents)


def _within(field: str, value: float, limit: float) -> float:
    if not 0 <= value <= limit:  # so that NaN fails too
        raise ValueError(f"{field} is {value!r}, wanted 0 to {limit:g}")
    return float(value)


def _array_document(array: np.ndarray) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "base64": data}


def _array_of(document: Mapping[str, Any]) -> np.ndarray:
    if document["dtype"] not in ("uint8", "int32", "float32"):
        raise ValueError(f"array of dtype {document['dtype']!r}, wanted uint8, int32 or float32")
    data = base64.b64decode(document["base64"], validate=True)
    return np.frombuffer(data, document["dtype"]).reshape(document["shape"])
