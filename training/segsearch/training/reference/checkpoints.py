"""Trained networks of the public reference systems, read into ours.

Where it stands: `segsearch import-checkpoint` reads a `Reference`, builds the network of `converted` and loads its
weights; `check` compares outputs. `layouts` and `heads` know which variable is which. Imports no TensorFlow.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segsearch.core.errors import CheckpointMismatch, ConfigError
from segsearch.core.features import FeatureSpec
from segsearch.training.aggregations import DistillationConfig, MixConfig, TowerConfig
from segsearch.training.config import NetworkConfig
from segsearch.training.reference.heads import head_of
from segsearch.training.reference.layouts import AGGREGATIONS
from segsearch.training.reference.parts import batch_norm
from segsearch.training.reference.variables import Reference, Variables, Weights

__all__ = ["Converted", "Reference", "converted", "load_weights"]


@dataclass(frozen=True, eq=False)
class Converted:
    """What a reference is among our networks."""

    body: TowerConfig | MixConfig
    features: FeatureSpec
    classes: int
    weights: Weights

    @property
    def config(self) -> NetworkConfig:
        # linrongc's own pipeline whitens frames backwards instead, with a table of eigenvalues that no checkpoint
        # holds; recorded outputs of its networks are of unit frames like all others.
        normalisation = "l2"
        if isinstance(self.body, MixConfig):
            return NetworkConfig(normalisation=normalisation, mix=self.body)
        return NetworkConfig(normalisation=normalisation, aggregation=self.body.aggregation, head=self.body.head)


def converted(reference: Reference) -> Converted:
    """Our config and weights for a reference.

    Raises ConfigError for a model or flag that is not known here, CheckpointMismatch for a variable that is missing or
    left over.
    """
    variables, features = Variables(reference), reference.features
    if reference.model == "MixNeXtVladModel":
        config, weights, classes = _mix(variables, features)
    else:
        config, weights, classes = _tower(variables, features)
    variables.check_all_taken()
    return Converted(config, features, classes, weights)


def load_weights(body: Any, weights: Weights, source: Path) -> None:
    """Sets every variable of a built tower or mix; CheckpointMismatch names the first that differs and both shapes."""
    ours = {variable.path.partition(f"{body.name}/")[2]: variable for variable in body.weights}
    for path, variable in ours.items():
        shape = tuple(variable.shape)
        if path not in weights:
            raise CheckpointMismatch(source, f"no variable for {path}", f"one of shape {shape}")
        if weights[path].shape != shape:
            raise CheckpointMismatch(source, f"variable for {path} of shape {weights[path].shape}", f"shape {shape}")
    if spare := sorted(weights.keys() - ours.keys()):
        raise CheckpointMismatch(source, f"variable for {spare[0]}", "no such variable")
    for path, variable in ours.items():
        variable.assign(weights[path])


def _mix(variables: Variables, features: FeatureSpec) -> tuple[MixConfig, Weights, int]:
    recent = variables.reference.system == "linrongc_v3"
    count = variables.shape("mix_weights/weights")[1]
    weights = {
        "gate": variables.take("mix_weights/weights"),
        "gate_biases": variables.take("mix_weights/biases"),
        **batch_norm(variables, "mix_weights_bn", "gate_bn"),
    }
    towers, classes = [], 0
    for number in range(count):
        tower, parts, classes = _tower(variables.under(f"branch_{number}"), features)
        towers.append(tower)
        weights |= {f"tower_{number}/{path}": array for path, array in parts.items()}
    distillation = DistillationConfig(
        temperature=float(variables.flag("cl_temperature", 2.0)),
        weight=float(variables.flag("cl_lambda", 1.0)),
        epsilon=1e-5 if recent else 1e-8,
    )
    config = MixConfig(towers=tuple(towers), gate_input="padded", distillation=distillation, unbiased=not recent)
    return config, weights, classes


def _tower(variables: Variables, features: FeatureSpec) -> tuple[TowerConfig, Weights, int]:
    model, system = variables.reference.model, variables.reference.system
    readers = AGGREGATIONS.get(model)
    if readers is None:
        raise ConfigError("model", model, f"one of {', '.join(AGGREGATIONS)}, MixNeXtVladModel")
    aggregation, weights = readers(variables, features)
    head, head_weights, classes = head_of(variables, logits=system == "linrongc_v3")
    named = {f"{aggregation.kind}/{path}": array for path, array in weights.items()}
    named |= {f"{head.kind}/{path}": array for path, array in head_weights.items()}
    return TowerConfig(aggregation=aggregation, head=head), named, classes
