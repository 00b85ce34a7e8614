"""A reference's trained network as a checkpoint of ours, checked by the outputs recorded with it.

Where it stands: `cli` calls it; `checkpoints` reads, `check` compares.
"""

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from segsearch.core.errors import CheckpointMismatch, ConfigError
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.models.network import Network
from segsearch.training.reference.check import differences
from segsearch.training.reference.checkpoints import Reference, converted, load_weights
from segsearch.training.reference.variables import read_arrays


@dataclass(frozen=True, eq=False)
class Imported:
    """A network of ours with a reference's weights, and the checkpoint that it is to become."""

    reference: Reference
    network: Network
    checkpoint: Checkpoint

    @classmethod
    def of(cls, reference: Reference, out: Path, vocabulary: Vocabulary | None, context_frames: int) -> "Imported":
        """Raises ConfigError for a model or flag that is not known, or for a vocabulary of other size;
        CheckpointMismatch for a variable that is missing, left over, or of another shape.
        """
        found = converted(reference)
        vocabulary = vocabulary or Vocabulary(Entry(number, f"label {number}") for number in range(found.classes))
        if len(vocabulary) != found.classes:
            raise ConfigError("--vocabulary", f"{len(vocabulary)} classes", f"{found.classes}, as the network has")
        network = Network(found.config, found.features, found.classes)
        load_weights(network.body, found.weights, reference.source)
        checkpoint = Checkpoint(
            directory=out,
            run=reference.model,
            network_config=found.config,
            features=found.features,
            vocabulary=vocabulary,
            context_frames=context_frames,
            stage="import",
            step=reference.step,
            training={"system": reference.system, "model": reference.model, "flags": dict(reference.flags)},
        )
        return cls(reference, network, checkpoint)

    def differences(self) -> dict[str, float]:
        """Largest difference of each output recorded in the source from that of the checkpoint, written and read
        again; CheckpointMismatch for a source that has none.
        """
        source = self.reference.source
        arrays = read_arrays(source) if source.suffix == ".npz" else {}
        if not {"num_frames", "predictions"} <= arrays.keys() or not {"frames_u8", "model_input"} & arrays.keys():
            wanted = "an .npz that also holds frames_u8 or model_input, num_frames and predictions"
            raise CheckpointMismatch(source, "no inputs and outputs to check by", wanted)
        with tempfile.TemporaryDirectory() as folder:
            copy = dataclasses.replace(self.checkpoint, directory=Path(folder))
            copy.write(self.network)
            network = Checkpoint.load(copy.directory).build_network()
        training = bool(json.loads(str(arrays["meta"])).get("is_training", False))
        with _whole_products():
            return differences(network, self.reference, arrays, training)


@contextmanager
def _whole_products() -> Iterator[None]:
    """Matrix products in float32, where a GPU would take TensorFloat-32, of 10 bits."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
