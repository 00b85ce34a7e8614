"""One stage of training, from its first step or from where it was killed.

Reads top to bottom: `train` is the loop, `OptimiserStep` one step of it. What the examples are, how a network is
judged and where its checkpoint goes comes in with the `Stage`; `stages` makes those.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from segsearch.core.bundle import Metric
from segsearch.core.errors import DataError
from segsearch.core.progress import progress as show_progress
from segsearch.core.progress import say
from segsearch.training import resume
from segsearch.training.config import StageConfig
from segsearch.training.ema import Average
from segsearch.training.errors import TrainingDiverged
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.input.videos import VideoExamples
from segsearch.training.journal import Journal
from segsearch.training.losses import cross_entropy
from segsearch.training.models.network import Network
from segsearch.training.resume import Progress
from segsearch.training.schedule import learning_rate_at, optimiser_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """What one training consists of."""

    name: str
    directory: Path
    config: StageConfig
    network: Network  # trained in place
    examples: VideoExamples | SegmentExamples
    example_count: int
    evaluate: Callable[[Network], tuple[Metric, ...]] | None  # None: nothing is held out
    publish: Callable[[Network, int, tuple[Metric, ...]], None]  # (averaged network, step, its metrics)
    choose_by: str | None  # the metric whose best epoch is published; None: the last epoch is
    explain: Callable[[], DataError | None]  # why an epoch of examples cannot be read


def train(stage: Stage) -> None:
    """Trains until the last epoch is done and published. Killed at any moment and called again, it goes on exactly.

    Raises TrainingDiverged when a loss is not finite, BadRecord or BadShard when an example cannot be read.
    """
    stage.directory.mkdir(parents=True, exist_ok=True)
    step = OptimiserStep(stage.network, stage.config, stage.examples.epoch(0).element_spec)
    at = resume.restore(stage.directory, step.variables)
    if at.finished:
        return
    if at.step:
        say(f"{stage.name}: goes on at epoch {at.epoch + 1}, step {at.step}")
    with Journal(stage.directory, at.step) as journal:
        while at.epoch < stage.config.epochs:
            _train_epoch(stage, step, at, journal)
            at.epoch, at.epoch_step = at.epoch + 1, 0
            _judge(stage, step.average.network, at, journal)
            at.finished = at.epoch == stage.config.epochs
            resume.save(stage.directory, at, step.variables)


def _train_epoch(stage: Stage, step: "OptimiserStep", at: Progress, journal: Journal) -> None:
    """Takes the rest of the epoch's batches, keeping `at` true after each; logs and saves on the way."""
    config, losses = stage.config, []
    left = stage.example_count - at.epoch_step * config.batch_size
    with show_progress(f"{stage.name} epoch {at.epoch + 1}/{config.epochs}", left, "examples") as advance:
        for batch in _readable(stage, stage.examples.epoch(at.epoch, skip=at.epoch_step)):
            losses.append(step(batch, at.step))
            at.step, at.epoch_step = at.step + 1, at.epoch_step + 1
            if at.step % config.log_every_steps == 0:
                advance(0, note=f"loss {_log(stage, losses, at, journal):.4f}")
            if at.step % config.save_every_steps == 0:
                resume.save(stage.directory, at, step.variables)
            advance(len(batch["frame_count"]))
        if losses:
            advance(0, note=f"loss {_log(stage, losses, at, journal):.4f}")


def _log(stage: Stage, losses: list[tf.Tensor], at: Progress, journal: Journal) -> float:
    """Writes the mean loss since the last call, and empties the list; raises TrainingDiverged at the first bad one."""
    # Losses are looked at only here: asking after each step would make an accelerator wait for Python.
    values = np.array([loss.numpy() for loss in losses], np.float64)
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise TrainingDiverged(stage.name, at.step - len(values) + first + 1, float(values[first]))
    losses.clear()
    journal.write(at.step, loss=float(values.mean()), learning_rate=learning_rate_at(stage.config, at.step - 1))
    return float(values.mean())


def _judge(stage: Stage, network: Network, at: Progress, journal: Journal) -> None:
    """Evaluates when it is time, and publishes: the best epoch so far, or the last."""
    last = at.epoch == stage.config.epochs
    metrics: tuple[Metric, ...] = ()
    if stage.evaluate and (last or at.epoch % stage.config.evaluate_every_epochs == 0):
        metrics = stage.evaluate(network)
    if metrics:
        journal.write(at.step, epoch=at.epoch, **{metric.name: metric.value for metric in metrics})
        say(f"{stage.name} epoch {at.epoch}: " + ", ".join(f"{metric.name} {metric.value:.4f}" for metric in metrics))
    if stage.choose_by is None:
        if last:
            stage.publish(network, at.step, metrics)
        return
    value = next((metric.value for metric in metrics if metric.name == stage.choose_by), None)
    # "Not worse" rather than "better": without a positive every epoch's value is nan, and the last is published.
    if value is not None and (at.best is None or not value <= at.best):
        stage.publish(network, at.step, metrics)
        at.best = value


def _readable(stage: Stage, batches: tf.data.Dataset) -> Any:
    """The batches; an error of TensorFlow's reader becomes one that names file, record and field."""
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            fault = stage.explain()
            raise fault if fault is not None else error from None
        yield batch


class OptimiserStep:
    """One optimiser step, compiled once; holds all that a step changes."""

    def __init__(self, network: Network, config: StageConfig, batch_spec: dict[str, tf.TensorSpec]):
        self.network, self.config = network, config
        self.optimiser = optimiser_of(config)
        self.optimiser.build(network.trainable_variables)
        self.average = Average(network, config.average)
        self._compiled = tf.function(self._take, input_signature=[batch_spec, tf.TensorSpec((), tf.int64)])

    @property
    def variables(self) -> Sequence[Any]:
        """Everything a resumed run must find as it was: weights, dropout's seeds, average, optimiser."""
        average = [] if self.average.network is self.network else self.average.network.weights
        return [*self.network.variables, *average, *self.optimiser.variables]

    def __call__(self, batch: dict[str, tf.Tensor], step: int) -> tf.Tensor:
        """Takes step number `step` (from 0) and returns its loss, scalar."""
        self.optimiser.learning_rate = learning_rate_at(self.config, step)
        return self._compiled(batch, tf.constant(step, tf.int64))

    def _take(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            scores = self.network(batch["codes"], batch["frame_count"], training=True)["scores"]
            loss = cross_entropy(scores, batch["labels"], batch.get("weights"))
            total = loss + sum(self.network.losses)  # the regularisation terms
        gradients = tape.gradient(total, self.network.trainable_variables)
        self.optimiser.apply(gradients)
        self.average.update(step)
        return loss
