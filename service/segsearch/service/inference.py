"""The model in use as the Open Inference Protocol sees it: a name, a version, tensors in and tensors out.

Where it stands: `rest.inference` and `rpc.inference` read requests into what is here and write its answers down; the
library scores the frames as it scores those of any upload.

T frames, F codes a frame, S segments, C classes, H embedding size.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.errors import InputTooLarge, InvalidInput, ScoringFailed, UnknownModel
from segsearch.core.manifest import Manifest
from segsearch.core.score_codes import encode_probabilities
from segsearch.core.segments import segment_count
from segsearch.service.library import Begun, SegmentLibrary
from segsearch.service.scoring.scorer import Caller, Scores, awaited
from segsearch.service.uploads.json_values import NUMBER_LIMIT
from segsearch.service.uploads.upload import Rules

SERVER: Final = "segsearch"
EXTENSIONS: Final = ("binary_tensor_data",)
PLATFORM: Final = "onnxruntime_onnx"
FRAMES: Final = "frames"
FRAMES_TYPE: Final = "UINT8"
ID_LIMIT: Final = 1000  # characters of a request's id, which comes back
_DTYPES: Final = {"FP32": "<f4", "INT64": "<i8", "UINT16": "<u2"}


class _Output(NamedTuple):
    """One of the tensors that a model gives."""

    datatype: str
    shape: Callable[[Manifest, int], tuple[int, ...]]  # for so many segments
    values: Callable[[Bundle, Scores], np.ndarray]


_OUTPUTS: Final = {
    "probabilities": _Output("FP32", lambda m, s: (s, m.class_count), lambda _, scores: scores.probabilities),
    "codes": _Output(
        "UINT16", lambda m, s: (s, m.class_count), lambda _, scores: encode_probabilities(scores.probabilities)
    ),
    "starts": _Output("INT64", lambda _, s: (s,), lambda _, scores: scores.starts),
    "embeddings": _Output("FP32", lambda m, s: (s, m.embedding_size), lambda _, scores: scores.embeddings),
    "label_indices": _Output("INT64", lambda m, _: (m.class_count,), lambda bundle, _: _label_indices(bundle)),
}
OUTPUT_NAMES: Final = tuple(_OUTPUTS)


class Tensor(NamedTuple):
    """What is said of an input or output; -1 stands for an axis of any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelName:
    """Which model a request asks for; without a version whichever is served."""

    name: str
    version: str = ""

    @classmethod
    def of(cls, bundle: Bundle) -> "ModelName":
        return cls(bundle.manifest.name, str(bundle.manifest.version))

    def check(self, bundle: Bundle) -> None:
        """Raises UnknownModel unless the bundle is the one."""
        in_use = ModelName.of(bundle)
        if self.name != in_use.name or self.version not in ("", in_use.version):
            raise UnknownModel(self.name, self.version, f"{in_use.name} version {in_use.version}")


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What is asked of a model."""

    model: ModelName
    frames: np.ndarray  # (T, F) uint8
    outputs: tuple[str, ...]
    id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the model said."""

    model: ModelName
    digest: str  # of its bundle
    id: str
    outputs: list[tuple[Tensor, np.ndarray]]  # in the order they were asked for, little-endian

    @classmethod
    def of(cls, request: Request, begun: Begun) -> "Answer":
        """The outputs asked for, once there are scores; raises what scoring raises."""
        bundle, scores = begun.bundle, awaited(begun.scores, begun.caller)
        outputs = []
        for name in request.outputs:
            datatype, _, values = _OUTPUTS[name]
            array = np.ascontiguousarray(values(bundle, scores), _DTYPES[datatype])
            outputs.append((Tensor(name, datatype, array.shape), array))
        return cls(ModelName.of(bundle), bundle.digest, request.id, outputs)


def served(library: SegmentLibrary, asked: ModelName) -> Bundle:
    """The bundle in use; raises UnknownModel where it is not the one."""
    bundle = library.scorer.bundle
    asked.check(bundle)
    return bundle


