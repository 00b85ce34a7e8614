"""What a segment costs: block graph against windows by themselves, floats and 8-bit integers, Keras, and the limit.

Random weights at the papers' sizes (1152 codes a frame, 1000 classes, windows of 15 frames): a bag of frames with 8192
clusters, 1024 hidden units and mixtures of 2 experts; a NeXtVLAD with 8 groups, 128 clusters and 2048 hidden units. Two
videos of 160 frames, 64 segments, go through each in turn; CPU time a segment is compared, on one thread where threads
can be chosen, then by the clock with two runs at a time. Where time goes is printed below the table.

What 8 bits cost in rated MAP is measured on the folds of a run on real data, where there is one (`make runs-data`).

    .venv/bin/python benchmarks/scoring.py [--rounds 7] [--run FOLDER] [--data FOLDER] [--json PATH]
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from time import process_time
from typing import Any

import numpy as np
import onnxruntime
from proc import fields
from report import Measure, arguments, report

from segsearch.core.blocks import Piece, lay_out
from segsearch.core.segments import cut_windows, segment_count, segment_starts
from segsearch.export import pooling

CONTEXT, CLASSES, FRAMES, VIDEOS = 5, 1000, 160, 2
CODES = ["codes", "sound"]
SHARED = Path(os.environ.get("SEGSEARCH_SHARED") or Path(__file__).resolve().parents[2] / "shared")
RUN = Path(__file__).resolve().parents[1] / "build/runs/data"

Feed = dict[str, np.ndarray]


def session_of(model: bytes, profile: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_of(session: onnxruntime.InferenceSession, outputs: list[str], feed: Feed) -> Callable[[], list[np.ndarray]]:
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    return lambda: session.run(outputs, feed, options)


def products(rows: int, depth: int, columns: int) -> tuple[dict[str, Callable[[], object]], int]:
    """ONNX Runtime's own products, of floats and of byte codes, and their operations: what the machine can do."""
    from segsearch.export.onnx_graph import FLOAT, INT32, UINT8, OnnxGraph

    random = np.random.default_rng(0)
    levels = random.integers(-64, 65, (depth, columns)).astype(np.int8)
    graph, integers = OnnxGraph(), OnnxGraph()
    name = graph("MatMul", graph.input("x", FLOAT, ["row", depth]), levels.astype(np.float32))
    model = graph.model("product", {"y": (name, FLOAT, ["row", columns])}).SerializeToString()
    name = integers("MatMulInteger", integers.input("x", UINT8, ["row", depth]), levels, np.uint8(127))
    integer_model = integers.model("integer_product", {"y": (name, INT32, ["row", columns])}).SerializeToString()
    codes = random.integers(0, 256, (rows, depth), np.uint8)
    runs: dict[str, Callable[[], object]] = {
        "product": run_of(session_of(model), ["y"], {"x": codes.astype(np.float32)}),
        "integer product": run_of(session_of(integer_model), ["y"], {"x": codes}),
    }
    return runs, 2 * rows * depth * columns


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


