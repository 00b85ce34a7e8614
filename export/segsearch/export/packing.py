"""Puts a bundle together: models, golden videos, parity, ratings, manifest."""

import dataclasses
import datetime
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.bundle import Golden, Graph, Manifest, free_version, write_bundle
from segsearch.core.errors import ConfigError
from segsearch.core.files import write_atomically
from segsearch.core.videos import Video
from segsearch.export.calibration import with_smaller_embedding
from segsearch.export.line import Line
from segsearch.export.networks import line_of
from segsearch.export.parity import golden_videos, made_up_videos, network_outputs
from segsearch.export.rated import RatedShards, rated_metrics
from segsearch.export.triton import TRITON_CONFIG, triton_config
from segsearch.export.variants import Kept, kept_variants
from segsearch.training.checkpoint import Checkpoint

CALIBRATION_VIDEOS = 64


@dataclass(frozen=True, slots=True)
class Packed:
    """Where the bundle lies and how far its models are from the network they came from."""

    directory: Path
    model_bytes: int
    differences: dict[str, float]  # of model.onnx: largest absolute difference per output
    graphs: tuple[Graph, ...]


def pack(
    checkpoint: Checkpoint,
    root: Path,
    name: str,
    version: int,
    videos: Iterable[Video] = (),
    embedding_size: int = 0,
    *,
    rated: RatedShards | None = None,
    sign: Callable[[Path], None] | None = None,
    replace: bool = False,
) -> Packed:
    """Exports a checkpoint as `<root>/<name>/<version>`.

    version: 0 takes the next free one; raises ConfigError for one that is there already, unless `replace`.
    videos: the first few become golden videos, and calibrate the 8-bit model; without any, golden videos are made up.
    embedding_size: the embedding's main directions among these videos that are given out; 0 gives it out whole.
    rated: shards on which every model's rated MAP is measured. sign: adds a signature, as `signing.signer` gives it.

    A network that pools frames becomes a graph of blocks, with variants in 8-bit integers and in half floats where
    those are near enough; any other a graph of windows. Nothing is written unless ONNX Runtime reproduces the network's
    scores (ExportFailed).
    """
    if embedding_size < 0:
        raise ConfigError("embedding size", embedding_size, "1 or more, or 0 for the whole embedding")
    free = free_version(root, name, 0 if replace else version)  # now, as what follows takes long
    network, context, size = checkpoint.build_network(), checkpoint.context_frames, checkpoint.features.size
    real = [video.frames for video in itertools.islice(videos, CALIBRATION_VIDEOS)]
    chosen = golden_videos(itertools.chain(real, made_up_videos(size)), context)
    line = _line(network, size, context, real, embedding_size)
    wanted = network_outputs(network, chosen, context)
    if embedding_size and line is not None:
        smaller = line.projection[-1]
        wanted["embedding"] = wanted["embedding"] @ smaller.weights + smaller.biases

    kept = kept_variants(network, line, size, context, real, chosen, wanted)
    golden = Golden(np.concatenate(chosen), np.array([len(frames) for frames in chosen], np.int32), wanted["scores"])
    graphs = _graphs(kept, rated, checkpoint)
    manifest = _manifest(checkpoint, name, version or free, golden, graphs, wanted["embedding"].shape[1])
    full, *others = [each.variant for each in kept]
    variants = {variant.file: variant.content for variant in others}
    directory = write_bundle(root, manifest, checkpoint.vocabulary, full.content, variants, sign=sign, replace=replace)
    write_atomically(directory.parent / TRITON_CONFIG, triton_config(manifest))
    return Packed(directory, len(full.content), kept[0].differences, graphs)


def _graphs(kept: list[Kept], rated: RatedShards | None, checkpoint: Checkpoint) -> tuple[Graph, ...]:
    """The models as the manifest names them, with what they are worth where there are ratings."""
    if rated is None:
        return tuple(each.graph for each in kept)
    models = {each.variant.file: each.model for each in kept}
    metrics = rated_metrics(models, rated, checkpoint.features, checkpoint.vocabulary)
    return tuple(dataclasses.replace(each.graph, metrics=(metrics[each.variant.file],)) for each in kept)


def _line(network: Any, frame_size: int, context: int, videos: list[np.ndarray], embedding_size: int) -> Line | None:
    line = line_of(network, frame_size, context)
    if not embedding_size:
        return line
    if line is None or not videos:
        raise ConfigError(
            "embedding size", embedding_size, "0 without videos, or for a network that is no line of steps"
        )
    return with_smaller_embedding(line.folded(), videos, embedding_size)


def _manifest(
    checkpoint: Checkpoint, name: str, version: int, golden: Golden, graphs: tuple[Graph, ...], embedding_size: int
) -> Manifest:
    return Manifest(
        name=name,
        version=version,
        features=checkpoint.features,
        context_frames=checkpoint.context_frames,
        vocabulary_digest=checkpoint.vocabulary.digest,
        class_count=len(checkpoint.vocabulary),
        embedding_size=int(embedding_size),
        golden=golden,
        graphs=graphs,
        training=checkpoint.training,
        metrics=tuple(checkpoint.metrics),
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
