"""A trained network of a public reference system: its variables under the reference's names, and its flags.

Where it stands: `reference_layouts` takes the variables one by one, `reference_checkpoints` makes our networks of them.
Imports TensorFlow only to read a TensorFlow checkpoint.

Known systems: google (google/youtube-8m), willow (antoine77340/Youtube-8M-WILLOW), skalic
(miha-skalic/youtube8mchallenge), linrongc (linrongc/youtube-8m) and linrongc_v3 (linrongc/solution_youtube8m_v3).
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.errors import CheckpointMismatch, ConfigError
from segsearch.core.features import YOUTUBE8M, FeatureSpec

SYSTEMS = {  # part of a repository's address -> what we call the system; the first that fits
    "solution_youtube8m_v3": "linrongc_v3",
    "linrongc": "linrongc",
    "willow": "willow",
    "skalic": "skalic",
    "google": "google",
}
NOT_WEIGHTS = ("Adam", "Adam_1", "ExponentialMovingAverage", "global_step", "beta1_power", "beta2_power")

Weights = dict[str, np.ndarray]  # our variable path -> array


@dataclass(frozen=True, eq=False)
class Reference:
    """A trained network as a reference system keeps it."""

    source: Path
    system: str  # one of SYSTEMS' values
    model: str  # class name in the reference
    flags: Mapping[str, Any]
    variables: Mapping[str, np.ndarray]  # by the reference's names, without the scope "tower/"

    @classmethod
    def of(cls, source: Path, meta: Mapping[str, Any], variables: Mapping[str, np.ndarray]) -> "Reference":
        """From a document with `model`, `repo` and `flags`, and variables as TensorFlow names them."""
        address = str(meta.get("repo", ""))
        system = next((name for part, name in SYSTEMS.items() if part in address.lower()), None)
        if system is None:
            raise ConfigError("repo", address, f"an address that contains one of {', '.join(SYSTEMS)}")
        if not isinstance(meta.get("model"), str):
            raise ConfigError("model", meta.get("model"), "the name of a reference model, as DbofModel")
        weights = {
            name.removesuffix(":0").removeprefix("tower/"): np.asarray(array, np.float32)
            for name, array in variables.items()
            if name.removesuffix(":0").rpartition("/")[2] not in NOT_WEIGHTS
        }
        return cls(source, system, _class_name(meta["model"]), dict(meta.get("flags", {})), weights)

    @classmethod
    def read_npz(cls, path: Path) -> "Reference":
        """From an .npz with `meta` (JSON) and `var/<name>` arrays; CheckpointMismatch for anything else."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                meta = json.loads(str(arrays["meta"]))
                variables = {name[4:]: arrays[name] for name in arrays.files if name.startswith("var/")}
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            wanted = "an .npz with meta (JSON) and var/<name> arrays"
            raise CheckpointMismatch(path, f"{type(error).__name__}: {error}", wanted) from None
        return cls.of(path, meta, variables)

    @classmethod
    def read_checkpoint(cls, prefix: Path, repo: str, flags: Mapping[str, Any]) -> "Reference":
        """From a TensorFlow checkpoint and the `model_flags.json` beside it.

        prefix: without .index and .data; repo: an address, which no checkpoint holds; flags: those the file leaves out,
        as the starter code's does with all sizes and options of networks.
        """
        import tensorflow as tf

        try:
            document = json.loads((prefix.parent / "model_flags.json").read_text())
            reader = tf.train.load_checkpoint(str(prefix))
            variables = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
        except (OSError, ValueError, tf.errors.OpError) as error:
            wanted = "a TensorFlow checkpoint with model_flags.json beside it"
            raise CheckpointMismatch(prefix, f"{type(error).__name__}: {error}", wanted) from None
        meta = {"model": document.get("model"), "repo": repo, "flags": {**document, **flags}}
        return cls.of(prefix, meta, {name: array for name, array in variables.items() if array.dtype == np.float32})

    @property
    def features(self) -> FeatureSpec:
        """The streams that flags `feature_names` and `feature_sizes` tell of; YouTube-8M's two without them."""
        names, sizes = (str(self.flags.get(name, "")).split(",") for name in ("feature_names", "feature_sizes"))
        if names == [""]:
            return YOUTUBE8M
        return FeatureSpec.parse(
            ",".join(f"{name.strip()}:{size.strip()}" for name, size in zip(names, sizes, strict=False))
        )


def _class_name(model: str) -> str:
    """`Skalic:Lstmbidirect` is an Lstmbidirect."""
    return model.rpartition(":")[2].split()[0] if model.strip() else model


class Variables:
    """A reference's variables, taken one by one, so that none is forgotten; those of a branch under its scope."""

    def __init__(self, reference: Reference, scope: str = "", taken: set[str] | None = None):
        self.reference, self.scope = reference, scope
        self.taken: set[str] = set() if taken is None else taken

    def under(self, scope: str) -> "Variables":
        return Variables(self.reference, f"{self.scope}{scope}/", self.taken)

    def has(self, start: str) -> bool:
        """Is there any variable whose name begins so?"""
        return any(name.startswith(self.scope + start) for name in self.reference.variables)

    def __contains__(self, name: str) -> bool:
        return self.scope + name in self.reference.variables

    def take(self, name: str) -> np.ndarray:
        if name not in self:
            found = f"no variable {self.scope}{name}"
            raise CheckpointMismatch(self.reference.source, found, f"one, as {self.reference.model} has")
        self.taken.add(self.scope + name)
        return self.reference.variables[self.scope + name]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.take(name).shape

    def flag(self, name: str, default: Any) -> Any:
        return self.reference.flags.get(name, default)

    def check_all_taken(self) -> None:
        if spare := sorted(self.reference.variables.keys() - self.taken):
            found = f"variable {spare[0]} of shape {self.reference.variables[spare[0]].shape}"
            wanted = f"none of that name in a {self.reference.model} with these flags"
            raise CheckpointMismatch(self.reference.source, found, wanted)
