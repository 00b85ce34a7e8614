"""Does a network that was read from a reference give the reference's own outputs?

Where it stands: `importing` and the golden tests ask `differences`. Inputs and outputs come from an .npz:
`model_input` (B, W, F), what the reference's network was given, or `frames_u8`; `num_frames`; `sample_uniform`, the
random numbers that chose among them; outputs under their names and, of a training step, labels and loss terms.

B segments, W frames, F features a frame.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from keras import ops

from segsearch.training import distillation, losses
from segsearch.training.aggregations import DistillationConfig
from segsearch.training.layers.frames import mask_of
from segsearch.training.models.network import Network
from segsearch.training.reference.variables import Reference

RECURRENT = ("LstmModel", "GruModel")
LAST_BITS = 4  # steps of float32 that a sum over classes and towers may be off by

Arrays = Mapping[str, np.ndarray]


def differences(network: Network, reference: Reference, arrays: Arrays, training: bool) -> dict[str, float]:
    """Largest absolute difference of each output that the file holds; infinite where shapes differ.

    training: outputs with batch statistics, and loss terms too, of which the last bits do not count: near a sum of 75,
    float32 numbers lie 8e-6 apart. The weights are as before afterwards.
    """
    before = network.get_weights()
    frames, frame_counts = frames_shown(reference, arrays)
    outputs = outputs_of(network, frames, frame_counts, training)
    network.set_weights(before)
    compared = [*_outputs(outputs, network, arrays), *(_loss_terms(outputs, network, arrays) if training else ())]
    return {name: _difference(ours, theirs) for name, ours, theirs in compared}


def outputs_of(network: Network, frames: np.ndarray, frame_counts: np.ndarray, training: bool) -> dict[str, Any]:
    """A network's outputs for bytes (B, W, F), or for float frames as they are between bytes and aggregation."""
    counts = ops.convert_to_tensor(frame_counts, "int32")
    if frames.dtype == np.uint8:
        return network(frames, counts, training=training)
    frame_mask = mask_of(counts, frames.shape[1])  # (B, W)
    return network.body(frames * frame_mask[..., None], frame_mask, training=training)


def frames_shown(reference: Reference, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Frames (B, W, F) that the reference looked at after its random draws, and their counts (B,)."""
    frames, counts = arrays["model_input" if "model_input" in arrays else "frames_u8"], arrays["num_frames"]
    counts = counts.astype(np.int32)
    if "sample_uniform" not in arrays:
        return frames, counts
    uniform = arrays["sample_uniform"].astype(np.float32).reshape(len(frames), -1)
    if reference.flags.get("sample_random_frames", True) or reference.model in RECURRENT:
        drawn = (uniform * counts[:, None].astype(np.float32)).astype(np.int32)  # (B, S)
    else:
        steps = np.arange(int(reference.flags.get("iterations", 30)))[None, :]
        # One number a video: where its run of frames begins.
        starts = uniform[:, :1] * (np.maximum(counts[:, None] - steps.size, 0) + 1).astype(np.float32)
        drawn = np.minimum(starts.astype(np.int32) + steps, counts[:, None] - 1)
    shown = np.full(len(frames), drawn.shape[1], np.int32)
    if reference.model in RECURRENT:
        shown = np.minimum(shown, counts)  # willow draws frames but keeps the video's length
    return np.take_along_axis(frames, drawn[..., None], axis=1), shown


Compared = Iterator[tuple[str, Any, np.ndarray]]  # name in the file, our value, the file's


def _outputs(outputs: Mapping[str, Any], network: Network, arrays: Arrays) -> Compared:
    ours = {"predictions": outputs["scores"]}
    mix = network.config.mix
    if mix is not None:
        ours["mix_weights"] = outputs["tower_weights"]
        tower_scores = ops.unstack(ops.sigmoid(outputs["tower_logits"]), axis=1)
        ours |= {f"aux_predictions_{number}": scores for number, scores in enumerate(tower_scores)}
        yield from _divergence(outputs, mix.distillation, arrays)
    yield from ((name, value, arrays[name]) for name, value in ours.items() if name in arrays)


def _divergence(outputs: Mapping[str, Any], settings: DistillationConfig, arrays: Arrays) -> Compared:
    """The divergence before its weight: at temperature 20 two float32 sums differ by 2e-7, which 400 makes 1e-4."""
    if "kl_regularization_loss" in arrays and settings.divergence_weight:
        theirs = arrays["kl_regularization_loss"] / settings.divergence_weight
        yield "kl_regularization_loss", _divergence_of(outputs, settings), theirs


def _divergence_of(outputs: Mapping[str, Any], settings: DistillationConfig) -> Any:
    return distillation.mix_divergence(outputs["logits"], outputs["tower_logits"], settings.temperature)


def _loss_terms(outputs: Mapping[str, Any], network: Network, arrays: Arrays) -> Compared:
    l2 = sum(network.losses)
    ours = {"regularization_loss_sum": l2, "l2_regularization_loss_sum": l2}
    if "labels" in arrays:
        labels, weights = arrays["labels"], arrays.get("label_weights")
        ours["loss"] = losses.cross_entropy(outputs["scores"], labels)
        ours["loss_weighted"] = losses.cross_entropy(outputs["scores"], labels, weights)
        if network.config.mix is not None:
            ours |= _mix_terms(outputs, network.config.mix.distillation, labels, l2)
    yield from (
        (name, _less_last_bits(value, arrays[name]), arrays[name]) for name, value in ours.items() if name in arrays
    )


def _mix_terms(outputs: Mapping[str, Any], settings: DistillationConfig, labels: Any, l2: Any) -> dict[str, Any]:
    loss = distillation.mix_loss(outputs, labels, settings)
    label_loss = loss.mix + settings.tower_labels * ops.sum(loss.towers)
    return {"bce_mix": loss.mix, "bce_aux": loss.towers, "label_loss": label_loss, "final_loss": loss.total + l2}


def _less_last_bits(ours: Any, theirs: np.ndarray) -> Any:
    """Our float32 sums, nearer to theirs by the bits in which two orders of summation may differ."""
    if np.shape(ours) != theirs.shape:
        return ours
    apart = np.asarray(ours, np.float64) - theirs
    return theirs + np.sign(apart) * np.maximum(np.abs(apart) - LAST_BITS * np.spacing(np.abs(theirs)), 0)


def _difference(ours: Any, theirs: np.ndarray) -> float:
    if np.shape(ours) != theirs.shape:
        return float("inf")
    return float(np.max(np.abs(np.asarray(ours, np.float64) - theirs.astype(np.float64))))
