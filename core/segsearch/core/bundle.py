"""The model bundle: one directory that holds a model, its classes, and the proof that it works.

`<name>/<version>/` with `model.onnx`, perhaps `model.int8.onnx`, `vocabulary.csv` and `manifest.json`. Where it stands:
`segsearch.export` writes one, the service opens it. This file checks everything that can be checked without running a
model; the scorer that loads one must then reproduce the golden videos' scores before it takes traffic.

V golden videos, T frames of all of them, G segments of all of them, F codes a frame, C classes.
"""

import base64
import dataclasses
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segsearch.core.errors import BundleRefused, ConfigError, DataError
from segsearch.core.features import FeatureSpec
from segsearch.core.files import publish_directory, replace_directory, sha256_of
from segsearch.core.segments import SEGMENT_FRAMES, segment_count
from segsearch.core.vocabulary import Vocabulary

FORMAT_VERSION = 1
MODEL, VOCABULARY, MANIFEST = "model.onnx", "vocabulary.csv", "manifest.json"
INT8_MODEL = "model.int8.onnx"
MANIFEST_LIMIT_BYTES = 64 << 20
FILE_LIMIT_BYTES = (2 << 30) - 1  # what one protobuf message, and so a model in one file, can hold
CONTEXT_LIMIT_FRAMES = 1000
VERSION_LIMIT = 10**9
# A bundle says itself how exactly its models must be reproduced; one that says more than this proves nothing.
TOLERANCE_LIMIT = 1e-2
INT8_DIFFERENCE_LIMIT = 0.1  # of a probability: more is a fault; what less costs in MAP is for a measurement to say
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")


Layout = Literal["windows", "blocks"]
Precision = Literal["float32", "int8"]


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
class Graph:
    """One model file of a bundle. They score alike, up to `difference`; `model.onnx` is always there.

    A graph of windows takes `frames` (B, W, F) uint8 and `frame_count` (B,) int32, batch and W free. A graph of blocks
    takes what `core.blocks.BlockBatch` holds: `frames` (5M, F) uint8, `block_frames` (M,) int32 and `windows` (B, P)
    int32. Both give `scores` (B, C) float32 probabilities and `embedding` (B, embedding_size) float32, the vector
    before the classifier; a graph of blocks also `codes` (B, C) and `class_codes` (C, B), uint16 score codes.
    """

    file: str = MODEL
    layout: Layout = "windows"
    precision: Precision = "float32"
    difference: float = 0.0  # largest of a probability to the training framework's, on the golden videos, as measured


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured quality: what, how much, by which protocol, on which split."""

    name: str
    value: float
    protocol: str
    split: str


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


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """An opened bundle whose files match their digests."""

    directory: Path
    manifest: Manifest
    vocabulary: Vocabulary
    digest: str  # sha256 of the manifest, which holds the sha256 of every other file

    @property
    def model_path(self) -> Path:
        """The float32 model, which every bundle has."""
        return self.directory / MODEL

    def graph(self, precision: Precision = "float32") -> Graph:
        """The graph of this precision; raises BundleRefused where the bundle holds none."""
        for graph in self.manifest.graphs:
            if graph.precision == precision:
                return graph
        found = ", ".join(graph.precision for graph in self.manifest.graphs)
        raise BundleRefused(self.directory, f"no {precision} model, only {found}")

    def path_of(self, graph: Graph) -> Path:
        return self.directory / graph.file

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Opens `<name>/<version>` or the highest version below `<name>`; raises BundleRefused with the reason."""
        directory = _version_directory(path)
        document = _read_manifest(directory)
        try:
            manifest = _manifest_of(document)
        except (ConfigError, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise BundleRefused(directory, f"manifest is not usable: {type(error).__name__} {error}") from None
        _check_files(directory, document.get("files"), {graph.file for graph in manifest.graphs} | {VOCABULARY})
        try:
            vocabulary = Vocabulary.read(directory / VOCABULARY)
        except DataError as error:
            raise BundleRefused(directory, str(error)) from None
        _check_agreement(directory, manifest, vocabulary)
        return cls(directory, manifest, vocabulary, sha256_of(directory / MANIFEST))


def check_name(name: str) -> None:
    """Raises ConfigError unless a bundle may be called so: its name is a directory's."""
    if not _NAME.fullmatch(name):
        raise ConfigError("name", name, "1 to 128 letters, digits, _, - and ., the first one not a dot")


def free_version(root: Path, name: str, version: int = 0) -> int:
    """The next free version number of a bundle; or `version`, raising ConfigError where it is there already."""
    check_name(name)
    ConfigError.check_range("version", version, 0, VERSION_LIMIT)  # 0 is the next free one
    taken = [int(entry.name) for entry in (root / name).glob("*") if _is_number(entry.name)]
    if version in taken:
        raise ConfigError("version", version, f"one that is not in {root / name} yet, or --force to replace it")
    return version or max(taken, default=0) + 1


def write_bundle(
    root: Path,
    manifest: Manifest,
    vocabulary: Vocabulary,
    model: bytes,
    variants: Mapping[str, bytes] | None = None,
    *,
    replace: bool = False,
) -> Path:
    """Publishes `<root>/<name>/<version>` at once and returns it; ConfigError where it is there, unless `replace`.

    model: the content of `model.onnx`. variants: that of the manifest's other graphs, by file name.
    """
    if not replace:
        free_version(root, manifest.name, manifest.version)
    target = root / manifest.name / str(manifest.version)
    target.parent.mkdir(parents=True, exist_ok=True)
    built = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        built.chmod(0o755)
        for name, content in {MODEL: model, **(variants or {})}.items():
            (built / name).write_bytes(content)
        (built / VOCABULARY).write_text(vocabulary.to_csv(), encoding="utf-8")
        files = {file.name: sha256_of(file) for file in sorted(built.iterdir())}
        document = {"format_version": FORMAT_VERSION, **_document_of(manifest), "files": files}
        (built / MANIFEST).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (replace_directory if replace else publish_directory)(built, target)
    finally:
        shutil.rmtree(built, ignore_errors=True)
    return target


def _version_directory(path: Path) -> Path:
    if (path / MANIFEST).exists():
        return path
    versions = [entry for entry in path.glob("*") if _is_number(entry.name) and (entry / MANIFEST).exists()]
    if not versions:
        raise BundleRefused(path, f"no {MANIFEST} here or in a numbered directory below; wanted <name>/<version>")
    return max(versions, key=lambda entry: int(entry.name))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) <= 18


