"""A reference's network as it was recorded, its file opened, and ours with the same weights beside it.

Where it stands: golden tests and `benchmarks/parity.py` hold the two against each other; `importing` needs no more of a
file than its variables, and works on checkpoints too.

B segments, W frames, F features a frame.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from segsearch.training.config import RunConfig
from segsearch.training.layers.frames import mask_of
from segsearch.training.models.network import Network
from segsearch.training.objective import objective_of
from segsearch.training.reference.check import Arrays, frames_shown
from segsearch.training.reference.checkpoints import Reference, converted, load_weights
from segsearch.training.reference.variables import read_arrays


class Recorded:
    """An .npz with `meta`, variables, inputs and outputs, and our network with these weights."""

    def __init__(self, path: Path):
        """Raises CheckpointMismatch for a file that is none, or whose variables do not fit."""
        self.arrays = read_arrays(path)
        self.training = bool(json.loads(str(self.arrays["meta"])).get("is_training", False))
        self.reference = Reference.read_npz(path)
        self.found = converted(self.reference)
        self.network = Network(self.found.config, self.found.features, self.found.classes)
        load_weights(self.network.body, self.found.weights, path)

    @property
    def from_bytes(self) -> Arrays:
        """What the file holds without the float frames that the reference saw: ours are made of bytes then."""
        return {name: array for name, array in self.arrays.items() if name != "model_input"}

    @property
    def frames(self) -> tuple[Any, Any]:
        """Frames (B, W, F) and mask (B, W) as the reference saw them."""
        codes, frame_counts = frames_shown(self.reference, self.from_bytes)
        frame_mask = mask_of(frame_counts, codes.shape[1])
        return self.network.frames(codes, frame_mask), frame_mask

    @property
    def batch(self) -> dict[str, tf.Tensor]:
        """The file's training batch, as an objective takes it."""
        codes, frame_counts = frames_shown(self.reference, self.from_bytes)
        batch = {"codes": codes, "frame_count": frame_counts, "labels": self.arrays["labels"]}
        return {name: tf.constant(values) for name, values in batch.items()}

    def ours(self, kind: str) -> dict[str, np.ndarray]:
        """Our variable's path -> the file's array of this kind (`grad`, `after`), mapped by the importer."""
        start = f"{kind}/"
        named = {name.removeprefix(start): array for name, array in self.arrays.items() if name.startswith(start)}
        absent = {f"tower/{name}": np.full_like(array, np.nan) for name, array in self.reference.variables.items()}
        meta = json.loads(str(self.arrays["meta"]))
        filled = converted(Reference.of(self.reference.source, meta, {**absent, **named})).weights
        return {path: array for path, array in filled.items() if not np.isnan(array).any()}

    def loss_and_gradients(self) -> tuple[tf.Tensor, dict[str, np.ndarray]]:
        """The loss of `batch`, L2 included, and its gradients by our variables' paths. Moving statistics move."""
        config = RunConfig(name="recorded", network=self.found.config)
        objective, step = objective_of(config, config.stage1), tf.constant(0, tf.int64)
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            loss = objective.loss(self.network, self.network, self.batch, step) + sum(self.network.losses)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        paths = map(self.path_of, variables)
        return loss, {path: np.asarray(gradient) for path, gradient in zip(paths, gradients, strict=True)}

    def path_of(self, variable: Any) -> str:
        """A variable's path below the tower or mix, as `ours` has it."""
        return variable.path.partition(f"/{self.network.body.name}/")[2]
