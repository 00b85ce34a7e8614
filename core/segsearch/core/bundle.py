"""The model bundle: one directory that holds a model, its classes, and the proof that it works.

`<name>/<version>/` with `model.onnx`, `vocabulary.csv` and `manifest.json`. Where it stands: `segsearch.export` writes
one, the service opens it. This file checks everything that can be checked without running the model; the scorer that
loads `model.onnx` must then reproduce the golden segments before it takes traffic.

G golden segments, W frames of a window, F codes a frame, C classes.
"""

import base64
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.errors import BundleRefused, ConfigError, DataError
from segsearch.core.features import FeatureSpec
from segsearch.core.files import replace_directory, sha256_of
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.vocabulary import Vocabulary

FORMAT_VERSION = 1
MODEL, VOCABULARY, MANIFEST = "model.onnx", "vocabulary.csv", "manifest.json"
MANIFEST_LIMIT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """A few segments with the scores the training framework gave them."""

    windows: np.ndarray  # (G, W, F) uint8, real frames first
    frame_counts: np.ndarray  # (G,) int32
    scores: np.ndarray  # (G, C) float32 probabilities
    tolerance: float = 1e-4  # largest difference allowed to whoever runs the model


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured quality: what, how much, by which protocol, on which split."""

    name: str
    value: float
    protocol: str
    split: str


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """Everything a reader of the bundle must know before it touches the model.

    The model takes `frames` (B, W, F) uint8 and `frame_count` (B,) int32, batch and W free, and gives `scores` (B, C)
    float32 probabilities and `embedding` (B, embedding_size) float32, the vector before the classifier.
    """

    name: str
    version: int
    features: FeatureSpec
    context_frames: int  # frames of context each side of a segment
    vocabulary_digest: str
    class_count: int
    embedding_size: int
    golden: Golden
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    created_at: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """An opened bundle whose files match their digests."""

    directory: Path
    manifest: Manifest
    vocabulary: Vocabulary
    digest: str  # sha256 of the manifest, which holds the sha256 of every other file

    @property
    def model_path(self) -> Path:
        return self.directory / MODEL

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Opens `<name>/<version>` or the highest version below `<name>`; raises BundleRefused with the reason."""
        directory = _version_directory(path)
        document = _read_manifest(directory)
        _check_files(directory, document.get("files"))
        try:
            manifest = _manifest_of(document)
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise BundleRefused(directory, f"manifest is not usable: {type(error).__name__} {error}") from None
        try:
            vocabulary = Vocabulary.read(directory / VOCABULARY)
        except DataError as error:
            raise BundleRefused(directory, str(error)) from None
        _check_agreement(directory, manifest, vocabulary)
        return cls(directory, manifest, vocabulary, sha256_of(directory / MANIFEST))


def write_bundle(root: Path, manifest: Manifest, vocabulary: Vocabulary, model: bytes) -> Path:
    """Publishes `<root>/<name>/<version>` at once and returns it; an existing version is replaced."""
    target = root / manifest.name / str(manifest.version)
    target.parent.mkdir(parents=True, exist_ok=True)
    built = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        built.chmod(0o755)
        (built / MODEL).write_bytes(model)
        (built / VOCABULARY).write_text(vocabulary.to_csv(), encoding="utf-8")
        files = {name: sha256_of(built / name) for name in (MODEL, VOCABULARY)}
        document = {"format_version": FORMAT_VERSION, **_document_of(manifest), "files": files}
        (built / MANIFEST).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        replace_directory(built, target)
    finally:
        shutil.rmtree(built, ignore_errors=True)
    return target


def _version_directory(path: Path) -> Path:
    if (path / MANIFEST).exists():
        return path
    versions = [entry for entry in path.glob("*") if entry.name.isdecimal() and (entry / MANIFEST).exists()]
    if not versions:
        raise BundleRefused(path, f"no {MANIFEST} here or in a numbered directory below; wanted <name>/<version>")
    return max(versions, key=lambda entry: int(entry.name))


