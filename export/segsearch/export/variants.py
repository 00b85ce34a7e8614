"""A bundle's models: the full one, and cheaper ones that are near enough to it.

Where it stands: `packing` puts them in a bundle; `parity` says how far each is from the network.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from segsearch.core.bundle import DIFFERENCE_LIMITS, FILES, Graph, Layout, Precision
from segsearch.core.progress import say
from segsearch.export.block_graph import block_graph
from segsearch.export.calibration import calibrated
from segsearch.export.line import Line
from segsearch.export.onnx_model import convert
from segsearch.export.parity import ExportedModel, check_parity, differences
from segsearch.export.serving_graph import segment_graph


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A model file, and how to see here what it gives."""

    layout: Layout
    precision: Precision
    content: bytes
    imitation: bytes  # gives on this processor what the model gives on those it is meant for

    @property
    def file(self) -> str:
        return FILES[self.precision]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A model that is near enough to the network to go into the bundle."""

    variant: Variant
    model: ExportedModel
    differences: dict[str, float]  # to the network's outputs, the largest

    @property
    def graph(self) -> Graph:
        return Graph(self.variant.file, self.variant.layout, self.variant.precision, self.differences["scores"])


def kept_variants(
    network: Any,
    line: Line | None,
    frame_size: int,
    context: int,
    calibration: list[np.ndarray],
    golden: list[np.ndarray],
    wanted: dict[str, np.ndarray],
) -> list[Kept]:
    """The full model first; raises ExportFailed unless it gives what the network gives.

    calibration: videos (T, F) uint8 for the 8-bit model. golden: those to compare on, wanted: what the network gives.
    """
    kept = []
    for variant in _variants(network, line, frame_size, calibration):
        model = ExportedModel(variant.imitation, variant.layout, context)
        found = differences(model.outputs(golden), wanted)
        if variant.precision == "float32":
            check_parity(found)
        limit = DIFFERENCE_LIMITS[variant.precision]
        if found["scores"] <= limit:
            kept.append(Kept(variant, model, found))
        else:
            say(f"no {variant.precision} model: a probability differs by {found['scores']:.3f}, wanted at most {limit}")
    return kept


def _variants(network: Any, line: Line | None, frame_size: int, calibration: list[np.ndarray]) -> Iterator[Variant]:
    """A graph of blocks and its variants for a network that is one line of steps, else a graph of windows."""
    if line is None:
        content = convert(segment_graph(network, frame_size))
        yield Variant("windows", "float32", content, content)
        return
    content = _written(line.folded())
    yield Variant("blocks", "float32", content, content)
    integers = (calibrated(line.folded(), calibration) if calibration else line).quantised()
    if integers is not None:
        content = _written(integers)
        yield Variant("blocks", "int8", content, content)
    halves, imitation = line.halved(), line.halved(imitated=True)
    if halves is not None and imitation is not None:
        yield Variant("blocks", "float16", _written(halves), _written(imitation))


def _written(line: Line) -> bytes:
    content: bytes = block_graph(line).SerializeToString()
    return content
