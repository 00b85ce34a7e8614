"""What stops a training, and what is left then: numbers that are none, a full disk, no progress."""

import contextlib
import json
import resource
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from segsearch.core.cli import main
from segsearch.core.errors import CheckpointMismatch
from segsearch.training import resume
from segsearch.training.aggregations import DBoFConfig, LogisticConfig
from segsearch.training.checkpoint import DOCUMENT, Checkpoint
from segsearch.training.config import EngineConfig, InputConfig, NetworkConfig, RunConfig, StageConfig, stage_two
from segsearch.training.errors import NotSaved, TrainingDiverged
from segsearch.training.folder import DataFolder
from segsearch.training.input.videos import VideoExamples
from segsearch.training.models.network import Network
from segsearch.training.objective import CrossEntropyObjective
from segsearch.training.rated_map import RATED_MAP
from segsearch.training.stages import Run
from segsearch.training.trainer import OptimiserStep, Stage, train
from tests.tiny_data import metrics_of, settings, tiny_arguments, tiny_data

NETWORK = NetworkConfig(aggregation=DBoFConfig(clusters=16, hidden=8), head=LogisticConfig())
STAGE = StageConfig(batch_size=8, epochs=3, log_every_steps=2, save_every_steps=2)


@pytest.fixture(scope="module")
def data(shared):
    return tiny_data(shared)


class Poisoned:
    """Examples of which one batch has a label that is no number."""

    def __init__(self, examples: VideoExamples, batch: int):
        self.examples, self.batch = examples, batch

    def epoch(self, number: int, skip: int = 0) -> tf.data.Dataset:
        def poison(position, batch):
            bad = tf.logical_and(number == 0, position + skip == self.batch)
            return {**batch, "labels": batch["labels"] + tf.where(bad, np.float32("nan"), 0.0)}

        return self.examples.epoch(number, skip).enumerate().map(poison)


class SteepObjective(CrossEntropyObjective):
    """A loss that is a number at every step, with gradients that are none at one of them."""

    def loss(self, network, average_network, batch, step):
        nothing = tf.sqrt(tf.reduce_sum(tf.square(network.trainable_weights[0])) * 0.0)
        return super().loss(network, average_network, batch, step) + tf.where(step == 3, nothing, 0.0)


def test_a_poisoned_batch_is_named_by_its_step_and_leaves_the_last_good_state(data, tmp_path):
    with pytest.raises(TrainingDiverged, match="step 4: loss is nan") as caught:
        train(_stage(data, tmp_path, examples=Poisoned(_examples(data), 3)))
    assert caught.value.step == 4
    variables = _variables(data)
    assert resume.restore(tmp_path, variables).step == 2
    assert all(np.isfinite(np.asarray(variable)).all() for variable in variables)


def test_weights_that_are_no_numbers_are_not_saved_even_when_the_loss_was_one(data, tmp_path):
    with pytest.raises(TrainingDiverged, match=r"step 4: network/.* is nan"):
        train(_stage(data, tmp_path, objective=SteepObjective()))
    assert resume.restore(tmp_path, _variables(data)).step == 2


def test_a_loss_that_is_not_a_number_stops_the_stage_and_names_the_step(data, tmp_path):
    wild = StageConfig(batch_size=8, epochs=3, learning_rate=1e38, clip_norm=0.0, log_every_steps=1, save_every_steps=1)
    config = RunConfig(name="trial", network=NETWORK, stage1=wild)
    with pytest.raises(TrainingDiverged) as caught:
        Run(config=config, data=data, out=tmp_path, report=print).stage_one()
    assert 1 <= caught.value.step <= 15
    assert not (tmp_path / "stage1" / "checkpoint.json").exists()


