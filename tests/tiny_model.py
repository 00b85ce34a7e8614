"""A small real model and its bundle, made without a training framework: masked mean of the frames, then a linear layer.

It keeps the network contract (frames uint8 and frame counts in, probabilities and embedding out), and `TinyModel.plain`
says in numpy what it computes.

B windows, W frames of a window, F codes a frame, C classes.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from segsearch.core.bundle import Golden, Manifest, Metric, write_bundle
from segsearch.core.features import FeatureSpec, dequantise
from segsearch.core.segments import cut_windows, segment_starts
from segsearch.core.vocabulary import Entry, Vocabulary

NAMES = ("Speech", "Dog bark", "Cat", "Guitar", "Rain", "Engine", "Applause", "Dog whistle")
SPEC = FeatureSpec.parse("rgb:8,audio:4")
CONTEXT_FRAMES = 2
OPSET, IR_VERSION = 17, 8


def vocabulary_of(names: Sequence[str] = NAMES) -> Vocabulary:
    """Classes whose label indices differ from their ordinals, as in real subsets."""
    return Vocabulary(Entry(10 * row + 3, name, f"/m/{row:03d}") for row, name in enumerate(names))


@dataclasses.dataclass(frozen=True, eq=False)
class TinyModel:
    """Weights (F, C) and biases (C,) float32 of the linear layer."""

    weights: np.ndarray
    biases: np.ndarray

    @classmethod
    def seeded(cls, class_count: int, size: int = SPEC.size, seed: int = 7) -> "TinyModel":
        random = np.random.default_rng(seed)
        weights = random.normal(0, 1.5, (size, class_count)).astype(np.float32)
        return cls(weights, random.normal(-2, 1, class_count).astype(np.float32))

    def plain(self, windows: np.ndarray, frame_counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (B, C) and embeddings (B, F) of windows (B, W, F) uint8."""
        real = np.arange(windows.shape[1]) < frame_counts[:, None]
        means = (dequantise(windows) * real[:, :, None]).sum(axis=1) / frame_counts[:, None].astype(np.float32)
        scores = 1 / (1 + np.exp(-(means @ self.weights + self.biases)))
        return scores.astype(np.float32), means.astype(np.float32)

    def onnx(self, ballast_rows: int = 0) -> onnx.ModelProto:
        """The same as an ONNX model, batch and window free.

        ballast_rows: adds a table of so many rows of zeros, (C,) float32 each, of which one is added to each logit.
        """
        size, class_count = self.weights.shape
        constants = {
            "scale": np.float32(4 / 255), "offset": np.float32(4 / 512 - 2), "weights": self.weights,
            "biases": self.biases, "zero": np.int64(0), "one": np.int64(1), "axis_1": np.array([1]),
            "axis_2": np.array([2]),
        }  # fmt: skip
        nodes = [
            helper.make_node("Cast", ["frames"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["values"]),
            helper.make_node("Shape", ["frames"], ["shape"]),
            helper.make_node("Gather", ["shape", "one"], ["window"]),
            helper.make_node("Range", ["zero", "window", "one"], ["places"]),
            helper.make_node("Cast", ["frame_count"], ["counts"], to=TensorProto.INT64),
            helper.make_node("Unsqueeze", ["counts", "axis_1"], ["count_column"]),
            helper.make_node("Less", ["places", "count_column"], ["real"]),
            helper.make_node("Cast", ["real"], ["real_floats"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["real_floats", "axis_2"], ["mask"]),
            helper.make_node("Mul", ["values", "mask"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "axis_1"], ["sums"], keepdims=0),
            helper.make_node("Cast", ["count_column"], ["count_floats"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["sums", "count_floats"], ["embedding"]),
            helper.make_node("Gemm", ["embedding", "weights", "biases"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["scores"]),
        ]
        if ballast_rows:
            constants["ballast"] = np.zeros((ballast_rows, class_count), np.float32)
            nodes[-1:] = [
                helper.make_node("Gather", ["ballast", "counts"], ["nothing"]),
                helper.make_node("Add", ["logits", "nothing"], ["same_logits"]),
                helper.make_node("Sigmoid", ["same_logits"], ["scores"]),
            ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [
                helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", "window", size]),
                helper.make_tensor_value_info("frame_count", TensorProto.INT32, ["batch"]),
            ],
            [
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", class_count]),
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", size]),
            ],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def tiny_manifest(model: TinyModel, vocabulary: Vocabulary, spec: FeatureSpec = SPEC, **changes: object) -> Manifest:
    """The manifest of a tiny model's bundle, golden segments included; `changes` replace fields."""
    random = np.random.default_rng(1)
    videos = [random.integers(0, 256, (count, spec.size), np.uint8) for count in (13, 2)]
    cut = [cut_windows(frames, segment_starts(len(frames)), CONTEXT_FRAMES) for frames in videos]
    scores = np.concatenate([model.plain(*windows)[0] for windows in cut])
    golden = Golden(np.concatenate(videos), np.array([13, 2], np.int32), scores)
    manifest = Manifest(
        name="tiny",
        version=1,
        features=spec,
        context_frames=CONTEXT_FRAMES,
        vocabulary_digest=vocabulary.digest,
        class_count=len(vocabulary),
        embedding_size=spec.size,
        golden=golden,
        metrics=(Metric("MAP@100k", 0.5, "made up", "none"),),
        created_at="2026-01-01T00:00:00+00:00",
    )
    return dataclasses.replace(manifest, **changes)


def write_tiny_bundle(
    root: Path, *, seed: int = 7, names: Sequence[str] = NAMES, spec: FeatureSpec = SPEC, ballast_rows: int = 0
) -> Path:
    """Writes `<root>/tiny/1` and returns it."""
    vocabulary = vocabulary_of(names)
    model = TinyModel.seeded(len(vocabulary), spec.size, seed)
    content = model.onnx(ballast_rows).SerializeToString()
    return write_bundle(root, tiny_manifest(model, vocabulary, spec), vocabulary, content)
