"""The block graph: ONNX that takes whole videos, works on each frame once, and scores every segment.

Inputs as `core.blocks.BlockBatch` lays them out: `frames` (5M, F) uint8, `block_frames` (M,) int32, `windows` (S, P)
int32. Outputs `scores` (S, C) float32, `codes` (S, C) uint16, `class_codes` (C, S) uint16 for selection, which goes
class by class, `embedding` (S, H) float32, and `sound` (S,) bool, false where a score or the embedding is no number: a
code cannot say so. Whoever wants fewer asks for fewer: ONNX Runtime can leave out the rest.
"""

import onnx

from segsearch.core.blocks import reach
from segsearch.export.folding import Steps
from segsearch.export.heads import score_codes, soundness
from segsearch.export.line import Line
from segsearch.export.onnx_graph import BOOL, FLOAT, INT32, UINT8, UINT16, OnnxGraph
from segsearch.export.pooling import BLOCK_FRAMES, FRAMES, WINDOWS


def block_graph(line: Line) -> onnx.ModelProto:
    """Writes the steps of a line, as they are, as a block graph."""
    graph = _started(line)
    embedding = _write(graph, line.body, FRAMES)
    judged = line.scores.judge(graph, _write(graph, line.head, embedding))
    codes = score_codes(graph, judged.logits)
    given = _write(graph, line.projection, embedding)
    outputs = {
        "scores": (judged.scores, FLOAT, ["segment", line.classes]),
        "codes": (codes, UINT16, ["segment", line.classes]),
        "class_codes": (graph("Transpose", codes, perm=[1, 0]), UINT16, [line.classes, "segment"]),
        "embedding": (given, FLOAT, ["segment", line.embedding_size]),
        "sound": (soundness(graph, judged.logits, given), BOOL, ["segment"]),
    }
    return graph.model("block_graph", outputs)


def partial_graph(line: Line, steps: Steps) -> onnx.ModelProto:
    """Writes the first `steps` of a line alone; what they leave is the output `rows`."""
    graph = _started(line)
    return graph.model("partial_graph", {"rows": (_write(graph, steps, FRAMES), FLOAT, ["row", "column"])})


def _started(line: Line) -> OnnxGraph:
    graph = OnnxGraph()
    graph.input(FRAMES, UINT8, ["frame", line.frame_size])
    graph.input(BLOCK_FRAMES, INT32, ["block"])
    graph.input(WINDOWS, INT32, ["segment", 2 * reach(line.context) + 1])
    return graph


def _write(graph: OnnxGraph, steps: Steps, rows: str) -> str:
    for step in steps:
        rows = step.write(graph, rows)
    return rows
