"""One stage of training, from its first step or from where it was killed.

Reads top to bottom: `train` is the loop, `OptimiserStep` one step of it. What the examples are, how a network is
judged and where its checkpoint goes comes in with the `Stage`; `stages` makes those.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from segsearch.core.bundle import Metric
from segsearch.core.errors import ConfigError, DataError
from segsearch.core.progress import progress as show_progress
from segsearch.core.progress import say
from segsearch.training import resume
from segsearch.training.averaging import Average
from segsearch.training.config import EngineConfig, StageConfig
from segsearch.training.devices import Devices, part_of_batch
from segsearch.training.errors import TrainingDiverged, UnreadableExamples
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.input.unlabelled import BesideUnlabelled
from segsearch.training.input.videos import VideoExamples
from segsearch.training.journal import Journal
from segsearch.training.models.network import Network
from segsearch.training.objective import CrossEntropyObjective, Objective
from segsearch.training.resume import Progress, saving
from segsearch.training.schedule import learning_rate_at, optimiser_of
from segsearch.training.tracking import Tracking


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """What one training consists of."""

    name: str
    directory: Path
    config: StageConfig
    objective: Objective
    network: Network  # trained in place
    examples: VideoExamples | SegmentExamples | BesideUnlabelled
    example_count: int
    evaluate: Callable[[Network], tuple[Metric, ...]] | None  # None: nothing is held out
    publish: Callable[[Network, int, tuple[Metric, ...]], None]  # (averaged network, step, its metrics)
    choose_by: str | None  # the metric whose best epoch is published; None: the last epoch is
    explain: Callable[[], DataError | None]  # why an epoch of examples cannot be read
    engine: EngineConfig = field(default_factory=EngineConfig)
    devices: Devices = field(default_factory=Devices)
    facts: Mapping[str, float] = field(default_factory=dict)  # known before the first step, for the journal


def train(stage: Stage) -> None:
    """Trains until the last epoch is done and published. Killed at any moment and called again, it goes on exactly.

    Raises TrainingDiverged when a loss or a weight is not finite, BadRecord or BadShard when an example cannot be read,
    NotSaved on a full disk; what was saved and published before is whole then.
    """
    stage.directory.mkdir(parents=True, exist_ok=True)
    spec = stage.examples.epoch(0).element_spec
    step = OptimiserStep(stage.network, stage.config, spec, stage.objective, stage.engine, stage.devices)
    at = resume.restore(stage.directory, step.variables)
    _start_together(stage, at)
    if at.finished:
        return
    if at.step:
        say(f"{stage.name}: goes on at epoch {at.epoch + 1}, step {at.step}")
    with _journal(stage, at) as journal:
        if stage.facts and not at.step:
            journal.write(0, **stage.facts)
        while not at.finished:
            _train_epoch(stage, step, at, journal)
            at.epoch, at.epoch_step = at.epoch + 1, 0
            step.average.end_epoch(at.epoch)
            _refuse_unless_finite(stage, step.variables, at)
            if stage.devices.chief:
                _judge(stage, step.average.network, at, journal)
            at.finished = bool(stage.devices.agreed(at.epoch == stage.config.epochs or _is_over(stage, at)))
            _save(stage, step, at)
    stage.devices.agreed(at.step)  # nobody goes on before the chief has written all


def _journal(stage: Stage, at: Progress) -> Journal:
    if not stage.devices.chief:
        return Journal(stage.directory, at.step, quiet=True)
    name = f"{stage.directory.parent.name}/{stage.name}"
    tracking = Tracking(name, stage.directory, stage.config) if Tracking.wanted() else None
    return Journal(stage.directory, at.step, tracking=tracking)


def _start_together(stage: Stage, at: Progress) -> None:
    """Raises ConfigError where machines do not see the same saved state: they would wait for each other for ever."""
    wanted = stage.devices.agreed(at.step)
    if at.step != wanted:
        found = f"at step {at.step} of {stage.name}, the chief at step {wanted:.0f}"
        raise ConfigError("--out", found, "one folder that all machines see")


def _is_over(stage: Stage, at: Progress) -> bool:
    patience = stage.engine.early_stop
    # Between two looks nothing can have got better, and before the first there is nothing to keep.
    judged = at.epoch % stage.config.evaluate_every_epochs == 0
    if not patience or not judged or stage.choose_by is None or at.epoch - at.best_epoch < patience:
        return False
    say(f"{stage.name}: no better {stage.choose_by} in {patience} epochs, stops at epoch {at.epoch}")
    return True


def _save(stage: Stage, step: "OptimiserStep", at: Progress) -> None:
    if stage.devices.chief:
        resume.save(stage.directory, at, step.variables)


def _refuse_unless_finite(stage: Stage, variables: Sequence[Any], at: Progress) -> None:
    """Raises TrainingDiverged if a weight is no longer a number: such weights must never be saved or published."""
    for variable in variables:
        values = np.asarray(variable)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise TrainingDiverged(stage.name, at.step, variable.path, float(values[~np.isfinite(values)][0]))


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
                _refuse_unless_finite(stage, step.variables, at)
                _save(stage, step, at)
            advance(len(batch["frame_count"]))
        if losses:
            advance(0, note=f"loss {_log(stage, losses, at, journal):.4f}")


def _log(stage: Stage, losses: list[tf.Tensor], at: Progress, journal: Journal) -> float:
    """Writes the mean loss since the last call, and empties the list; raises TrainingDiverged at the first bad one."""
    # Losses are looked at only here: asking after each step would make an accelerator wait for Python.
    values = np.array([loss.numpy() for loss in losses], np.float64)
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise TrainingDiverged(stage.name, at.step - len(values) + first + 1, "loss", float(values[first]))
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
            _publish(stage, network, at.step, metrics)
        return
    value = next((metric.value for metric in metrics if metric.name == stage.choose_by), None)
    if value is not None and (at.best is None or value > at.best):
        at.best_epoch = at.epoch
    # "Not worse" rather than "better": without a positive every epoch's value is nan, and the last is published.
    if value is not None and (at.best is None or not value <= at.best):
        _publish(stage, network, at.step, metrics)
        at.best = value


def _publish(stage: Stage, network: Network, step: int, metrics: tuple[Metric, ...]) -> None:
    with saving(stage.directory):
        stage.publish(network, step, metrics)


def _readable(stage: Stage, batches: tf.data.Dataset) -> Any:
    """The batches; an error of TensorFlow's reader becomes one that names file, record and field."""
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
            raise stage.explain() or UnreadableExamples(stage.name, error.message) from None
        yield batch