def test_a_diverged_training_exits_with_one(shared, tmp_path, monkeypatch, capfd):
    small = {"network.aggregation": {"kind": "dbof", "clusters": 16, "hidden": 8}}
    wild = settings({**small, "stage1.batch_size": 8, "stage1.learning_rate": 1e38})
    arguments = ["train", "dbof_yt8m", *tiny_arguments(shared), "--out", tmp_path, *wild]
    monkeypatch.setattr("sys.argv", ["segsearch", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert "error: stage1, step" in capfd.readouterr().err


def test_a_state_that_does_not_fit_the_disk_leaves_the_one_before(data, tmp_path):
    variables = _variables(data)
    resume.save(tmp_path, resume.Progress(step=1), variables)
    with _little_room(), pytest.raises(NotSaved, match=r"state.npz could not be written: File too large"):
        resume.save(tmp_path, resume.Progress(step=2), variables)
    assert resume.restore(tmp_path, variables).step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_a_checkpoint_that_does_not_fit_the_disk_leaves_the_one_before(data, tmp_path):
    network = Network(NETWORK, data.features, len(data.vocabulary))
    _checkpoint(data, tmp_path, step=1).write(network)
    for weight in network.weights:
        weight.assign(weight + 1.0)
    with _little_room(), pytest.raises(OSError, match="File too large"):
        _checkpoint(data, tmp_path, step=2).write(network)
    assert Checkpoint.load(tmp_path).step == 1
    assert len(list(tmp_path.iterdir())) == 3


def test_a_disk_that_fills_up_in_training_is_named_and_the_run_goes_on_with_room(data, tmp_path):
    config = RunConfig(name="trial", network=NETWORK, input=InputConfig(shuffle_videos=16), stage1=STAGE)
    run = Run(config=config, data=data, out=tmp_path, report=lambda **_: None)
    with _little_room(), pytest.raises(NotSaved, match=r"state\.npz"):
        run.stage_one()
    run.stage_one()
    assert Checkpoint.load(tmp_path / "stage1").step == 3 * 5


@pytest.mark.parametrize("every", [1, 3])
def test_a_stage_that_gets_no_better_stops_early_at_an_epoch_that_was_judged(data, tmp_path, every):
    still = stage_two(STAGE, learning_rate=1e-30, epochs=12, average=None, evaluate_every_epochs=every)
    config = RunConfig(
        name="trial",
        network=NetworkConfig(
            aggregation=DBoFConfig(clusters=16, hidden=8, batch_norm_decay=0.0), head=LogisticConfig()
        ),
        stage1=StageConfig(batch_size=8, epochs=1),
        stage2=still,
        engine=EngineConfig(early_stop=2),
    )
    run = Run(config=config, data=data, out=tmp_path, report=lambda **_: None)
    run.stage_one()
    run.stage_two(0)
    judged = [line for line in metrics_of(tmp_path / "fold0") if RATED_MAP in line]
    best = int(np.argmax([line[RATED_MAP] for line in judged]))
    patience = {1: 2, 3: 1}[every]  # two epochs, of which every third is judged
    assert len(judged) == best + 1 + patience < 12 // every
    assert Checkpoint.load(tmp_path / "fold0").step == judged[best]["step"]
    assert resume.restore(tmp_path / "fold0", []).finished


def test_a_checkpoint_of_another_network_names_the_first_variable_and_both_shapes(data, tmp_path):
    run = Run(
        config=RunConfig(name="trial", network=NETWORK, stage1=StageConfig(batch_size=16, epochs=1), stage2=STAGE),
        data=data,
        out=tmp_path,
        report=lambda **_: None,
    )
    run.stage_one()
    document = json.loads((tmp_path / "stage1" / DOCUMENT).read_text())
    document["network"]["aggregation"]["clusters"] = 24
    (tmp_path / "stage1" / DOCUMENT).write_text(json.dumps(document))
    wanted = r"variable network/.*clusters of shape \(128, 16\); wanted shape \(128, 24\)"
    with pytest.raises(CheckpointMismatch, match=wanted):
        run.stage_two(0)


@contextlib.contextmanager
def _little_room():
    """Files of this process end after 10 kB, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _examples(data: DataFolder) -> VideoExamples:
    return VideoExamples(data.train, data.features, data.vocabulary, STAGE, InputConfig(shuffle_videos=16), 0)


def _stage(data: DataFolder, directory: Path, **changes) -> Stage:
    parts = {"examples": _examples(data), "objective": CrossEntropyObjective(), **changes}
    return Stage(
        name="stage1",
        directory=directory,
        config=STAGE,
        network=Network(NETWORK, data.features, len(data.vocabulary)),
        example_count=40,
        evaluate=None,
        publish=lambda *_: None,
        choose_by=None,
        explain=lambda: None,
        **parts,
    )


def _variables(data: DataFolder) -> list:
    """What a fresh stage of this size saves."""
    network = Network(NETWORK, data.features, len(data.vocabulary))
    return list(OptimiserStep(network, STAGE, _examples(data).epoch(0).element_spec).variables)


def _checkpoint(data: DataFolder, directory: Path, step: int) -> Checkpoint:
    return Checkpoint(
        directory=directory, run="trial", network_config=NETWORK, features=data.features, vocabulary=data.vocabulary,
        context_frames=0, stage="stage1", step=step,
    )  # fmt: skip
