"""Checkpoints and saved states: what is read back is what was written, and what does not fit is named."""

import json

import numpy as np
import pytest

from segsearch.core.bundle import Metric
from segsearch.core.errors import CheckpointMismatch
from segsearch.core.features import FeatureSpec
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.training import resume
from segsearch.training.aggregations import DBoFConfig
from segsearch.training.checkpoint import DOCUMENT, VOCABULARY, WEIGHTS, Checkpoint
from segsearch.training.config import NetworkConfig
from segsearch.training.journal import METRICS, Journal
from segsearch.training.models.network import Network
from segsearch.training.resume import Progress

CONFIG = NetworkConfig(aggregation=DBoFConfig(clusters=8, hidden=4))
FEATURES = FeatureSpec.parse("audio:6", extractor="vggish")
CLASSES = Vocabulary([Entry(3, "Dog", "/m/0bt9lr"), Entry(1, "Cat, small"), Entry(7, "Rain")])


@pytest.fixture
def network():
    return Network(CONFIG, FEATURES, len(CLASSES))


@pytest.fixture
def checkpoint(tmp_path, network):
    written = Checkpoint(
        directory=tmp_path / "fold0",
        run="trial",
        network_config=CONFIG,
        features=FEATURES,
        vocabulary=CLASSES,
        context_frames=5,
        stage="fold0",
        step=12,
        metrics=(Metric("map", 0.5, "by hand", "fold 0"),),
        training={"seed": 4},
    )
    written.write(network)
    return written


def test_a_checkpoint_comes_back_as_it_was_written(checkpoint, network):
    loaded = Checkpoint.load(checkpoint.directory)
    for name in ("run", "network_config", "features", "context_frames", "stage", "step", "metrics", "training"):
        assert getattr(loaded, name) == getattr(checkpoint, name), name
    assert loaded.vocabulary.digest == CLASSES.digest
    codes, counts = np.arange(24, dtype=np.uint8).reshape(1, 4, 6), np.array([4], np.int32)
    np.testing.assert_array_equal(loaded.build_network()(codes, counts)["scores"], network(codes, counts)["scores"])


@pytest.mark.parametrize("name", [WEIGHTS, VOCABULARY])
def test_a_file_that_is_not_the_one_written_is_named(checkpoint, name):
    with (checkpoint.directory / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointMismatch, match=name):
        Checkpoint.load(checkpoint.directory)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.update(format_version=2),
        lambda document: document.pop("network"),
        lambda document: document["network"]["aggregation"].update(clusters=0),
        lambda document: document["features"].update(streams="audio"),
        lambda document: document["features"].update(streams=5),
        lambda document: document.pop("files"),
        lambda document: document.update(files=[]),
    ],
)
def test_a_document_that_cannot_be_used_is_refused(checkpoint, spoil):
    path = checkpoint.directory / DOCUMENT
    document = json.loads(path.read_text())
    spoil(document)
    path.write_text(json.dumps(document))
    with pytest.raises(CheckpointMismatch):
        Checkpoint.load(checkpoint.directory)


def test_a_document_that_is_no_object_is_refused(checkpoint):
    (checkpoint.directory / DOCUMENT).write_text("[]")
    with pytest.raises(CheckpointMismatch, match="format version None"):
        Checkpoint.load(checkpoint.directory)


def test_a_directory_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointMismatch, match=DOCUMENT):
        Checkpoint.load(tmp_path)


def test_weights_of_another_network_are_refused_by_the_first_variable_that_differs(checkpoint):
    path = checkpoint.directory / DOCUMENT
    document = json.loads(path.read_text())
    document["network"]["aggregation"]["hidden"] = 5
    path.write_text(json.dumps(document))
    with pytest.raises(CheckpointMismatch, match=r"network/tower/dbof/hidden of shape \(8, 4\); wanted shape \(8, 5\)"):
        Checkpoint.load(checkpoint.directory).build_network()


def test_a_saved_state_restores_variables_and_progress(tmp_path, network):
    resume.save(tmp_path, Progress(epoch=2, epoch_step=3, step=23, best=0.25), network.variables)
    other = Network(CONFIG, FEATURES, len(CLASSES))
    assert resume.restore(tmp_path, other.variables) == Progress(epoch=2, epoch_step=3, step=23, best=0.25)
    for saved, restored in zip(network.variables, other.variables, strict=True):
        np.testing.assert_array_equal(saved, restored)


def test_a_damaged_state_is_refused_and_named(tmp_path, network):
    resume.save(tmp_path, Progress(step=1), network.variables)
    path = tmp_path / resume.STATE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointMismatch, match=resume.STATE):
        resume.restore(tmp_path, network.variables)


def test_a_journal_reopened_at_a_step_holds_every_step_once(tmp_path):
    with Journal(tmp_path, 0) as journal:
        for step in (10, 20, 30):
            journal.write(step, loss=1 / step)
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 40, "lo')  # killed here
    with Journal(tmp_path, 20) as journal:
        journal.write(30, loss=0.5)
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(10, 0.1), (20, 0.05), (30, 0.5)]
