"""Every network whose recorded outputs lie in the reference data: pooled, hidden, scores, loss terms, gradients.

All go through the importer, the starter code's DBoF too; its layer has golden tests of its own.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from segsearch.training.distillation import cross_entropy, mix_loss, mixed_cross_entropy
from segsearch.training.models.bodies import body_of
from segsearch.training.reference_check import differences, float_frames, frames_shown
from segsearch.training.reference_checkpoints import Reference, converted, load_weights

TOLERANCE = 1e-5
NAMES = (
    "google_framelogistic",
    "google_dbof_max_sigmoid_moe",
    "google_dbof_trainstep",
    "google_lstm_moe",
    "willow_netvlad_gated",
    "willow_netfv_gated",
    "willow_gateddbof",
    "willow_gru_moe",
    "skalic_lstmbidirect_logistic",
    "nextvlad_logistic",
    "mixnextvlad_train_distill_T1",
)
POOLED = {  # names of the taps, in our order of streams
    "willow_netvlad_gated": ("tap/NetVLAD_out", "tap/NetVLAD_out_2"),
    "willow_netfv_gated": ("tap/NetFV_out", "tap/NetFV_out_2"),
    "willow_gateddbof": ("tap/GatedDBoF_out", "tap/SoftDBoF_out"),
    "nextvlad_logistic": ("tap/NeXtVLAD_out", "tap/NeXtVLAD_out_2"),
}
MIX = "mixnextvlad_train_distill_T1"


class Recorded:
    """A recorded reference and our network with its weights."""

    def __init__(self, path):
        with np.load(path) as file:
            self.arrays = {name: file[name] for name in file.files}
        self.training = json.loads(str(self.arrays["meta"]))["is_training"]
        self.reference = Reference.read_npz(path)
        self.found = converted(self.reference)
        self.body = body_of(self.found.config, self.found.features.streams, self.found.classes)
        self.body.build((None, None, self.found.features.size))
        load_weights(self.body, self.found.weights, path)

    @property
    def frames(self):
        """Frames and mask as the reference saw them."""
        shown = frames_shown(self.reference, self.arrays)
        return float_frames(self.found.features, self.found.normalisation, *shown)

    def ours(self, kind):
        """Our variable's path -> the file's array of this kind (`grad`, `after_update_ops`), mapped by the importer."""
        start = f"{kind}/"
        named = {name.removeprefix(start): array for name, array in self.arrays.items() if name.startswith(start)}
        absent = {f"tower/{name}": np.full_like(array, np.nan) for name, array in self.reference.variables.items()}
        meta = json.loads(str(self.arrays["meta"]))
        filled = converted(Reference.of(self.reference.source, meta, {**absent, **named})).weights
        return {path: array for path, array in filled.items() if not np.isnan(array).any()}


@pytest.fixture(scope="module")
def recorded(golden):
    opened = {}

    def open_once(name):
        if name not in opened:
            opened[name] = Recorded(golden / f"{name}.npz")
        return opened[name]

    return open_once


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_loss_terms_are_the_references(name, recorded):
    case = recorded(name)
    found = differences(case.body, case.found, case.reference, case.arrays, case.training)
    assert "predictions" in found
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize("name", POOLED)
def test_pooled_descriptors_are_the_references(name, recorded):
    case = recorded(name)
    pooled = case.body.aggregation.pool(*case.frames)
    expected = np.concatenate([case.arrays[tap] for tap in POOLED[name]], axis=1)
    np.testing.assert_allclose(pooled, expected, atol=TOLERANCE, rtol=0)


def test_dequantised_frames_are_the_references(recorded):
    case = recorded("nextvlad_logistic")
    frames, _ = case.frames
    np.testing.assert_allclose(frames, case.arrays["model_input"], atol=1e-6, rtol=0)


def test_gradients_of_a_mix_are_the_references(recorded):
    case = recorded(MIX)
    before = case.body.get_weights()
    with tf.GradientTape() as tape:
        outputs = case.body(*case.frames, training=True)
        loss = mix_loss(outputs, case.arrays["labels"], case.found.config.distillation).total + sum(case.body.losses)
    variables = {variable.path.partition("/")[2]: variable for variable in case.body.trainable_variables}
    gradients = dict(zip(variables, tape.gradient(loss, [v.value for v in variables.values()]), strict=True))
    case.body.set_weights(before)
    expected = case.ours("grad")
    assert len(expected) > 40
    for path, gradient in expected.items():
        scale = max(1.0, float(np.abs(gradient).max()))
        np.testing.assert_allclose(gradients[path] / scale, gradient / scale, atol=TOLERANCE, rtol=0, err_msg=path)
    for path, gradient in gradients.items():
        assert path in expected or np.size(gradient) > 6000, path


def test_moving_statistics_of_a_mix_move_as_the_references(recorded):
    case = recorded(MIX)
    before = case.body.get_weights()
    case.body(*case.frames, training=True)
    moved = {variable.path.partition("/")[2]: variable.numpy() for variable in case.body.weights}
    case.body.set_weights(before)
    expected = case.ours("after_update_ops")
    assert len(expected) == 26
    for path, array in expected.items():
        np.testing.assert_allclose(moved[path], array, atol=TOLERANCE, rtol=0, err_msg=path)


def test_cross_entropy_with_the_mixs_epsilon_is_the_references(golden):
    case = np.load(golden / "losses.npz")
    found = cross_entropy(case["predictions"], case["labels"], epsilon=1e-8)
    np.testing.assert_allclose(found, case["linrongc_ce_eps1e-8"], rtol=1e-6)


@pytest.mark.parametrize(("share", "name"), [(0.5, "mixed_lambda_0_5"), (0.25, "mixed_lambda_0_25")])
def test_a_loss_between_labels_and_teachers_is_the_references(share, name, golden):
    case = np.load(golden / "losses_distill_offline.npz")
    label_loss = cross_entropy(case["predictions"], case["labels"], epsilon=1e-5)
    teacher_loss = cross_entropy(case["predictions"], case["teacher_predictions"], epsilon=1e-5)
    np.testing.assert_allclose(mixed_cross_entropy(label_loss, teacher_loss, share), case[name], rtol=1e-6)