def wall_times(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds by the clock that one run takes when two are always under way."""
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    with ThreadPoolExecutor(2) as workers:
        for _ in range(rounds):
            for name, contestant in contestants.items():
                started = time.perf_counter()
                for under_way in [workers.submit(contestant) for _ in range(2)]:
                    under_way.result()
                spent[name].append((time.perf_counter() - started) / 2)
    return {name: median(times) for name, times in spent.items()}


@dataclass(frozen=True)
class Load:
    """The videos as each graph takes them."""

    windows: Feed  # what a graph of windows takes
    blocks: Feed
    alone: Feed  # what a graph of blocks takes, with every window as a video of its own: no frame is shared

    @classmethod
    def made_up(cls, size: int) -> "Load":
        random = np.random.default_rng(0)
        videos = [random.integers(0, 256, (FRAMES, size), np.uint8) for _ in range(VIDEOS)]
        cut = [cut_windows(frames, segment_starts(FRAMES), CONTEXT) for frames in videos]
        windows, counts = (np.concatenate(part) for part in zip(*cut, strict=True))
        whole = [Piece(frames, 0, segment_count(FRAMES)) for frames in videos]
        first = [max(0, start - CONTEXT) for start in segment_starts(FRAMES).tolist()]
        single = [
            Piece(frames[at : start + 5 + CONTEXT], (start - at) // 5, 1)
            for frames in videos
            for at, start in zip(first, segment_starts(FRAMES).tolist(), strict=True)
        ]
        laid_out = (dict(zip(pooling.INPUTS, lay_out(pieces, CONTEXT), strict=True)) for pieces in (whole, single))
        return cls({"frames": windows, "frame_count": counts}, *laid_out)

    @property
    def segments(self) -> int:
        return len(self.windows["frames"])


def bag_of_frames(load: Load, rounds: int) -> list[Measure]:
    """The paper's network."""
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
    blocks, integers = (block_graph(each).SerializeToString() for each in (line.folded(), line.quantised()))
    naive = convert(segment_graph(network, YOUTUBE8M.size))
    bare, operations = products(len(load.blocks["frames"]), YOUTUBE8M.size, 8192)
    predict = tf.function(lambda codes, frame_count: network(codes, frame_count, training=False))  # as Keras predicts
    graphs: dict[str, Callable[[], object]] = {
        "naive": run_of(session_of(naive), ["scores", "embedding"], load.windows),
        "blocks": run_of(session_of(blocks), CODES, load.blocks),
        "int8": run_of(session_of(integers), CODES, load.blocks),
    }
    others = {**bare, "keras": lambda: predict(*load.windows.values())["scores"].numpy()}
    times, walls = cpu_times({**graphs, **others}, rounds), wall_times(graphs, rounds)
    for name, model in (("float32", blocks), ("int8", integers)):
        print_profile(f"block graph of the bag of frames, {name}", model, load.blocks)
    segments, rate = load.segments, operations / times["product"]
    scores = run_of(session_of(blocks), ["scores"], load.blocks)()[0]
    difference = float(np.abs(scores - np.asarray(network(*load.windows.values())["scores"])).max())
    behind_pool = (network.aggregation.hidden, network.head.gates, network.head.experts)
    work = operations + segments * sum(2 * int(np.prod(part.shape)) for part in behind_pool)  # of the graph's products
    return [
        Measure("naive segment graph, float32", times["naive"] / segments * 1e3, "ms CPU a segment"),
        Measure("block graph, float32", times["blocks"] / segments * 1e3, "ms CPU a segment"),
        Measure("block graph, int8", times["int8"] / segments * 1e3, "ms CPU a segment"),
        Measure("block graph float32 / naive", times["blocks"] / times["naive"], at_most=0.40),
        Measure("block graph int8 / naive", times["int8"] / times["naive"], at_most=0.18),
        Measure("two runs at a time: block graph float32", walls["blocks"] / segments * 1e3, "ms a segment"),
        Measure("two runs at a time: block graph int8", walls["int8"] / segments * 1e3, "ms a segment"),
        Measure("two runs at a time: float32 / naive", walls["blocks"] / walls["naive"], at_most=0.40),
        Measure("two runs at a time: int8 / naive", walls["int8"] / walls["naive"], at_most=0.18),
        Measure("float product of the first layer", rate / 1e9, "GFlop/s"),
        Measure("block graph float32, share of that rate", work / times["blocks"] / rate, at_least=0.85),
        Measure("integer product alone, multiple of that rate", times["product"] / times["integer product"]),
        Measure("block graph int8, multiple of that rate", work / times["int8"] / rate, at_least=2.4),
        Measure("Keras / block graph int8", times["keras"] / times["int8"], at_least=10),
        Measure("block graph against Keras, largest difference", difference, at_most=1e-5),
    ]


def nextvlad(load: Load, rounds: int) -> list[Measure]:
    """The third challenge's NeXtVLAD: its block graph against the converted graph of windows, and against itself with
    no frame shared, where what differs is the work and not who wrote it. Most of it lies behind the pooling, where
    nothing can be shared.
    """
    from segsearch.core.features import YOUTUBE8M
    from segsearch.export.block_graph import block_graph
    from segsearch.export.calibration import calibrated
    from segsearch.export.networks import line_of
    from segsearch.export.onnx_model import convert
    from segsearch.export.serving_graph import segment_graph
    from segsearch.training.aggregations import HiddenConfig, LogisticConfig, NeXtVLADConfig
    from segsearch.training.config import NetworkConfig
    from segsearch.training.models.network import Network

    aggregation = NeXtVLADConfig(clusters=128, groups=8, hidden=HiddenConfig(units=2048, form="batch_norm"))
    network = Network(NetworkConfig(aggregation=aggregation, head=LogisticConfig()), YOUTUBE8M, CLASSES)
    started, before = process_time(), reset_peak()
    line = line_of(network, YOUTUBE8M.size, CONTEXT)
    model = block_graph(line.folded()).SerializeToString()
    written, memory = process_time() - started, (peak() - before) / len(model)
    session = session_of(model)
    seen = np.random.default_rng(1).integers(0, 256, (FRAMES, YOUTUBE8M.size), np.uint8)
    integers = block_graph(calibrated(line.folded(), [seen]).quantised()).SerializeToString()
    naive = run_of(session_of(convert(segment_graph(network, YOUTUBE8M.size))), ["scores", "embedding"], load.windows)
    graphs: dict[str, Callable[[], object]] = {
        "naive": naive,
        "alone": run_of(session, CODES, load.alone),
        "blocks": run_of(session, CODES, load.blocks),
        "int8": run_of(session_of(integers), CODES, load.blocks),
    }
    bare, _ = products(load.segments, *network.aggregation.hidden.kernel.shape)
    times, walls = cpu_times({**graphs, **bare}, rounds), wall_times(graphs, rounds)
    for name, content in (("float32", model), ("int8", integers)):
        print_profile(f"block graph of the NeXtVLAD, {name}", content, load.blocks)
    plain_frame, frame, segment = products_of(network.aggregation)
    segments, shared = load.segments, 5 * frame + segment
    difference = float(np.abs(run_of(session, ["scores"], load.blocks)()[0] - naive()[0]).max())
    return [
        Measure("NeXtVLAD, naive segment graph", times["naive"] / segments * 1e3, "ms CPU a segment"),
        Measure("NeXtVLAD, windows by themselves", times["alone"] / segments * 1e3, "ms CPU a segment"),
        Measure("NeXtVLAD, block graph", times["blocks"] / segments * 1e3, "ms CPU a segment"),
        Measure("NeXtVLAD, block graph int8", times["int8"] / segments * 1e3, "ms CPU a segment"),
        Measure("NeXtVLAD, block graph float32 / naive", times["blocks"] / times["naive"]),
        Measure("NeXtVLAD, the same by operations", shared / (15 * plain_frame + segment)),
        Measure("NeXtVLAD, block graph float32 / windows by themselves", times["blocks"] / times["alone"]),
        Measure("NeXtVLAD, the same by operations: what sharing can give", shared / (15 * frame + segment)),
        Measure("NeXtVLAD, block graph int8 / naive", times["int8"] / times["naive"], at_most=0.45),
        Measure("NeXtVLAD, block graph int8 / windows by themselves in float32", times["int8"] / times["alone"]),
        Measure("NeXtVLAD, hidden layer's product: float / integers", times["product"] / times["integer product"]),
        Measure("NeXtVLAD, two runs at a time: float32 / naive", walls["blocks"] / walls["naive"]),
        Measure("NeXtVLAD, two runs at a time: int8 / naive", walls["int8"] / walls["naive"], at_most=0.45),
        Measure("NeXtVLAD, two runs at a time: int8 / windows by themselves", walls["int8"] / walls["alone"]),
        Measure("NeXtVLAD, block graph against naive, largest difference", difference, at_most=1e-5),
        Measure("NeXtVLAD, writing the block graph", written, "s CPU", at_most=10),
        Measure("NeXtVLAD, memory that writing takes / model", memory, at_most=8),
    ]


def recurrent() -> list[Measure]:
    """The starter code's LSTM, which is converted rather than written."""
    from segsearch.core.features import YOUTUBE8M
    from segsearch.export.onnx_model import convert
    from segsearch.export.serving_graph import segment_graph
    from segsearch.training.aggregations import LSTMConfig
    from segsearch.training.config import NetworkConfig
    from segsearch.training.models.network import Network

    network = Network(NetworkConfig(aggregation=LSTMConfig()), YOUTUBE8M, CLASSES)
    started, before = process_time(), reset_peak()
    model = convert(segment_graph(network, YOUTUBE8M.size))
    return [
        Measure("LSTM, converting", process_time() - started, "s CPU"),
        Measure("LSTM, memory that converting takes / model", (peak() - before) / len(model), at_most=8),
    ]


def products_of(aggregation: Any) -> tuple[int, int, int]:
    """Multiplications of a frame, as the network has them and as the graph has them; and those of a segment, which
    windows do not share (head left out).
    """
    plain, frame, window = 0, 0, 0
    for vlad in aggregation.vlads:
        features, expanded = vlad.expand.shape
        columns = int(vlad.attend.shape[1] + vlad.assign.shape[1])
        plain += expanded * (features + columns)
        frame += features * (expanded + columns)
        window += 15 * expanded * vlad.clusters
    return plain, frame, window + sum(int(np.prod(weight.shape)) for weight in aggregation.hidden.trainable_weights)


def reset_peak() -> int:
    """Bytes that this process holds now; its peak is counted from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Bytes that this process has held at most."""
    return int(fields("self", "status")["VmHWM"].split()[0]) * 1024


def print_profile(title: str, model: bytes, feed: Feed, rounds: int = 3) -> None:
    """Shares of the time by operator, as ONNX Runtime's own profile has it; the first run is left out."""
    with tempfile.TemporaryDirectory() as folder:
        session = session_of(model, Path(folder) / "profile")
        run = run_of(session, CODES, feed)
        for _ in range(rounds + 1):
            run()
        events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    spent: Counter[str] = Counter()
    for event in kernels[len(kernels) // (rounds + 1) :]:
        spent[event["args"]["op_name"]] += event["dur"]
    total = sum(spent.values())
    shares = ", ".join(f"{name} {100 * each / total:.1f} %" for name, each in spent.most_common(6))
    print(f"where the time goes, {title}: {shares}", file=sys.stderr)


def rated(run: Path, data: Path) -> list[Measure]:
    """What 8 bits cost in rated MAP: each fold's network on the shard that it never saw."""
    from segsearch.core.videos import read_videos
    from segsearch.export.block_graph import block_graph
    from segsearch.export.calibration import calibrated
    from segsearch.export.networks import line_of
    from segsearch.export.packing import CALIBRATION_VIDEOS
    from segsearch.export.parity import ExportedModel
    from segsearch.export.rated import RatedShards, rated_metrics
    from segsearch.training.checkpoint import Checkpoint

    folds, files = sorted(run.glob("fold[0-9]")), sorted(data.glob("validate*.tfrecord"))
    changes = []
    for number, folder in enumerate(folds if files else []):
        checkpoint = Checkpoint.load(folder)
        line = line_of(checkpoint.build_network(), checkpoint.features.size, checkpoint.context_frames).folded()
        videos = read_videos(sorted(data.glob("train*.tfrecord")), checkpoint.features, cap=300)
        known = calibrated(line, [video.frames for video, _ in zip(videos, range(CALIBRATION_VIDEOS), strict=False)])
        models = {
            name: ExportedModel(block_graph(each).SerializeToString(), "blocks", checkpoint.context_frames)
            for name, each in (("full", line), ("int8", known.quantised()))
        }
        held_out = RatedShards(files[number :: len(folds)], f"fold {number}")
        values = rated_metrics(models, held_out, checkpoint.features, checkpoint.vocabulary)
        changes.append(values["int8"].value - values["full"].value)
    if not changes:
        print(
            f"no folds in {run} or no shards in {data}: what int8 costs in rated MAP is not measured", file=sys.stderr
        )
        return []
    largest = max(changes, key=abs)
    return [
        Measure(f"int8, change of rated MAP, mean of {len(changes)} folds", mean(changes), at_least=-0.001),
        Measure("int8, change of rated MAP, the largest of a fold", largest, at_least=-0.001, at_most=0.001),
    ]


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--run", type=Path, default=RUN, help="a run of five folds on real data")
    parser.add_argument("--data", type=Path, default=SHARED / "data", help="its shards")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    from segsearch.core.features import YOUTUBE8M

    load = Load.made_up(YOUTUBE8M.size)
    measures = [*bag_of_frames(load, options.rounds), *nextvlad(load, options.rounds), *recurrent()]
    measures += rated(options.run, options.data)
    report("Scoring a segment", measures, options.json)


if __name__ == "__main__":
    main()
