"""A trained network of a public reference system: its variables under the reference's names, and its flags.

Where it stands: `layouts` and `heads` take the variables one by one, `checkpoints` makes our networks of them.
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
USUAL = {  # model -> the system that published it, for a source that names no address
    "FrameLevelLogisticModel": "google",
    "DbofModel": "google",
    "LstmModel": "google",
    "SoftDbofModelLF": "willow",
    "GatedDbofModelLF": "willow",
    "NetVLADModelLF": "willow",
    "NetFVModelLF": "willow",
    "GruModel": "willow",
    "Lstmbidirect": "skalic",
    "GRUbidirect": "skalic",
    "NeXtVLADModel": "linrongc",
    "MixNeXtVladModel": "linrongc",
}
NOT_WEIGHTS = ("Adam", "Adam_1", "Momentum", "ExponentialMovingAverage", "global_step", "beta1_power", "beta2_power")
FLAGS = "model_flags.json"

Weights = dict[str, np.ndarray]  # our variable path -> array


@dataclass(frozen=True, eq=False)
class Reference:
    """A trained network as a reference system keeps it."""

    source: Path
    system: str  # one of SYSTEMS' values
    model: str  # class name in the reference
    flags: Mapping[str, Any]
    variables: Mapping[str, np.ndarray]  # by the reference's names, without the scope "tower/"
    step: int = 0  # of its training, where the source tells

    @classmethod
    def of(cls, source: Path, meta: Mapping[str, Any], variables: Mapping[str, np.ndarray]) -> "Reference":
        """From a document with `model`, `repo` and `flags`, and variables as TensorFlow names them.

        repo: the reference's address, or what we call the system; absent, the system that published such a model.
        """
        named_model = meta.get("model", meta.get("model_name"))
        if not isinstance(named_model, str) or not named_model.strip():
            raise ConfigError("model", named_model, "the name of a reference model, as DbofModel")
        model = _class_name(named_model)
        flags = {name: _flag_value(value) for name, value in (meta.get("flags") or {}).items() if value is not None}
        named = {name.removesuffix(":0"): np.asarray(array) for name, array in variables.items()}
        weights = {
            name.removeprefix("tower/"): array.astype(np.float32)
            for name, array in named.items()
            if np.issubdtype(array.dtype, np.floating) and name.rpartition("/")[2] not in NOT_WEIGHTS
        }
        step = int(named.get("global_step", 0))
        return cls(source, _system(str(meta.get("repo") or ""), model, weights), model, flags, weights, step)

    @classmethod
    def read(cls, source: Path, repo: str | None = None, flags: Mapping[str, Any] | None = None) -> "Reference":
        """From an .npz, or from a TensorFlow checkpoint: its prefix, one of its files, or the folder it is the last of.

        repo and flags: what the source itself does not tell, or tells wrongly.
        """
        if source.suffix == ".npz":
            return cls.read_npz(source, repo, flags)
        return cls.read_checkpoint(_prefix(source), repo, flags)

    @classmethod
    def read_npz(cls, path: Path, repo: str | None = None, flags: Mapping[str, Any] | None = None) -> "Reference":
        """From an .npz with `meta` (JSON) and `var/<name>` arrays; CheckpointMismatch for anything else."""
        arrays = read_arrays(path)
        try:
            meta = json.loads(str(arrays["meta"]))
            told = {**meta, "repo": repo or meta.get("repo"), "flags": {**(meta.get("flags") or {}), **(flags or {})}}
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            wanted = "an .npz with meta (JSON) and var/<name> arrays"
            raise CheckpointMismatch(path, f"{type(error).__name__}: {error}", wanted) from None
        return cls.of(path, told, {name[4:]: array for name, array in arrays.items() if name.startswith("var/")})

    @classmethod
    def read_checkpoint(
        cls, prefix: Path, repo: str | None = None, flags: Mapping[str, Any] | None = None
    ) -> "Reference":
        """From a TensorFlow checkpoint and the `model_flags.json` beside it.

        prefix: without .index and .data; flags: those the file leaves out, as the starter code's does with all sizes
        and options of networks.
        """
        import tensorflow as tf

        try:
            document = dict(json.loads((prefix.parent / FLAGS).read_text()))
            reader = tf.train.load_checkpoint(str(prefix))
            variables = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
        except (OSError, ValueError, TypeError, tf.errors.OpError) as error:
            wanted = f"a TensorFlow checkpoint with {FLAGS} beside it"
            raise CheckpointMismatch(prefix, f"{type(error).__name__}: {error}", wanted) from None
        told = {**document, **document.get("flags", {}), **(flags or {})}
        meta = {"model": told.get("model"), "repo": repo or document.get("repo"), "flags": told}
        return cls.of(prefix, meta, {_graph_name(name): array for name, array in variables.items()})

    @property
    def features(self) -> FeatureSpec:
        """The streams that flags `feature_names` and `feature_sizes` tell of; YouTube-8M's two without them."""
        names, sizes = (str(self.flags.get(name, "")).split(",") for name in ("feature_names", "feature_sizes"))
        if names == [""]:
            return YOUTUBE8M
        if len(names) != len(sizes):
            raise ConfigError("feature_sizes", ",".join(sizes), f"one for each of {','.join(names)}")
        return FeatureSpec.parse(
            ",".join(f"{name.strip()}:{size.strip()}" for name, size in zip(names, sizes, strict=True))
        )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz; CheckpointMismatch for a file that is none."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointMismatch(path, f"{type(error).__name__}: {error}", "an .npz of plain arrays") from None


def _system(address: str, model: str, variables: Mapping[str, np.ndarray]) -> str:
    if address in SYSTEMS.values():
        return address
    system = next((name for part, name in SYSTEMS.items() if part in address.lower()), None)
    if system is None and not address:
        willow = model == "LstmModel" and any(name.startswith("RNN/") for name in variables)
        system = "willow" if willow else USUAL.get(model, "google")
    if system is None:
        raise ConfigError("repo", address, f"an address that contains one of {', '.join(SYSTEMS)}")
    return system


def _prefix(source: Path) -> Path:
    """What a checkpoint's files have in common; in a folder, of those of the last step."""
    if source.is_dir():
        found = sorted(source.glob("*.index"), key=lambda path: (_step_of(path.stem), path.stem))
        if not found:
            raise CheckpointMismatch(source, "no .index file", "a folder with a TensorFlow checkpoint")
        source = found[-1]
    if source.suffix in (".index", ".meta") or source.suffix.startswith(".data-"):
        return source.with_suffix("")
    return source


def _step_of(prefix: str) -> int:
    number = prefix.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _graph_name(name: str) -> str:
    """A variable's name in its graph; `tf.train.Checkpoint` keeps it escaped, and what an optimiser knows beside it."""
    own, mark, _ = name.partition("/.ATTRIBUTES/")
    if "/.OPTIMIZER_SLOT/" in own:
        return own.partition("/.OPTIMIZER_SLOT/")[0].replace(".S", "/") + "/Adam"
    return own.replace(".S", "/").replace("..", ".") if mark else name


def _class_name(model: str) -> str:
    """`Skalic:Lstmbidirect` is an Lstmbidirect, and `DbofModel (segments)` a DbofModel."""
    return model.rpartition(":")[2].split()[0]


def _flag_value(value: Any) -> Any:
    """A flag as its type, where it was written down as on a command line: `False`, `0.01`, `relu6`."""
    try:
        return json.loads(value.lower() if value in ("True", "False") else value)
    except (TypeError, ValueError):
        return value


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