def check_ready(library: SegmentLibrary) -> None:
    """Raises Draining, NoGeneration, or ScoringFailed where frames should not be sent here now."""
    library.ready_view()
    if not library.is_scoring():
        raise ScoringFailed("its last videos failed")


def begin(library: SegmentLibrary, request: Request, caller: Caller) -> Begun:
    """Hands the frames in to be scored; raises QueueFull, or UnknownModel where another one has just taken over."""
    begun = library.begin(request.frames, caller)
    try:
        request.model.check(begun.bundle)
    except UnknownModel:
        begun.scores.cancel()
        raise
    return begun


def input_tensors(bundle: Bundle) -> list[Tensor]:
    """What a model takes."""
    return [Tensor(FRAMES, FRAMES_TYPE, (-1, bundle.manifest.features.size))]


def output_tensors(bundle: Bundle, segments: int = -1) -> list[Tensor]:
    """What a model gives, for so many segments."""
    return [Tensor(name, kind.datatype, kind.shape(bundle.manifest, segments)) for name, kind in _OUTPUTS.items()]


def frame_count(field: str, given: Tensor, rules: Rules) -> int:
    """How many frames an input claims to have; raises InvalidInput or InputTooLarge where it is not ours.

    field: where the input lies in its request.
    """
    if given.name != FRAMES:
        raise InvalidInput(f"{field}.name", repr(given.name[:80]), repr(FRAMES))
    if given.datatype != FRAMES_TYPE:
        raise InvalidInput(f"{field}.datatype", repr(given.datatype[:80]), FRAMES_TYPE)
    size = rules.spec.size
    if len(given.shape) != 2 or given.shape[1] != size:
        raise InvalidInput(f"{field}.shape", str(list(given.shape[:8])), f"[frames, {size}]: {rules.spec}")
    rules.check_length(f"{field}.shape", given.shape[0])
    return given.shape[0]


def frames_of(field: str, data: bytes | memoryview, count: int, rules: Rules) -> np.ndarray:
    """(T, F) uint8; raises InvalidInput where the data are not as long as the shape says. field: where they lie."""
    size = rules.spec.size
    if len(data) != count * size:
        raise InvalidInput(field, f"{len(data)} bytes", f"{count * size}, as shape [{count}, {size}] says")
    return np.frombuffer(data, np.uint8).reshape(count, size)


def check_outputs(names: Sequence[str]) -> tuple[str, ...]:
    """The outputs asked for, all where none is named; raises InvalidInput for one that there is not, or twice."""
    for place, name in enumerate(names):
        if name not in OUTPUT_NAMES:
            raise InvalidInput(f"outputs[{place}].name", repr(name[:80]), f"one of {', '.join(OUTPUT_NAMES)}")
        if name in names[:place]:
            raise InvalidInput(f"outputs[{place}].name", f"{name} twice", "each output once")
    return tuple(names) or OUTPUT_NAMES


def check_numbers(bundle: Bundle, frames: int, names: Collection[str]) -> None:
    """Raises InputTooLarge where these outputs, spelled out, are too many numbers: writing them holds up all else."""
    shapes = [tensor.shape for tensor in output_tensors(bundle, segment_count(frames)) if tensor.name in names]
    count = sum(map(math.prod, shapes))
    if count > NUMBER_LIMIT:
        raise InputTooLarge("outputs", f"{count} numbers one by one", f"at most {NUMBER_LIMIT}; binary data hold more")


def check_id(given: str) -> str:
    """A request's id; raises InvalidInput for one that is too long."""
    if len(given) > ID_LIMIT:
        raise InvalidInput("id", f"{len(given)} characters", f"at most {ID_LIMIT}")
    return given


def _label_indices(bundle: Bundle) -> np.ndarray:
    """(C,) int64: which class each column of the scores is, by YouTube-8M's number."""
    return np.array([entry.label_index for entry in bundle.vocabulary.entries], np.int64)
