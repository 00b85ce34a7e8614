"""Whether the exported model says what the network says.

G golden windows, W frames of a window, F codes a frame, C classes, H embedding size.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnxruntime

from segsearch.core.errors import ExportFailed
from segsearch.core.segments import SEGMENT_FRAMES, cut_windows, segment_starts
from segsearch.core.videos import Video
from segsearch.export.serving_graph import INPUTS, OUTPUTS

TOLERANCE = 1e-4  # of a probability, Keras against ONNX Runtime


def golden_windows(videos: Iterable[Video], context: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A few windows to remember a model by: (G, W, F) uint8 with frame counts (G,) int32.

    From each video its first window (which lacks context before), one from its middle, and its last (which lacks
    context behind, and may hold a segment of 1 to 4 frames), until there are `count`.
    """
    windows, counts = [], []
    for video in videos:
        starts = segment_starts(len(video.frames))
        chosen = starts[sorted({0, len(starts) // 2, len(starts) - 1})]
        some_windows, some_counts = cut_windows(video.frames, chosen, context)
        windows += list(some_windows)
        counts += list(some_counts)
        if len(windows) >= count:
            break
    return np.stack(windows[:count]), np.array(counts[:count], np.int32)


def made_up_videos(frame_size: int, seed: int = 0) -> Iterator[Video]:
    """Endless videos of random codes, for a model that is exported without data at hand."""
    random = np.random.default_rng(seed)
    number = 0
    while True:
        frames = random.integers(0, 256, (int(random.integers(1, 8 * SEGMENT_FRAMES)), frame_size), np.uint8)
        yield Video(f"made-up-{number}", None, frames=frames)
        number += 1


def check_parity(model: bytes, network: Any, windows: np.ndarray, frame_counts: np.ndarray) -> dict[str, float]:
    """Largest absolute difference per output between network and ONNX model on (G, W, F) windows.

    Raises ExportFailed if a probability differs by more than TOLERANCE, or an output is not finite. Embeddings are
    compared relative to their own size, as nothing bounds them.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = session.run(list(OUTPUTS), dict(zip(INPUTS, (windows, frame_counts), strict=True)))
    answer = network(windows, frame_counts, training=False)
    wanted = {name: np.asarray(answer[name]) for name in OUTPUTS}
    differences = {
        name: float(np.abs(array - wanted[name]).max() / max(1.0, np.abs(wanted[name]).max()))
        for name, array in zip(OUTPUTS, found, strict=True)
    }
    for name, difference in differences.items():
        if not difference <= TOLERANCE:  # so that NaN fails too
            raise ExportFailed(f"{name} of the exported model differ by {difference}, wanted at most {TOLERANCE}")
    return differences
