"""Whether an exported model says what the network says.

V golden videos, S segments of all of them, F codes a frame, C classes, H embedding size.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import onnxruntime

from segsearch.core.blocks import Piece, lay_out, reach
from segsearch.core.bundle import Layout
from segsearch.core.errors import ExportFailed
from segsearch.core.score_codes import encode_probabilities
from segsearch.core.segments import SEGMENT_FRAMES, cut_windows, segment_count, segment_starts
from segsearch.export import pooling, serving_graph

TOLERANCE = 1e-4  # of a probability, Keras against ONNX Runtime in float32
OUTPUTS = ("scores", "embedding")
_SHORT = (2, SEGMENT_FRAMES + 2)  # frames: a segment that is not whole, alone and behind a whole one
_LONG_COUNT = 4


def golden_videos(videos: Iterable[np.ndarray], context: int) -> list[np.ndarray]:
    """A few short videos (T, F) uint8 to remember a model by, cut from the beginnings of `videos`.

    Two are shorter than a window; the others, where the videos reach so far, hold segments with all their context, with
    a part of it before and behind, and a last segment of three frames.
    """
    long = SEGMENT_FRAMES * (2 * reach(context) + 3) + 3
    lengths = [*_SHORT, *[long] * _LONG_COUNT]
    return [frames[:length] for frames, length in zip(islice(videos, len(lengths)), lengths, strict=True)]


def made_up_videos(frame_size: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Endless videos (T, F) of random codes, for a model that is exported without data at hand."""
    random = np.random.default_rng(seed)
    while True:
        yield random.integers(0, 256, (20 * SEGMENT_FRAMES, frame_size), np.uint8)


def network_outputs(network: Any, videos: list[np.ndarray], context: int) -> dict[str, np.ndarray]:
    """What the network itself gives for all segments of the videos: `scores` (S, C) and `embedding` (S, H)."""
    windows, counts = _windows(videos, context)
    answer = network(windows, counts, training=False)
    return {name: np.asarray(answer[name]) for name in OUTPUTS}


class ExportedModel:
    """A model as ONNX Runtime runs it here."""

    def __init__(self, model: bytes, layout: Layout, context: int):
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._layout, self._context = layout, context
        self._options = onnxruntime.RunOptions()
        self._options.only_execute_path_to_fetches = True

    def outputs(self, videos: list[np.ndarray]) -> dict[str, np.ndarray]:
        """For all segments of the videos, as `network_outputs`."""
        return dict(zip(OUTPUTS, self._run(OUTPUTS, videos), strict=True))

    def codes(self, videos: list[np.ndarray]) -> np.ndarray:
        """(S, C) uint16 score codes of all segments of the videos, as the service has them."""
        if self._layout == "blocks":
            return self._run(("codes",), videos)[0]
        return encode_probabilities(np.clip(self._run(("scores",), videos)[0], 0, 1))

    def _run(self, names: tuple[str, ...], videos: list[np.ndarray]) -> list[np.ndarray]:
        if self._layout == "windows":
            feed = dict(zip(serving_graph.INPUTS, _windows(videos, self._context), strict=True))
        else:
            batch = lay_out([Piece(frames, 0, segment_count(len(frames))) for frames in videos], self._context)
            feed = dict(zip(pooling.INPUTS, batch, strict=True))
        found: list[np.ndarray] = self._session.run(list(names), feed, self._options)
        return found


def differences(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> dict[str, float]:
    """Largest absolute difference per output; of embeddings relative to their size, as nothing bounds them."""
    return {
        name: float(np.abs(found[name] - wanted[name]).max() / max(1.0, np.abs(wanted[name]).max())) for name in OUTPUTS
    }


def check_parity(found: dict[str, float], tolerance: float = TOLERANCE) -> None:
    """Raises ExportFailed if an output differs by more than the tolerance, or is not finite."""
    for name, difference in found.items():
        if not difference <= tolerance:  # so that NaN fails too
            raise ExportFailed(f"{name} of the exported model differ by {difference}, wanted at most {tolerance}")


def _windows(videos: list[np.ndarray], context: int) -> tuple[np.ndarray, np.ndarray]:
    cut = [cut_windows(frames, segment_starts(len(frames)), context) for frames in videos]
    windows, counts = zip(*cut, strict=True)
    return np.concatenate(windows), np.concatenate(counts)
