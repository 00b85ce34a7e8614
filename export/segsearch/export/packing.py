"""Puts a bundle together: graphs, golden videos, parity, manifest."""

import dataclasses
import datetime
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segsearch.core.bundle import (
    DIFFERENCE_LIMITS,
    FILES,
    Golden,
    Graph,
    Manifest,
    Precision,
    free_version,
    write_bundle,
)
from segsearch.core.errors import ConfigError
from segsearch.core.files import write_atomically
from segsearch.core.progress import say
from segsearch.core.videos import Video
from segsearch.export.block_graph import block_graph
from segsearch.export.calibration import calibrated, with_smaller_embedding
from segsearch.export.line import Line
from segsearch.export.networks import line_of
from segsearch.export.onnx_model import convert
from segsearch.export.parity import (
    check_parity,
    differences,
    golden_videos,
    made_up_videos,
    model_outputs,
    network_outputs,
)
from segsearch.export.serving_graph import segment_graph
from segsearch.export.triton import TRITON_CONFIG, triton_config
from segsearch.training.checkpoint import Checkpoint

CALIBRATION_VIDEOS = 64


@dataclass(frozen=True, slots=True)
class Packed:
    """Where the bundle lies and how far its models are from the network they came from."""

    directory: Path
    model_bytes: int
    differences: dict[str, float]  # of model.onnx: largest absolute difference per output
    graphs: tuple[Graph, ...]


class Variant(NamedTuple):
    """A cheaper model of nearly the same scores."""

    precision: Precision
    model: bytes
    imitation: bytes  # gives on this processor what the model gives on those it is meant for

    @property
    def file(self) -> str:
        return FILES[self.precision]


def pack(
    checkpoint: Checkpoint,
    root: Path,
    name: str,
    version: int,
    videos: Iterable[Video] = (),
    embedding_size: int = 0,
    *,
    replace: bool = False,
) -> Packed:
    """Exports a checkpoint as `<root>/<name>/<version>`.

    version: 0 takes the next free one; raises ConfigError for one that is there already, unless `replace`.
    videos: the first few become golden videos, and calibrate the 8-bit model; without any, golden videos are made up.
    embedding_size: the embedding's main directions among these videos that are given out; 0 gives it out whole.

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

    graph, model = _full_model(network, size, line)
    found = differences(model_outputs(model, graph.layout, chosen, context), wanted)
    check_parity(found)
    graphs, variants = [dataclasses.replace(graph, difference=found["scores"])], {}
    for variant in _variants(line, real):
        limit = DIFFERENCE_LIMITS[variant.precision]
        difference = differences(model_outputs(variant.imitation, "blocks", chosen, context), wanted)["scores"]
        if difference <= limit:
            graphs.append(Graph(variant.file, "blocks", variant.precision, difference))
            variants[variant.file] = variant.model
        else:
            say(f"no {variant.precision} model: a probability differs by {difference:.3f}, wanted at most {limit}")

    golden = Golden(np.concatenate(chosen), np.array([len(frames) for frames in chosen], np.int32), wanted["scores"])
    manifest = _manifest(checkpoint, name, version or free, golden, graphs, wanted["embedding"].shape[1])
    directory = write_bundle(root, manifest, checkpoint.vocabulary, model, variants, replace=replace)
    write_atomically(directory.parent / TRITON_CONFIG, triton_config(manifest))
    return Packed(directory, len(model), found, tuple(graphs))


def _line(network: Any, frame_size: int, context: int, videos: list[np.ndarray], embedding_size: int) -> Line | None:
    line = line_of(network, frame_size, context)
    if not embedding_size:
        return line
    if line is None or not videos:
        raise ConfigError(
            "embedding size", embedding_size, "0 without videos, or for a network that is no line of steps"
        )
    return with_smaller_embedding(line.folded(), videos, embedding_size)


def _full_model(network: Any, frame_size: int, line: Line | None) -> tuple[Graph, bytes]:
    """The float32 model: of blocks for a network that is one line of steps, else of windows."""
    if line is None:
        return Graph(layout="windows"), convert(segment_graph(network, frame_size))
    return Graph(layout="blocks"), block_graph(line.folded()).SerializeToString()


def _variants(line: Line | None, videos: list[np.ndarray]) -> Iterator[Variant]:
    if line is None:
        return
    integers = (calibrated(line.folded(), videos) if videos else line).quantised()
    if integers is not None:
        yield Variant("int8", *[block_graph(integers).SerializeToString()] * 2)
    halves, imitation = line.halved(), line.halved(imitated=True)
    if halves is not None and imitation is not None:
        yield Variant("float16", *(block_graph(each).SerializeToString() for each in (halves, imitation)))


def _manifest(
    checkpoint: Checkpoint, name: str, version: int, golden: Golden, graphs: list[Graph], embedding_size: int
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
        graphs=tuple(graphs),
        training=checkpoint.training,
        metrics=tuple(checkpoint.metrics),
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
