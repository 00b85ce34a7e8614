"""Where a training is computed: on one device, on all of this machine's, or on several machines.

Every device takes its part of the same batch, gradients are summed, batch norm's moments too (`layers.batch_norm`):
what is learnt does not depend on how many devices there are. Each machine reads all shards in the same order and
works on its part of every batch; the first one, the chief, alone evaluates and writes, into a folder that all see.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from segsearch.training.config import EngineConfig


class Devices:
    """The devices of one process, and how it comes to terms with the others. Make it before anything else runs."""

    def __init__(self, strategy: str = EngineConfig.strategy):
        self.strategy = _strategy_of(strategy)
        self.replicas: int = self.strategy.num_replicas_in_sync

    @property
    def chief(self) -> bool:
        """Whether this process evaluates and writes."""
        cluster = self.strategy.cluster_resolver
        if not isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return True
        first = "chief" if "chief" in cluster.cluster_spec().jobs else "worker"
        return (cluster.task_type, cluster.task_id) == (first, 0)

    @property
    def number(self) -> Any:
        """Which device this is, scalar int32, in what `summed` computes."""
        return tf.distribute.get_replica_context().replica_id_in_sync_group if self.replicas > 1 else 0

    def scope(self) -> AbstractContextManager[Any]:
        """Variables made in here lie on every device."""
        return self.strategy.scope()

    def summed(self, compute: Callable[..., Sequence[tf.Tensor]], *arguments: Any) -> Sequence[tf.Tensor]:
        """The sums over all devices of what each computes. Inside a tf.function only."""

        def on_one() -> Sequence[tf.Tensor]:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, list(compute(*arguments)))

        if self.replicas == 1:
            return compute(*arguments)
        # Each device holds the same sums now; one copy is enough.
        return [self.strategy.experimental_local_results(value)[0] for value in self.strategy.run(on_one)]

    def agreed(self, value: float) -> float:
        """The chief's value, given once every machine has come here."""
        if not isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return value

        def said(context: tf.distribute.InputContext) -> tf.Tensor:
            return tf.constant(value if context.replica_id_in_sync_group == 0 else 0.0, tf.float64)

        values = self.strategy.experimental_distribute_values_from_function(said)
        return float(self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None))


def part_of_batch(batch: dict[str, tf.Tensor], number: Any, count: int) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Part `number` of `count` parts of a batch, and its share of the batch's examples, scalar float32.

    Shares sum to 1. A batch of fewer examples than parts is not parted: every part is the batch.
    """
    whole = tf.reduce_min([tf.shape(values)[0] for values in batch.values()]) < count

    def bounds(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.where(whole, 0, rows * number // count), tf.where(whole, rows, rows * (number + 1) // count)

    part = {}
    for name, values in batch.items():
        start, stop = bounds(tf.shape(values)[0])
        part[name] = values[start:stop]
    examples = tf.shape(batch["frame_count"])[0]
    start, stop = bounds(examples)
    share = tf.cast(stop - start, tf.float32) / tf.cast(examples, tf.float32)
    return part, tf.where(whole, 1 / count, share)


def _strategy_of(name: str) -> tf.distribute.Strategy:
    match name:
        case "mirrored":
            devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
            return tf.distribute.MirroredStrategy([device.name for device in devices])
        case "multiworker":
            return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()  # TensorFlow's own for one device: it adds nothing
