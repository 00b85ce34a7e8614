"""`segsearch import-checkpoint` as people call it: what it makes of a reference's files, and what it refuses."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
import typer
from typer.testing import CliRunner

from segsearch.core.errors import CheckpointMismatch, ConfigError
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.errors import ImportDiffers
from segsearch.training.reference.check import frames_shown
from segsearch.training.reference.checkpoints import Reference
from segsearch.training.reference.cli import import_checkpoint

RUNNER = CliRunner()
RECORDED = (
    "google_dbof_trainstep",
    "willow_netvlad_gated",
    "skalic_lstmbidirect_logistic",
    "mixnextvlad_train_distill_T1",
)


@pytest.fixture
def command():
    """Calls the command in this process; errors come as they are raised."""
    app = typer.Typer()
    app.command()(import_checkpoint)

    def call(*arguments):
        result = RUNNER.invoke(app, list(map(str, arguments)))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            result.exception.stdout = result.stdout
            raise result.exception
        return result

    return call


@pytest.fixture
def spoilt(golden, tmp_path):
    """A copy of a recorded network with some of its arrays changed."""

    def write(name, **changes):
        with np.load(golden / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file.files}
        np.savez(tmp_path / f"{name}.npz", **{**arrays, **{key: change(arrays) for key, change in changes.items()}})
        return tmp_path / f"{name}.npz"

    return write


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_network_is_imported_with_its_outputs(name, command, golden, tmp_path):
    result = command(golden / f"{name}.npz", "--out", tmp_path / "imported", "--check")
    (figure,) = re.findall(r"^max_abs_difference (\S+)$", result.stdout, re.MULTILINE)
    assert 0 < float(figure) <= 1e-5
    with np.load(golden / f"{name}.npz") as file:
        reference = Reference.read_npz(golden / f"{name}.npz")
        codes, counts = frames_shown(reference, bytes_of(file))
        checkpoint = Checkpoint.load(tmp_path / "imported")
        training = json.loads(str(file["meta"]))["is_training"]
        scores = checkpoint.build_network()(codes, counts, training=training)["scores"]
        np.testing.assert_allclose(scores, file["predictions"], rtol=0, atol=1e-5)


def bytes_of(arrays):
    """The inputs without the float frames that the reference made of them."""
    return {name: arrays[name] for name in ("frames_u8", "num_frames", "sample_uniform") if name in arrays}


@pytest.mark.parametrize(
    ("name", "field", "change"),
    [
        ("google_framelogistic", "predictions", lambda arrays: arrays["predictions"] + np.float32(2e-5)),
        ("google_framelogistic", "predictions", lambda arrays: arrays["predictions"] * np.nan),
        ("google_dbof_trainstep", "loss", lambda arrays: arrays["loss"] + np.float32(1e-4)),
    ],
)
def test_a_network_with_other_outputs_is_refused_and_not_written(name, field, change, command, spoilt, tmp_path):
    with pytest.raises(ImportDiffers, match=f"{field} differs by up to") as caught:
        command(spoilt(name, **{field: change}), "--out", tmp_path / "imported", "--check")
    assert caught.value.stdout.startswith("max_abs_difference ")
    assert not (tmp_path / "imported").exists()


def test_a_loss_may_differ_in_the_last_bits_that_float32_has_for_it(command, spoilt, tmp_path):
    def two_steps_off(arrays):
        found = np.float32(arrays["final_loss"])
        return found + 2 * np.spacing(found)

    source = spoilt("mixnextvlad_train_distill_T1", final_loss=two_steps_off)
    command(source, "--out", tmp_path / "imported", "--check")
    assert (tmp_path / "imported").exists()


def test_flags_may_be_written_as_on_a_command_line(command, spoilt, tmp_path):
    def as_text(arrays):
        meta = json.loads(str(arrays["meta"]))
        return json.dumps({**meta, "flags": {name: str(value) for name, value in meta["flags"].items()}})

    command(spoilt("willow_netvlad_gated", meta=as_text), "--out", tmp_path / "imported", "--check")
    assert Checkpoint.load(tmp_path / "imported").training["flags"]["gating_remove_diag"] is False


def test_a_file_without_outputs_cannot_be_checked(command, golden, tmp_path):
    with pytest.raises(CheckpointMismatch, match="no inputs and outputs to check by"):
        command(golden / "e2e_framelogistic_weights.npz", "--out", tmp_path / "imported", "--check")


def test_classes_are_numbered_unless_a_vocabulary_names_them(command, golden, tmp_path):
    source = golden / "google_framelogistic.npz"
    command(source, "--out", tmp_path / "numbered")
    assert Checkpoint.load(tmp_path / "numbered").vocabulary.entries[7].name == "label 7"
    (tmp_path / "names.csv").write_text("Index,Name\n" + "".join(f"{100 + n},tag {n}\n" for n in range(25)))
    command(source, "--out", tmp_path / "named", "--vocabulary", tmp_path / "names.csv")
    assert Checkpoint.load(tmp_path / "named").vocabulary.entries[7].name == "tag 7"


def test_a_vocabulary_of_another_size_is_refused(command, golden, tmp_path):
    (tmp_path / "names.csv").write_text("Index,Name\n0,one\n")
    with pytest.raises(ConfigError, match="--vocabulary is '1 classes', wanted 25"):
        command(golden / "google_framelogistic.npz", "--out", tmp_path, "--vocabulary", tmp_path / "names.csv")


def test_a_tensorflow_checkpoint_scores_as_the_recording_of_its_network(command, golden, tmp_path):
    with np.load(golden / "google_dbof_max_sigmoid_moe.npz") as file:
        arrays = {name: file[name] for name in file.files}
    save_as_the_starter_code(arrays, tmp_path / "trained", {"model": "DbofModel", "frame_features": True})
    command(tmp_path / "trained", "--out", tmp_path / "imported", "--flag", "dbof_activation=sigmoid")
    checkpoint = Checkpoint.load(tmp_path / "imported")
    reference = Reference.read_npz(golden / "google_dbof_max_sigmoid_moe.npz")
    scores = checkpoint.build_network()(
        *frames_shown(reference, {k: v for k, v in arrays.items() if k != "model_input"})
    )
    np.testing.assert_allclose(scores["scores"], arrays["predictions"], rtol=0, atol=1e-5)
    assert checkpoint.step == 1200


def save_as_the_starter_code(arrays, folder, flags):
    """A folder as google/youtube-8m's train.py leaves it: a checkpoint and model_flags.json."""
    folder.mkdir()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, array in arrays.items():
            if name.startswith("var/"):
                tf.compat.v1.get_variable(name.removeprefix("var/"), initializer=array.astype(np.float32))
        step = tf.compat.v1.train.get_or_create_global_step()
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(step.assign(1200))
        tf.compat.v1.train.Saver().save(session, str(folder / "model.ckpt"), global_step=1200)
    named = {"feature_names": "rgb, audio", "feature_sizes": "1024, 128", "label_loss": "CrossEntropyLoss"}
    (folder / "model_flags.json").write_text(json.dumps({**named, **flags}))


def test_a_checkpoint_without_flags_is_refused(command, tmp_path):
    (tmp_path / "model.ckpt-3.index").write_bytes(b"")
    with pytest.raises(CheckpointMismatch, match=r"wanted a TensorFlow checkpoint with model_flags\.json beside it"):
        command(tmp_path, "--out", tmp_path / "imported")


def test_a_flag_without_value_is_refused_by_name(command, golden, tmp_path):
    with pytest.raises(ConfigError, match="--flag is 'gating'"):
        command(golden / "google_framelogistic.npz", "--out", tmp_path, "--flag", "gating")