class OptimiserStep:
    """One optimiser step, compiled once; holds all that a step changes."""

    def __init__(
        self,
        network: Network,
        config: StageConfig,
        batch_spec: dict[str, tf.TensorSpec],
        objective: Objective = CrossEntropyObjective(),  # noqa: B008 - it holds nothing that could change
        engine: EngineConfig = EngineConfig(),  # noqa: B008
        devices: Devices | None = None,  # by default one
    ):
        self.network, self.config, self.objective, self.engine = network, config, objective, engine
        self.devices = devices or Devices()
        with self.devices.scope():
            self.optimiser = optimiser_of(config, engine.precision)
            self.optimiser.build(network.trainable_variables)
            self.average = Average(network, config.average)
        signature = [batch_spec, tf.TensorSpec((), tf.int64)]
        self._compiled = tf.function(self._take, input_signature=signature, jit_compile=engine.xla or None)

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
        loss, *gradients = self.devices.summed(self._part_after_part, batch, step)
        self.optimiser.apply(gradients)
        self.average.update(step)
        return loss

    def _part_after_part(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> list[tf.Tensor]:
        """This device's share of the loss and of its gradients."""
        count = self.devices.replicas * self.engine.accumulation
        if count == 1:
            return self._loss_and_gradients(batch, step, 1.0)
        sums: list[tf.Tensor] = []
        for number in range(self.engine.accumulation):
            # One part's activations must be gone before the next one's are made: that is what parts are for.
            with tf.control_dependencies(sums):
                place = self.devices.number * self.engine.accumulation + number
                part, share = part_of_batch(batch, place, count)
                values = self._loss_and_gradients(part, step, share)
            sums = [total + value for total, value in zip(sums, values, strict=True)] if sums else values
        return sums

    def _loss_and_gradients(self, batch: dict[str, tf.Tensor], step: tf.Tensor, share: Any) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = self.objective.loss(self.network, self.average.network, batch, step) * share
            total = loss + sum(self.network.losses) * share  # the regularisation terms
            scaled = self.optimiser.scale_loss(total)
        variables = self.network.trainable_variables
        return [loss, *tape.gradient(scaled, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)]
