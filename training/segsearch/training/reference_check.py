"""Does a network that was read from a reference give the reference's own outputs?

Where it stands: `segsearch import-checkpoint --check` and the golden tests ask `differences`. Inputs and outputs come
from an .npz laid out as the reference data's: byte codes, frame counts, the random numbers that chose frames, outputs.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from keras import ops

from segsearch.core.features import FeatureSpec
from segsearch.training import distillation, losses
from segsearch.training.aggregations import DistillationConfig, MixConfig
from segsearch.training.layers.frames import Frames, mask_of
from segsearch.training.layers.mix import Mix
from segsearch.training.layers.tower import Tower
from segsearch.training.reference_checkpoints import Converted, Reference

Arrays = Mapping[str, np.ndarray]


def differences(
    body: Tower | Mix, found: Converted, reference: Reference, arrays: Arrays, training: bool
) -> dict[str, float]:
    """Largest difference of each output and loss term that the file holds, absolute up to 1 and relative above.

    training: compare outputs with batch statistics, and the loss. The body's weights are as before afterwards.
    """
    before = body.get_weights()
    codes, frame_counts = frames_shown(reference, arrays)
    outputs = outputs_of(body, found, codes, frame_counts, training)
    body.set_weights(before)
    return {name: _difference(ours, theirs) for name, ours, theirs in _comparable(outputs, found, arrays, body)}


def outputs_of(
    body: Tower | Mix, found: Converted, codes: np.ndarray, frame_counts: np.ndarray, training: bool
) -> dict[str, Any]:
    """A body's outputs for byte codes (B, W, F) and frame counts (B,)."""
    frames, frame_mask = float_frames(found.features, found.normalisation, codes, frame_counts)
    outputs: dict[str, Any] = body(frames, frame_mask, training=training)
    return outputs


def float_frames(
    features: FeatureSpec, normalisation: str, codes: np.ndarray, frame_counts: np.ndarray
) -> tuple[Any, Any]:
    """Frames (B, W, F) and their mask (B, W), as networks see them."""
    frame_mask = mask_of(ops.convert_to_tensor(frame_counts, "int32"), codes.shape[1])
    return Frames(features, normalisation)(codes, frame_mask), frame_mask


def frames_shown(reference: Reference, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Codes (B, W, F) and counts (B,) of the frames that the reference looked at, after its random draws."""
    codes, counts = arrays["frames_u8"], arrays["num_frames"].astype(np.int32)
    if "sample_uniform" not in arrays:
        return codes, counts
    uniform = arrays["sample_uniform"].astype(np.float32).reshape(len(codes), -1)
    if reference.flags.get("sample_random_frames", True) or reference.model in ("LstmModel", "GruModel"):
        drawn = (uniform * counts[:, None].astype(np.float32)).astype(np.int32)  # (B, S)
    else:
        steps = np.arange(int(reference.flags.get("iterations", 30)))[None, :]
        # One number a video: where its run of frames begins.
        starts = uniform[:, :1] * (np.maximum(counts[:, None] - steps.size, 0) + 1).astype(np.float32)
        drawn = np.minimum(starts.astype(np.int32) + steps, counts[:, None] - 1)
    shown = np.full(len(codes), drawn.shape[1], np.int32)
    if reference.model in ("LstmModel", "GruModel"):
        shown = np.minimum(shown, counts)  # willow draws frames but keeps the video's length
    return np.take_along_axis(codes, drawn[..., None], axis=1), shown


def _comparable(
    outputs: Mapping[str, Any], found: Converted, arrays: Arrays, body: Tower | Mix
) -> Iterator[tuple[str, Any, np.ndarray]]:
    """Name in the file, our value, the file's."""
    l2 = sum(body.losses)
    ours = {"predictions": outputs["scores"], "regularization_loss_sum": l2, "l2_regularization_loss_sum": l2}
    if isinstance(body, Tower):
        ours["tap/hidden"] = outputs["embedding"]
    if "loss" in arrays:
        ours["loss"] = losses.cross_entropy(outputs["scores"], arrays["labels"])
        ours["loss_weighted"] = losses.cross_entropy(outputs["scores"], arrays["labels"], arrays["label_weights"])
    if isinstance(found.config, MixConfig):
        ours |= _mix_terms(outputs, found.config.distillation, arrays, l2)
        yield from _divergences(outputs, found.config.distillation, arrays)
    yield from ((name, value, arrays[name]) for name, value in ours.items() if name in arrays)


def _mix_terms(outputs: Mapping[str, Any], settings: DistillationConfig, arrays: Arrays, l2: Any) -> dict[str, Any]:
    tower_scores = ops.unstack(ops.sigmoid(outputs["tower_logits"]), axis=1)
    ours = {f"aux_predictions_{number}": scores for number, scores in enumerate(tower_scores)}
    ours["mix_weights"] = outputs["tower_weights"]
    if "labels" in arrays:
        loss = distillation.mix_loss(outputs, arrays["labels"], settings)
        label_loss = loss.mix + settings.tower_labels * ops.sum(loss.towers)
        ours |= {"bce_mix": loss.mix, "bce_aux": loss.towers, "label_loss": label_loss, "final_loss": loss.total + l2}
    return ours


def _divergences(
    outputs: Mapping[str, Any], settings: DistillationConfig, arrays: Arrays
) -> Iterator[tuple[str, Any, np.ndarray]]:
    """The divergence before its weight: at temperature 20 two float32 sums differ by 2e-7, which 400 makes 1e-4."""
    if "kl_regularization_loss" in arrays and settings.divergence_weight:
        theirs = arrays["kl_regularization_loss"] / settings.divergence_weight
        divergence = distillation.mix_divergence(outputs["logits"], outputs["tower_logits"], settings.temperature)
        yield "kl_regularization_loss", divergence, theirs


def _difference(ours: Any, theirs: np.ndarray) -> float:
    if np.shape(ours) != theirs.shape:
        return math.inf
    apart = np.abs(np.asarray(ours, np.float64) - theirs.astype(np.float64))
    return float(np.max(apart / np.maximum(1.0, np.abs(theirs))))
