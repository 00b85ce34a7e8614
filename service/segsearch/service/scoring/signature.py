"""What a model takes and gives: names, types and shapes, by the layout of its graph.

Where it stands: `session` refuses a model file that promises anything else; `device_runs` takes the sizes of its
buffers from here.

S segments of a batch, M blocks, P blocks of a window, W frames of a window, F codes a frame, C classes, H embedding
size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from segsearch.core.blocks import reach
from segsearch.core.bundle import Bundle, Graph
from segsearch.core.errors import SignatureMismatch
from segsearch.core.segments import SEGMENT_FRAMES

SCORES, EMBEDDING, CODES, CLASS_CODES, SOUND = "scores", "embedding", "codes", "class_codes", "sound"
SEGMENTS: Final = -1  # an axis as long as the batch has segments

_DTYPES: Final = {
    "tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(uint16)": np.uint16,
    "tensor(bool)": np.bool_,
}  # fmt: skip


class Value(NamedTuple):
    """One input or output; None stands for an axis of any length."""

    type: str  # as ONNX Runtime names it
    shape: tuple[int | None, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(_DTYPES[self.type])

    def shape_for(self, segment_count: int) -> tuple[int, ...]:
        """Of an output, for a batch of so many segments."""
        return tuple(segment_count if axis in (SEGMENTS, None) else int(axis or 0) for axis in self.shape)

    def fits(self, type_: str, shape: Sequence[Any]) -> bool:
        """Whether a model's value is this one: a named axis fits any size; a free axis must not be fixed."""
        pairs = zip(shape, self.shape, strict=False)
        return (
            type_ == self.type
            and len(shape) == len(self.shape)
            and all(not isinstance(axis, int) or axis == size for axis, size in pairs)
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """The model's inputs and outputs, in order."""

    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]

    @classmethod
    def of(cls, bundle: Bundle, graph: Graph) -> "Signature":
        """What `core.manifest.Graph` promises of this layout."""
        manifest = bundle.manifest
        size, classes, context = manifest.features.size, manifest.class_count, manifest.context_frames
        outputs = {
            SCORES: Value("tensor(float)", (SEGMENTS, classes)),
            EMBEDDING: Value("tensor(float)", (SEGMENTS, manifest.embedding_size)),
        }
        if graph.layout == "windows":
            window = SEGMENT_FRAMES + 2 * context
            inputs = {
                "frames": Value("tensor(uint8)", (SEGMENTS, window, size)),
                "frame_count": Value("tensor(int32)", (SEGMENTS,)),
            }
            return cls(inputs, outputs)
        inputs = {
            "frames": Value("tensor(uint8)", (None, size)),
            "block_frames": Value("tensor(int32)", (None,)),
            "windows": Value("tensor(int32)", (SEGMENTS, 2 * reach(context) + 1)),
        }
        codes = {
            CODES: Value("tensor(uint16)", (SEGMENTS, classes)),
            CLASS_CODES: Value("tensor(uint16)", (classes, SEGMENTS)),
            SOUND: Value("tensor(bool)", (SEGMENTS,)),
        }
        return cls(inputs, {**outputs, **codes})

    def check(self, bundle: Bundle, graph: Graph, session: Any) -> None:
        """Raises SignatureMismatch unless the session's model has exactly these inputs and outputs."""
        for kind, wanted, found in (
            ("inputs", self.inputs, session.get_inputs()),
            ("outputs", self.outputs, session.get_outputs()),
        ):
            if sorted(value.name for value in found) != sorted(wanted):
                reason = f"{kind} of the model are {[value.name for value in found]}, wanted {list(wanted)}"
                raise SignatureMismatch(bundle.directory, f"{graph.file}: {reason}")
            for value in found:
                promised = wanted[value.name]
                if not promised.fits(value.type, value.shape):
                    shape = [None if axis == SEGMENTS else axis for axis in promised.shape]
                    reason = f"{value.name} is {value.type}{value.shape}, wanted {promised.type}{shape}"
                    raise SignatureMismatch(bundle.directory, f"{graph.file}: {reason}")
