"""The model bundle: one directory that holds a model, its classes, and the proof that it works.

`<name>/<version>/` with `model.onnx`, perhaps variants of it, `vocabulary.csv` and `manifest.json`. Where it stands:
`segsearch.export` writes one, the service opens it. This file checks everything that can be checked without running a
model; the scorer that loads one must then reproduce the golden videos' scores before it takes traffic.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.errors import BundleRefused, BundleVocabularyMismatch, ConfigError, DataError
from segsearch.core.files import publish_directory, replace_directory, sha256_of
from segsearch.core.manifest import (
    DIFFERENCE_LIMITS,
    FILES,
    FLOAT16_MODEL,
    INT8_MODEL,
    MODEL,
    VERSION_LIMIT,
    Golden,
    Graph,
    Layout,
    Manifest,
    Metric,
    Precision,
    check_name,
    document_of,
    manifest_of,
)
from segsearch.core.segments import segment_count
from segsearch.core.vocabulary import Vocabulary

__all__ = [  # what a bundle is made of comes from here, too
    "DIFFERENCE_LIMITS", "FILES", "FLOAT16_MODEL", "INT8_MODEL", "MODEL", "Bundle", "Golden", "Graph", "Layout",
    "Manifest", "Metric", "Precision", "check_name", "free_version", "write_bundle",
]  # fmt: skip

FORMAT_VERSION = 1
VOCABULARY, MANIFEST = "vocabulary.csv", "manifest.json"
SIGNATURE = "model.sig"  # may lie beside them, as `model-signing` writes it
SIGNATURE_LIMIT_BYTES = 1 << 20
MANIFEST_LIMIT_BYTES = 64 << 20
FILE_LIMIT_BYTES = (2 << 30) - 1  # what one protobuf message, and so a model in one file, can hold


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
            manifest = manifest_of(directory, document)
        except (ConfigError, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise BundleRefused(directory, f"manifest is not usable: {type(error).__name__} {error}") from None
        _check_files(directory, document.get("files"), {graph.file for graph in manifest.graphs} | {VOCABULARY})
        try:
            vocabulary = Vocabulary.read(directory / VOCABULARY)
        except DataError as error:
            raise BundleRefused(directory, str(error)) from None
        _check_agreement(directory, manifest, vocabulary)
        return cls(directory, manifest, vocabulary, sha256_of(directory / MANIFEST))


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
    sign: Callable[[Path], None] | None = None,
    replace: bool = False,
) -> Path:
    """Publishes `<root>/<name>/<version>` at once and returns it; ConfigError where it is there, unless `replace`.

    model: the content of `model.onnx`. variants: that of the manifest's other graphs, by file name. sign: is given the
    finished directory, and may add its SIGNATURE.
    """
    if not replace:
        free_version(root, manifest.name, manifest.version)
    target = root / manifest.name / str(manifest.version)
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    built = building / target.name  # the name it will have is part of what is signed
    try:
        built.mkdir(mode=0o755)
        for name, content in {MODEL: model, **(variants or {})}.items():
            (built / name).write_bytes(content)
        (built / VOCABULARY).write_text(vocabulary.to_csv(), encoding="utf-8")
        files = {file.name: sha256_of(file) for file in sorted(built.iterdir())}
        document = {"format_version": FORMAT_VERSION, **document_of(manifest), "files": files}
        (built / MANIFEST).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        if sign is not None:
            sign(built)
        (replace_directory if replace else publish_directory)(built, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
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
    _check_plain(directory, MANIFEST, MANIFEST_LIMIT_BYTES)
    try:
        document = json.loads((directory / MANIFEST).read_bytes())
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
    if unknown := sorted(present - {*digests, MANIFEST, SIGNATURE}):
        raise BundleRefused(directory, f"unknown file {unknown[0]}")
    if SIGNATURE in present:
        _check_plain(directory, SIGNATURE, SIGNATURE_LIMIT_BYTES)
    for name, wanted in digests.items():
        _check_plain(directory, name, FILE_LIMIT_BYTES)
        if (found := sha256_of(directory / name)) != wanted:
            raise BundleRefused(directory, f"{name} has sha256 {found[:12]}, wanted {str(wanted)[:12]}")


def _check_plain(directory: Path, name: str, limit_bytes: int) -> None:
    file = directory / name
    if file.is_symlink() or not file.is_file() or file.stat().st_nlink > 1:
        raise BundleRefused(directory, f"{name} is missing or not a plain file of its own")
    if file.stat().st_size > limit_bytes:
        raise BundleRefused(directory, f"{name} is larger than {limit_bytes} bytes")


def _check_agreement(directory: Path, manifest: Manifest, vocabulary: Vocabulary) -> None:
    found, promised = (len(vocabulary), vocabulary.digest), (manifest.class_count, manifest.vocabulary_digest)
    if found != promised:
        told = [f"{count} classes, digest {digest[:12]}" for count, digest in (found, promised)]
        raise BundleVocabularyMismatch(directory, *told)
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
