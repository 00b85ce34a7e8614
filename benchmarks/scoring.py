"""What a segment costs: block graph against naive one, floats and 8-bit integers, Keras, and the machine's limit.

A bag of frames at the paper's size (1152 codes a frame, 8192 clusters, 1024 hidden units, 1000 classes, mixtures of 2
experts) with random weights; windows of 15 frames. Two videos of 160 frames, 64 segments, go through each in turn; CPU
time a segment is compared, on one thread where threads can be chosen.

    .venv/bin/python benchmarks/scoring.py [--rounds 7] [--json PATH]
"""

import os
import time
from collections.abc import Callable
from statistics import median
from time import process_time

import numpy as np
import onnxruntime
from report import Measure, arguments, report

from segsearch.core.blocks import Piece, lay_out
from segsearch.core.segments import cut_windows, segment_count, segment_starts
from segsearch.export import pooling

CONTEXT, CLASSES, FRAMES, VIDEOS = 5, 1000, 160, 2


def session_of(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_of(model: bytes, outputs: list[str], feed: dict[str, np.ndarray]) -> Callable[[], list[np.ndarray]]:
    session, options = session_of(model), onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    return lambda: session.run(outputs, feed, options)


def product(rows: int, depth: int, columns: int) -> tuple[Callable[[], object], int]:
    """ONNX Runtime's own float product, and its operations: what the machine can do."""
    from segsearch.export.onnx_graph import FLOAT, OnnxGraph

    random, graph = np.random.default_rng(0), OnnxGraph()
    name = graph("MatMul", graph.input("x", FLOAT, ["row", depth]), random.random((depth, columns), np.float32))
    model = graph.model("product", {"y": (name, FLOAT, ["row", columns])}).SerializeToString()
    return run_of(model, ["y"], {"x": random.random((rows, depth), np.float32)}), 2 * rows * depth * columns


def cpu_times(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each; they take turns, so that a drifting machine meets all alike."""
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        contestant()
    for _ in range(rounds):
        for name, contestant in contestants.items():
            started = process_time()
            contestant()
            spent[name].append(process_time() - started)
    return {name: median(times) for name, times in spent.items()}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    import tensorflow as tf

    from segsearch.core.features import YOUTUBE8M
    from segsearch.export.block_graph import block_graph
    from segsearch.export.networks import line_of
    from segsearch.export.onnx_model import convert
    from segsearch.export.serving_graph import segment_graph
    from segsearch.training.config import NetworkConfig
    from segsearch.training.models.network import Network

    network = Network(NetworkConfig(), YOUTUBE8M, CLASSES)
    line = line_of(network, YOUTUBE8M.size, CONTEXT)
    started = time.perf_counter()
    blocks = block_graph(line.folded()).SerializeToString()
    written = time.perf_counter() - started
    integers = block_graph(line.quantised()).SerializeToString()

    random = np.random.default_rng(0)
    videos = [random.integers(0, 256, (FRAMES, YOUTUBE8M.size), np.uint8) for _ in range(VIDEOS)]
    cut = [cut_windows(frames, segment_starts(FRAMES), CONTEXT) for frames in videos]
    windows, counts = (np.concatenate(part) for part in zip(*cut, strict=True))
    laid_out = lay_out([Piece(frames, 0, segment_count(FRAMES)) for frames in videos], CONTEXT)
    feed = dict(zip(pooling.INPUTS, laid_out, strict=True))
    naive = run_of(convert(segment_graph(network, YOUTUBE8M.size)), ["scores", "embedding"],
                   {"frames": windows, "frame_count": counts})  # fmt: skip
    multiply, operations = product(len(laid_out.frames), YOUTUBE8M.size, 8192)
    predict = tf.function(lambda codes, frame_count: network(codes, frame_count, training=False))  # as Keras predicts
    contestants: dict[str, Callable[[], object]] = {
        "naive": naive,
        "blocks": run_of(blocks, ["codes", "embedding"], feed),
        "int8": run_of(integers, ["codes", "embedding"], feed),
        "product": multiply,
        "keras": lambda: predict(windows, counts)["scores"].numpy(),
    }
    times = cpu_times(contestants, options.rounds)
    segments = len(windows)
    scores = run_of(blocks, ["scores"], feed)()[0]
    difference = float(np.abs(scores - np.asarray(network(windows, counts)["scores"])).max())
    behind_pool = (network.aggregation.hidden, network.head.gates, network.head.experts)
    multiplied = sum(2 * int(np.prod(part.shape)) for part in behind_pool)
    work = (operations / segments + multiplied) * segments  # operations of the block graph's products
    rate = operations / times["product"]
    measures = [
        Measure("naive segment graph, float32", times["naive"] / segments * 1e3, "ms CPU a segment"),
        Measure("block graph, float32", times["blocks"] / segments * 1e3, "ms CPU a segment"),
        Measure("block graph, int8", times["int8"] / segments * 1e3, "ms CPU a segment"),
        Measure("block graph float32 / naive", times["blocks"] / times["naive"], at_most=0.40),
        Measure("block graph int8 / naive", times["int8"] / times["naive"], at_most=0.18),
        Measure("float product of the first layer", rate / 1e9, "GFlop/s"),
        Measure("block graph float32, share of that rate", work / times["blocks"] / rate, at_least=0.85),
        Measure("block graph int8, multiple of that rate", work / times["int8"] / rate, at_least=2.4),
        Measure("Keras / block graph int8", times["keras"] / times["int8"], at_least=10),
        Measure("block graph against Keras, largest difference", difference, at_most=1e-5),
        Measure("writing the block graph", written, "s"),
    ]
    report("Scoring a segment", measures, options.json)


if __name__ == "__main__":
    main()