def _read_manifest(directory: Path) -> dict[str, Any]:
    file = directory / MANIFEST
    if file.is_symlink() or file.stat().st_size > MANIFEST_LIMIT_BYTES:
        raise BundleRefused(directory, f"{MANIFEST} is a link or larger than {MANIFEST_LIMIT_BYTES} bytes")
    try:
        document = json.loads(file.read_bytes())
    except ValueError as error:
        raise BundleRefused(directory, f"{MANIFEST} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BundleRefused(directory, f"{MANIFEST} is a {type(document).__name__}, wanted an object")
    if document.get("format_version") != FORMAT_VERSION:
        found = document.get("format_version")
        raise BundleRefused(directory, f"format version {found!r}; this release reads {FORMAT_VERSION}")
    return document


def _check_files(directory: Path, digests: Any) -> None:
    """Exactly the files that the manifest names lie here, plain, and with the digests it gives."""
    if not isinstance(digests, dict) or set(digests) != {MODEL, VOCABULARY}:
        raise BundleRefused(directory, f"files in {MANIFEST} are {digests!r}, wanted {MODEL} and {VOCABULARY}")
    present = {entry.name for entry in directory.iterdir()}
    if unknown := sorted(present - {*digests, MANIFEST}):
        raise BundleRefused(directory, f"unknown file {unknown[0]}")
    for name, wanted in digests.items():
        file = directory / name
        if not file.is_file() or file.is_symlink():
            raise BundleRefused(directory, f"{name} is missing or not a plain file")
        if (found := sha256_of(file)) != wanted:
            raise BundleRefused(directory, f"{name} has sha256 {found[:12]}, wanted {str(wanted)[:12]}")


def _check_agreement(directory: Path, manifest: Manifest, vocabulary: Vocabulary) -> None:
    if vocabulary.digest != manifest.vocabulary_digest or len(vocabulary) != manifest.class_count:
        raise BundleRefused(directory, f"{VOCABULARY} does not match the manifest's digest and class count")
    windows, counts, scores = manifest.golden.windows, manifest.golden.frame_counts, manifest.golden.scores
    window = (SEGMENT_FRAMES + 2 * manifest.context_frames, manifest.features.size)
    if not len(windows) or windows.shape[1:] != window or windows.dtype != np.uint8:
        raise BundleRefused(
            directory, f"golden windows are {windows.dtype}{windows.shape}, wanted uint8 (G, *{window})"
        )
    if counts.shape != windows.shape[:1] or scores.shape != (len(windows), manifest.class_count):
        raise BundleRefused(directory, f"golden scores are {scores.shape}, wanted {(len(windows), len(vocabulary))}")


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
        "training": dict(manifest.training),
        "metrics": [dataclasses.asdict(metric) for metric in manifest.metrics],
        "golden": {
            "tolerance": manifest.golden.tolerance,
            "windows": _array_document(manifest.golden.windows),
            "frame_counts": _array_document(manifest.golden.frame_counts),
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
            windows=_array_of(golden["windows"]),
            frame_counts=_array_of(golden["frame_counts"]),
            scores=_array_of(golden["scores"]),
            tolerance=float(golden["tolerance"]),
        ),
        training=dict(document["training"]),
        metrics=tuple(Metric(**metric) for metric in document["metrics"]),
        created_at=str(document["created_at"]),
    )


def _array_document(array: np.ndarray) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "base64": data}


def _array_of(document: Mapping[str, Any]) -> np.ndarray:
    if document["dtype"] not in ("uint8", "int32", "float32"):
        raise ValueError(f"array of dtype {document['dtype']!r}, wanted uint8, int32 or float32")
    data = base64.b64decode(document["base64"], validate=True)
    return np.frombuffer(data, document["dtype"]).reshape(document["shape"])
