"""Puts a bundle together: serving graph, ONNX, golden segments, parity, manifest."""

import datetime
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.bundle import Golden, Manifest, write_bundle
from segsearch.core.videos import Video
from segsearch.export.onnx_model import convert
from segsearch.export.parity import check_parity, golden_windows, made_up_videos
from segsearch.export.serving_graph import segment_graph
from segsearch.training.checkpoint import Checkpoint

GOLDEN_COUNT = 6


@dataclass(frozen=True, slots=True)
class Packed:
    """Where the bundle lies and how far it is from the network it came from."""

    directory: Path
    model_bytes: int
    differences: dict[str, float]  # largest absolute difference per output


def pack(checkpoint: Checkpoint, root: Path, name: str, version: int, videos: Iterable[Video] = ()) -> Packed:
    """Exports a checkpoint as `<root>/<name>/<version>`, its golden segments taken from `videos` where there are any.

    Nothing is written unless ONNX Runtime reproduces the network's scores on the golden segments (ExportFailed).
    """
    network = checkpoint.build_network()
    frame_size = checkpoint.features.size
    model = convert(segment_graph(network, frame_size))
    chosen = itertools.chain(videos, made_up_videos(frame_size))
    windows, frame_counts = golden_windows(chosen, checkpoint.context_frames, GOLDEN_COUNT)
    differences = check_parity(model, network, windows, frame_counts)
    answer = network(windows, frame_counts, training=False)
    manifest = _manifest(checkpoint, name, version, Golden(windows, frame_counts, np.asarray(answer["scores"])), answer)
    return Packed(write_bundle(root, manifest, checkpoint.vocabulary, model), len(model), differences)


def _manifest(checkpoint: Checkpoint, name: str, version: int, golden: Golden, answer: Any) -> Manifest:
    return Manifest(
        name=name,
        version=version,
        features=checkpoint.features,
        context_frames=checkpoint.context_frames,
        vocabulary_digest=checkpoint.vocabulary.digest,
        class_count=len(checkpoint.vocabulary),
        embedding_size=int(answer["embedding"].shape[1]),
        golden=golden,
        training=checkpoint.training,
        metrics=tuple(checkpoint.metrics),
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