def _read_manifest(directory: Path) -> dict[str, Any]:
    file = directory / MANIFEST
    if file.is_symlink() or file.stat().st_size > MANIFEST_LIMIT_BYTES:
        raise BundleRefused(directory, f"{MANIFEST} is a link or larger than {MANIFEST_LIMIT_BYTES} bytes")
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleRefused(directory, f"{MANIFEST} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BundleRefused(directory, f"{MANIFEST} is a {type(document).__name__}, wanted an object")
    if document.get("format_version") != FORMAT_VERSION:
        found = document.get("format_version")
        raise BundleRefused(directory, f"format version {found!r}; this release reads {FORMAT_VERSION}")
    return document


def _check_files(directory: Path, digests: Any, names: set[str]) -> None:
    """Exactly the files that the manifest names lie here, plain, with one name each, and with the digests it gives."""
    if not isinstance(digests, dict) or set(digests) != names:
        raise BundleRefused(directory, f"files in {MANIFEST} are {digests!r}, wanted {', '.join(sorted(names))}")
    present = {entry.name for entry in directory.iterdir()}
    if unknown := sorted(present - {*digests, MANIFEST}):
        raise BundleRefused(directory, f"unknown file {unknown[0]}")
    for name, wanted in digests.items():
        file = directory / name
        if file.is_symlink() or not file.is_file() or file.stat().st_nlink > 1:
            raise BundleRefused(directory, f"{name} is missing or not a plain file of its own")
        if file.stat().st_size > FILE_LIMIT_BYTES:
            raise BundleRefused(directory, f"{name} is larger than {FILE_LIMIT_BYTES} bytes")
        if (found := sha256_of(file)) != wanted:
            raise BundleRefused(directory, f"{name} has sha256 {found[:12]}, wanted {str(wanted)[:12]}")


def _check_agreement(directory: Path, manifest: Manifest, vocabulary: Vocabulary) -> None:
    if vocabulary.digest != manifest.vocabulary_digest or len(vocabulary) != manifest.class_count:
        raise BundleRefused(directory, f"{VOCABULARY} does not match the manifest's digest and class count")
    golden = manifest.golden
    frames, lengths, size = golden.frames, golden.lengths, manifest.features.size
    if frames.shape[1:] != (size,) or frames.dtype != np.uint8 or lengths.ndim != 1:
        raise BundleRefused(directory, f"golden frames are {frames.dtype}{frames.shape}, wanted uint8 (T, {size})")
    if lengths.dtype != np.int32 or golden.scores.dtype != np.float32:
        raise BundleRefused(
            directory, f"golden lengths are {lengths.dtype}, scores {golden.scores.dtype}, wanted int32 and float32"
        )
    if not len(lengths) or lengths.min() < 1 or lengths.sum() != len(frames):
        raise BundleRefused(directory, f"golden videos of {lengths.tolist()} frames, wanted {len(frames)} in all")
    wanted = sum(segment_count(int(length)) for length in lengths), manifest.class_count
    if golden.scores.shape != wanted:
        raise BundleRefused(directory, f"golden scores are {golden.scores.shape}, wanted {wanted}")


def _document_of(manifest: Manifest) -> dict[str, Any]:
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


def _manifest_of(document: Mapping[str, Any]) -> Manifest:
    features = document["features"]
    spec = dataclasses.replace(
        FeatureSpec.parse(features["streams"], features["extractor"]), low=features["low"], high=features["high"]
    )
    if document["feature_space"] != spec.space:
        raise ValueError(f"feature_space is {document['feature_space']!r}, wanted {spec.space!r} as its streams say")
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
        metrics=tuple(Metric(**metric) for metric in document["metrics"]),
        created_at=str(document["created_at"]),
    )


def _graphs_of(documents: list[dict[str, Any]]) -> tuple[Graph, ...]:
    graphs = tuple(Graph(**document) for document in documents)
    named = {graph.precision: graph.file for graph in graphs}
    if named not in ({"float32": MODEL}, {"float32": MODEL, "int8": INT8_MODEL}) or len(named) < len(graphs):
        raise ValueError(f"graphs are {named}, wanted float32 in {MODEL} and perhaps int8 in {INT8_MODEL}")
    for graph in graphs:
        if graph.layout not in ("windows", "blocks"):
            raise ValueError(f"layout of {graph.file} is {graph.layout!r}, wanted windows or blocks")
        limit = INT8_DIFFERENCE_LIMIT if graph.precision == "int8" else TOLERANCE_LIMIT
        _within(f"difference of {graph.file}", graph.difference, limit)
    return graphs


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
