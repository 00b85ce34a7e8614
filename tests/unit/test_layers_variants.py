"""Every model, pooling, head and flag of the reference systems, imported by name and held against a plain twin."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from segsearch.core.errors import CheckpointMismatch, ConfigError
from segsearch.core.features import dequantise
from segsearch.training.distillation import mix_divergence
from segsearch.training.models.network import Network
from segsearch.training.reference.check import frames_shown, outputs_of
from segsearch.training.reference.checkpoints import Reference, converted, load_weights
from tests.reference_twins import AUDIO, VIDEO, Twin

STREAMS = {"feature_names": "rgb, audio", "feature_sizes": f"{VIDEO}, {AUDIO}"}
REPOSITORIES = {
    "google": "google/youtube-8m e6f6bf6",
    "willow": "antoine77340/Youtube-8M-WILLOW 0d2a00c (integer division patched for Python 3)",
    "skalic": "miha-skalic/youtube8mchallenge 65f20e9 (integer division patched)",
    "linrongc": "linrongc/youtube-8m 4810b4e",
    "linrongc_v3": "linrongc/solution_youtube8m_v3 7d71bde",
}
LOGISTIC = {"video_level_classifier_model": "LogisticModel"}
GATED = {"gating": True, "moe_prob_gating": True}
COUPLED = {"fv_couple_weights": True, "fv_coupling_factor": 0.01, "fv_relu": True}
NEXTVLAD = {"expansion": 2, "l2_penalty": 1e-5}
MIX = {**NEXTVLAD, **LOGISTIC, "cl_temperature": 20.0, "cl_lambda": 400.0, "segment_labels": True}
CASES = {
    "google_framelogistic": ("google", "FrameLevelLogisticModel", {}),
    "google_dbof_max_sigmoid_moe": ("google", "DbofModel", {"dbof_activation": "sigmoid"}),
    "google_dbof_avg_sigmoid_moe": (
        "google",
        "DbofModel",
        {"dbof_activation": "sigmoid", "dbof_pooling_method": "average"},
    ),
    "google_dbof_max_relu6_logistic": ("google", "DbofModel", {"dbof_activation": "relu6", **LOGISTIC}),
    "google_dbof_moe4": ("google", "DbofModel", {"dbof_activation": "sigmoid", "mixtures": 4}),
    "google_dbof_without_batch_norm": ("google", "DbofModel", {"dbof_activation": "sigmoid", "bare": True}),
    "google_lstm_moe": ("google", "LstmModel", {}),
    "google_lstm_logistic": ("google", "LstmModel", LOGISTIC),
    "willow_netvlad_gated": ("willow", "NetVLADModelLF", GATED),
    "willow_netvlad_relu_nogate": ("willow", "NetVLADModelLF", {"netvlad_relu": True}),
    "willow_netvlad_removediag": ("willow", "NetVLADModelLF", {**GATED, "gating_remove_diag": True}),
    "willow_netvlad_gates_of_hidden": ("willow", "NetVLADModelLF", {**GATED, "moe_prob_gating_input": "hidden"}),
    "willow_netvlad_gates_of_hidden_removediag": (
        "willow",
        "NetVLADModelLF",
        {**GATED, "moe_prob_gating_input": "hidden", "gating_remove_diag": True},
    ),
    "willow_netvlad_low_rank": ("willow", "NetVLADModelLF", {"moe_low_rank_gating": 3}),
    "willow_netvlad_bare_relu": ("willow", "NetVLADModelLF", {"bare": True, "gating": True, "netvlad_relu": True}),
    "willow_netvlad_bare_linear": ("willow", "NetVLADModelLF", {"bare": True, "gating": True, "netvlad_relu": False}),
    "willow_lightvlad_gated": ("willow", "NetVLADModelLF", {**GATED, "lightvlad": True}),
    "willow_netvlagd_gated": ("willow", "NetVLADModelLF", {**GATED, "vlagd": True}),
    "willow_netfv_gated": ("willow", "NetFVModelLF", GATED),
    "willow_netfv_coupled_relu": ("willow", "NetFVModelLF", {**GATED, **COUPLED}),
    "willow_netfv_removediag": ("willow", "NetFVModelLF", {**GATED, "gating_remove_diag": True}),
    "willow_gateddbof": ("willow", "GatedDbofModelLF", {"moe_prob_gating": True}),
    "willow_gateddbof_maxpool_relu": ("willow", "GatedDbofModelLF", {"softdbof_maxpool": True, "dbof_relu": True}),
    "willow_softdbof": ("willow", "SoftDbofModelLF", {}),
    "willow_softdbof_maxpool": ("willow", "SoftDbofModelLF", {"softdbof_maxpool": True}),
    "willow_softdbof_without_hidden": ("willow", "SoftDbofModelLF", {"fc_dimred": False, "softdbof_maxpool": True}),
    "willow_gru_moe": ("willow", "GruModel", {}),
    "willow_gru_backward": ("willow", "GruModel", {"gru_backward": True, "moe_prob_gating": True}),
    "willow_lstm_moe": ("willow", "LstmModel", {}),
    "willow_lstm_backward": ("willow", "LstmModel", {"lstm_backward": True}),
    "skalic_lstmbidirect_logistic": ("skalic", "Skalic:Lstmbidirect", LOGISTIC),
    "skalic_lstmbidirect_moe": ("skalic", "Skalic:Lstmbidirect", {}),
    "skalic_grubidirect_moe": ("skalic", "Skalic:GRUbidirect", {"moe_prob_gating": True}),
    "skalic_grubidirect_gated_moe": ("skalic", "Skalic:GRUbidirect", {"gating": True}),
    "skalic_dbof_relu6_logistic": ("skalic", "Skalic:DbofModel", LOGISTIC),
    "skalic_gateddbof_moe": ("skalic", "Skalic:GatedDbofModelLF", {}),
    "skalic_lightvlad": ("skalic", "Skalic:NetVLADModelLF", {**GATED, "lightvlad": True}),
    "nextvlad_logistic": ("linrongc", "NeXtVLADModel", {**NEXTVLAD, **LOGISTIC}),
    "nextvlad_moe_x1": ("linrongc", "NeXtVLADModel", {**NEXTVLAD, "expansion": 1}),
    "nextvlad_v3_moe": ("linrongc_v3", "NeXtVLADModel", {**NEXTVLAD, "mixtures": 4}),
    "mixnextvlad_infer": ("linrongc", "MixNeXtVladModel", {**NEXTVLAD, **LOGISTIC}),
}


def reference_of(system, model, flags):
    """A twin with random variables, and the reference that an import would read of it."""
    flags = dict(flags)
    twin = Twin(system, model.rpartition(":")[2], mixtures=flags.pop("mixtures", 2), **flags)
    scope = "" if system == "willow" else "tower/"
    meta = {"model": model, "repo": REPOSITORIES[system], "flags": {**flags, **STREAMS}}
    named = {scope + name: array for name, array in twin.variables.items()}
    return twin, Reference.of(Path("synthetic.npz"), meta, named)


def imported(reference):
    found = converted(reference)
    network = Network(found.config, found.features, found.classes)
    load_weights(network.body, found.weights, reference.source)
    return network


def floats(codes):
    frames = dequantise(codes).astype(np.float64)
    return frames / np.linalg.norm(frames, axis=-1, keepdims=True)


@pytest.fixture
def codes():
    return np.random.default_rng(5).integers(0, 256, (3, 7, VIDEO + AUDIO), np.uint8)


@pytest.mark.parametrize("case", CASES)
def test_an_imported_reference_scores_as_its_plain_twin_does(case, codes):
    twin, reference = reference_of(*CASES[case])
    network = imported(reference)
    counts = np.full(3, 7) if case == "mixnextvlad_infer" else np.array([7, 4, 1])  # its gate counts padding
    scores = outputs_of(network, codes, counts, training=False)["scores"]
    expected = [twin.predict(floats(row[:count])) for row, count in zip(codes, counts, strict=True)]
    np.testing.assert_allclose(scores, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("model", ["NeXtVLADModel", "MixNeXtVladModel"])
def test_the_2019_models_count_zero_frames_of_short_segments(model, codes):
    twin, reference = reference_of("linrongc_v3", model, MIX)
    network = imported(reference)
    counts = np.array([7, 4, 1])
    scores = outputs_of(network, codes, counts, training=False)["scores"]
    real = np.arange(7) < counts[:, None]
    expected = [twin.predict(frames) for frames in floats(codes) * real[..., None]]
    np.testing.assert_allclose(scores, expected, atol=2e-6, rtol=0)


def test_the_divergence_of_a_mix_is_its_towers_summed(codes):
    twin, reference = reference_of("linrongc", "MixNeXtVladModel", {**MIX, "segment_labels": False})
    network = imported(reference)
    outputs = outputs_of(network, codes, np.full(3, 7), training=False)
    temperature = network.config.mix.distillation.temperature
    expected = np.mean([twin.mix(floats(row), temperature)[2] for row in codes])
    divergence = mix_divergence(outputs["logits"], outputs["tower_logits"], temperature)
    np.testing.assert_allclose(divergence, expected, atol=1e-6, rtol=0)


def test_an_unknown_model_is_refused_by_name(tmp_path):
    reference = Reference.of(tmp_path, {"model": "DbofModelLF", "repo": REPOSITORIES["willow"], "flags": {}}, {})
    with pytest.raises(ConfigError, match="model is 'DbofModelLF', wanted one of FrameLevelLogisticModel"):
        converted(reference)


def test_an_unknown_repository_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="repo is 'somebody/else', wanted an address that contains one of"):
        Reference.of(tmp_path, {"model": "DbofModel", "repo": "somebody/else"}, {})


def test_a_missing_variable_is_named(tmp_path):
    _, reference = reference_of("google", "LstmModel", {})
    left = {name: array for name, array in reference.variables.items() if name != "experts/biases"}
    meta = {"model": "LstmModel", "repo": "google/youtube-8m", "flags": STREAMS}
    with pytest.raises(CheckpointMismatch, match="no variable experts/biases; wanted one, as LstmModel has"):
        converted(Reference.of(tmp_path, meta, left))


def test_a_variable_left_over_is_named_with_its_shape(tmp_path):
    _, reference = reference_of("google", "LstmModel", {})
    more = {**reference.variables, "attention/weights": np.zeros((3, 2))}
    meta = {"model": "LstmModel", "repo": "google/youtube-8m", "flags": STREAMS}
    with pytest.raises(CheckpointMismatch, match=r"variable attention/weights of shape \(3, 2\)"):
        converted(Reference.of(tmp_path, meta, more))


def test_a_variable_of_another_size_is_named_with_both_shapes():
    _, reference = reference_of("google", "DbofModel", {"dbof_activation": "sigmoid"})
    found = converted(reference)
    network = Network(found.config, found.features, found.classes)
    found.weights["dbof/clusters"] = np.zeros((24, 9), np.float32)
    with pytest.raises(CheckpointMismatch, match=r"dbof/clusters of shape \(24, 9\); wanted shape \(24, 8\)"):
        load_weights(network.body, found.weights, reference.source)


def test_what_an_optimiser_keeps_is_no_weight():
    _, reference = reference_of("google", "LstmModel", {})
    kept = {f"tower/{name}/Adam": array for name, array in reference.variables.items()}
    named = {f"tower/{name}": array for name, array in reference.variables.items()}
    meta = {"model": "LstmModel", "repo": "google/youtube-8m", "flags": STREAMS}
    again = Reference.of(Path("model.ckpt-7"), meta, {**named, **kept, "global_step": np.array(7)})
    assert again.variables.keys() == reference.variables.keys()


def test_the_system_is_who_published_the_model_unless_told():
    _, reference = reference_of("willow", "LstmModel", {})
    found = Reference.of(Path("model.ckpt-7"), {"model": "LstmModel", "flags": STREAMS}, reference.variables)
    told = Reference.of(Path("model.ckpt-7"), {"model": "DbofModel", "repo": "skalic", "flags": STREAMS}, {})
    assert (found.system, told.system) == ("willow", "skalic")


@pytest.fixture
def graph_checkpoint(tmp_path):
    """The prefix of a TensorFlow 1 checkpoint, saved as the starter code saves, and what it was made of."""
    _, reference = reference_of("skalic", "GRUbidirect", {"gating": True})
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, array in reference.variables.items():
            tf.compat.v1.get_variable(f"tower/{name}", initializer=array)
            tf.compat.v1.get_variable(f"tower/{name}/Adam", initializer=np.zeros_like(array))
        tf.compat.v1.train.get_or_create_global_step()
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(tf.compat.v1.train.get_global_step().assign(9))
        saver = tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V2)
        prefix = Path(saver.save(session, str(tmp_path / "model.ckpt"), global_step=9))
    (tmp_path / "model_flags.json").write_text(json.dumps({"model": "GRUbidirect", **STREAMS}))
    return prefix, reference


def test_a_tensorflow_checkpoint_holds_what_its_network_had(graph_checkpoint):
    prefix, reference = graph_checkpoint
    read = Reference.read(prefix, REPOSITORIES["skalic"], {"gating": True})
    assert read.flags == {"model": "GRUbidirect", **STREAMS, "gating": True}
    assert (read.system, read.step, read.variables.keys()) == ("skalic", 9, reference.variables.keys())
    for name, array in reference.variables.items():
        np.testing.assert_array_equal(read.variables[name], array)


@pytest.mark.parametrize("named", ["", "model.ckpt-9.index", "model.ckpt-9.data-00000-of-00001", "model.ckpt-9.meta"])
def test_a_tensorflow_checkpoint_is_found_by_its_folder_and_by_its_files(named, graph_checkpoint):
    prefix, reference = graph_checkpoint
    assert Reference.read(prefix.parent / named).variables.keys() == reference.variables.keys()


def test_a_checkpoint_of_tensorflow_2_objects_is_read_by_its_variables_names(tmp_path):
    _, reference = reference_of("google", "DbofModel", {"dbof_activation": "sigmoid"})
    variables = {f"tower/{name}": tf.Variable(array) for name, array in reference.variables.items()}
    prefix = Path(tf.train.Checkpoint(**variables).save(str(tmp_path / "model.ckpt")))
    (tmp_path / "model_flags.json").write_text(json.dumps({"model": "DbofModel", **STREAMS}))
    read = Reference.read(prefix)
    for name, array in reference.variables.items():
        np.testing.assert_array_equal(read.variables[name], array)
    assert read.variables.keys() == reference.variables.keys()


def test_a_folder_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointMismatch, match=r"wanted a TensorFlow checkpoint with model_flags\.json beside it"):
        Reference.read_checkpoint(tmp_path / "model.ckpt-9", "google/youtube-8m", {})


@pytest.mark.parametrize(
    ("flags", "uniform", "drawn"),
    [
        ({"sample_random_frames": True}, [[0.0, 0.5, 0.99], [0.4, 0.9, 0.2]], [[0, 3, 6], [0, 1, 0]]),
        ({"sample_random_frames": False, "iterations": 3}, [[0.99], [0.5]], [[4, 5, 6], [0, 1, 1]]),
    ],
)
def test_frames_are_drawn_by_the_files_numbers(flags, uniform, drawn, codes):
    # 7 and 2 frames; a run of frames that is longer than its video repeats the last (google/youtube-8m model_utils.py).
    arrays = {"frames_u8": codes[:2], "num_frames": np.array([7, 2]), "sample_uniform": np.array(uniform, np.float32)}
    reference = Reference(Path(), "google", "DbofModel", flags, {})
    shown, counts = frames_shown(reference, arrays)
    np.testing.assert_array_equal(counts, [3, 3])
    np.testing.assert_array_equal(shown, [codes[row][frames] for row, frames in enumerate(drawn)])


def test_a_file_that_is_no_reference_is_refused(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(CheckpointMismatch, match=r"wanted an \.npz with meta"):
        Reference.read_npz(path)
