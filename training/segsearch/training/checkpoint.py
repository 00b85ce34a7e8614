"""A checkpoint: one directory with a network's weights and everything needed to use them.

`weights.npz` (variable path -> array, no pickle), `vocabulary.csv` (classes in output order) and `checkpoint.json`,
which is written last and holds the digests of the other two: a crash in between is seen at `load`, and a resumed run
writes the same checkpoint again. `segsearch.export` reads what this file writes.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segsearch.core.bundle import Metric
from segsearch.core.errors import CheckpointMismatch, ConfigError, DataError
from segsearch.core.features import FeatureSpec
from segsearch.core.files import sha256_of, sync_directory, write_atomically, writing_atomically
from segsearch.core.vocabulary import Vocabulary
from segsearch.training.config import NetworkConfig
from segsearch.training.documents import config_of, document_of

if TYPE_CHECKING:
    from segsearch.training.models.network import Network

FORMAT_VERSION = 1
WEIGHTS, VOCABULARY, DOCUMENT = "weights.npz", "vocabulary.csv", "checkpoint.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A network at one moment of its training, with what it was trained on and how well it did."""

    directory: Path
    run: str
    network_config: NetworkConfig
    features: FeatureSpec
    vocabulary: Vocabulary
    context_frames: int
    stage: str
    step: int
    metrics: tuple[Metric, ...] = ()
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path) -> Checkpoint:
        """Reads the documents; raises CheckpointMismatch where one is absent, damaged or of another format."""
        document = _read_document(directory)
        try:
            _check_files(directory, document["files"])
            features = document["features"]
            spec = FeatureSpec.parse(features["streams"], features["extractor"])
            return cls(
                directory=directory,
                run=document["run"],
                network_config=config_of(NetworkConfig, document["network"], "network"),
                features=dataclasses.replace(spec, low=features["low"], high=features["high"]),
                vocabulary=Vocabulary.read(directory / VOCABULARY),
                context_frames=document["context_frames"],
                stage=document["stage"],
                step=document["step"],
                metrics=tuple(Metric(**metric) for metric in document["metrics"]),
                training=document["training"],
            )
        except (ConfigError, DataError, AttributeError, KeyError, TypeError) as error:
            found = f"{type(error).__name__}: {error}"
            raise CheckpointMismatch(
                directory / DOCUMENT, found, "a checkpoint as `segsearch train` writes it"
            ) from None

    @property
    def digest(self) -> str:
        """SHA-256 of the document, which holds those of weights and vocabulary: what this checkpoint is known by."""
        return sha256_of(self.directory / DOCUMENT)

    def build_network(self) -> Network:
        """The network with its weights; raises CheckpointMismatch naming the first variable that differs."""
        from segsearch.training.models.network import Network

        network = Network(self.network_config, self.features, len(self.vocabulary))
        read_weights(self.directory / WEIGHTS, network)
        return network

    def write(self, network: Network) -> None:
        """Puts the directory's three files in place, the document last; on a full disk the older ones stay."""
        beside = self.directory / ".new"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            self._write_into(beside, network)
            for name in (WEIGHTS, VOCABULARY, DOCUMENT):
                (beside / name).replace(self.directory / name)
            sync_directory(self.directory)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _write_into(self, directory: Path, network: Network) -> None:
        write_weights(directory / WEIGHTS, network)
        write_atomically(directory / VOCABULARY, self.vocabulary.to_csv())
        document = {
            "format_version": FORMAT_VERSION,
            "run": self.run,
            "network": document_of(self.network_config),
            "features": {
                "streams": str(self.features),
                "extractor": self.features.extractor,
                "low": self.features.low,
                "high": self.features.high,
            },
            "context_frames": self.context_frames,
            "stage": self.stage,
            "step": self.step,
            "metrics": [dataclasses.asdict(metric) for metric in self.metrics],
            "training": dict(self.training),
            "files": {name: sha256_of(directory / name) for name in (WEIGHTS, VOCABULARY)},
        }
        write_atomically(directory / DOCUMENT, json.dumps(document, indent=1) + "\n")


def write_weights(path: Path, network: Network) -> None:
    """All weights of a network by variable path, batch norm's moving statistics included."""
    with writing_atomically(path) as file:
        np.savez(file, **{weight.path: np.asarray(weight) for weight in network.weights})


def read_weights(path: Path, network: Network) -> None:
    """Sets every weight of a network; raises CheckpointMismatch naming the first variable that differs."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointMismatch(path, str(error), "weights as `segsearch train` writes them") from None
    for weight in network.weights:
        if weight.path not in found:
            raise CheckpointMismatch(path, f"no variable {weight.path}", f"one of shape {tuple(weight.shape)}")
        if found[weight.path].shape != tuple(weight.shape):
            shape = found[weight.path].shape
            raise CheckpointMismatch(path, f"variable {weight.path} of shape {shape}", f"shape {tuple(weight.shape)}")
    spare = sorted(found.keys() - {weight.path for weight in network.weights})
    if spare:
        raise CheckpointMismatch(path, f"variable {spare[0]} of shape {found[spare[0]].shape}", "no such variable")
    for weight in network.weights:
        weight.assign(found[weight.path])


def _read_document(directory: Path) -> dict[str, Any]:
    path = directory / DOCUMENT
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointMismatch(path, str(error), "a checkpoint as `segsearch train` writes it") from None
    version = document.get("format_version") if isinstance(document, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointMismatch(path, f"format version {version}", f"{FORMAT_VERSION}")
    checked: dict[str, Any] = document
    return checked


def _check_files(directory: Path, digests: Mapping[str, str]) -> None:
    for name in (WEIGHTS, VOCABULARY):
        digest, file = digests[name], directory / name
        if not file.is_file() or sha256_of(file) != digest:
            raise CheckpointMismatch(file, "missing, or not the file it was", f"sha256 {digest[:12]}")
