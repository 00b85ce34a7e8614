"""Every network whose recorded outputs lie in the reference data: pooled, hidden, scores, loss terms, gradients.

All go through the importer, the starter code's DBoF too; its layer has golden tests of its own.
"""

import numpy as np
import pytest
import tensorflow as tf

from segsearch.training.config import StageConfig
from segsearch.training.distillation import mixed_cross_entropy
from segsearch.training.losses import cross_entropy
from segsearch.training.objective import MixObjective
from segsearch.training.reference.check import differences
from segsearch.training.reference.recorded import Recorded
from segsearch.training.trainer import OptimiserStep

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


@pytest.fixture(scope="module")
def recorded(golden):
    opened = {}

    def open_once(name):
        if name not in opened:
            opened[name] = Recorded(golden / f"{name}.npz")
        return opened[name]

    return open_once


@pytest.mark.parametrize("given", ["float frames", "bytes"])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_loss_terms_are_the_references(name, given, recorded):
    case = recorded(name)
    arrays = case.arrays if given == "float frames" else case.from_bytes
    found = differences(case.network, case.reference, arrays, case.training)
    assert "predictions" in found
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize("name", [name for name in NAMES if name != MIX])
def test_embeddings_are_the_input_of_the_references_head(name, recorded):
    case = recorded(name)
    if "tap/hidden" in case.arrays:
        before = case.network.get_weights()
        embedding = case.network.body(*case.frames, training=case.training)["embedding"]
        case.network.set_weights(before)
        np.testing.assert_allclose(embedding, case.arrays["tap/hidden"], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("name", POOLED)
def test_pooled_descriptors_are_the_references(name, recorded):
    case = recorded(name)
    pooled = case.network.aggregation.pool(*case.frames)
    expected = np.concatenate([case.arrays[tap] for tap in POOLED[name]], axis=1)
    np.testing.assert_allclose(pooled, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_regularisation_is_the_references(name, recorded):
    case = recorded(name)
    for sum_of_terms in ("regularization_loss_sum", "l2_regularization_loss_sum"):
        if sum_of_terms in case.arrays:
            np.testing.assert_allclose(sum(case.network.losses), case.arrays[sum_of_terms], rtol=1e-5)


def test_dequantised_frames_are_the_references(recorded):
    case = recorded("nextvlad_logistic")
    frames, _ = case.frames
    np.testing.assert_allclose(frames, case.arrays["model_input"], atol=1e-6, rtol=0)


@pytest.fixture
def mix(recorded):
    """The recorded training step of a mix."""
    case = recorded(MIX)
    before = case.network.get_weights()
    yield case
    case.network.set_weights(before)


def test_the_objective_of_a_mix_has_the_references_loss_and_gradients(mix):
    loss, gradients = mix.loss_and_gradients()
    expected = mix.ours("grad")
    np.testing.assert_allclose(loss, mix.arrays["final_loss"], rtol=0, atol=TOLERANCE)
    assert len(expected) > 40
    for path, gradient in expected.items():
        scale = max(1.0, float(np.abs(gradient).max()))
        np.testing.assert_allclose(gradients[path] / scale, gradient / scale, atol=TOLERANCE, rtol=0, err_msg=path)
    for path, gradient in gradients.items():
        assert path in expected or np.size(gradient) > 6000, path


def test_a_step_moves_a_mixs_statistics_as_the_reference_and_its_weights_by_the_references_gradients(mix):
    config = StageConfig(learning_rate=2e-4, clip_norm=1.0, average=None)
    objective, batch = MixObjective(mix.found.body.distillation), mix.batch
    before = {mix.path_of(variable): variable.numpy() for variable in mix.network.weights}
    step = OptimiserStep(mix.network, config, {k: tf.TensorSpec(v.shape, v.dtype) for k, v in batch.items()}, objective)
    step(batch, 0)
    after = {mix.path_of(variable): variable.numpy() for variable in mix.network.weights}
    statistics = mix.ours("after_update_ops")
    assert len(statistics) == 26
    for path, array in statistics.items():
        np.testing.assert_allclose(after[path], array, atol=TOLERANCE, rtol=0, err_msg=path)
    for path, gradient in mix.ours("grad").items():
        # Adam's first step is lr g / (|g| + 3e-7), g clipped to norm 1; float noise has a random sign.
        clipped = gradient / max(1.0, float(np.linalg.norm(gradient)))
        moved = np.where(np.abs(clipped) > 5e-6, after[path] - before[path], 0)
        expected = np.where(np.abs(clipped) > 5e-6, -2e-4 * clipped / (np.abs(clipped) + 3.2e-7), 0)
        np.testing.assert_allclose(moved, expected, atol=TOLERANCE, rtol=0, err_msg=path)


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
