"""Claim: a reindex by two Ray actors takes little longer than one by two processes, and both end with the same bits.

A made-up bag of frames of random weights (1152 codes a frame, 4096 clusters, 1000 classes) scores a made-up library.
Engines take turns; what is measured is the whole reindex, with what starting workers or a cluster costs. Beside it: one
process with two runs at a time.

    python benchmarks/reindex.py [--shards 24] [--videos 32] [--rounds 5] [--json PATH]

The full size scores 46,080 segments in each turn, and needs 400 MB of disk.
"""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
from report import Measure, arguments, report

from segsearch.core.blocks import Piece, lay_out
from segsearch.core.bundle import MODEL, Bundle, Golden, Graph, Manifest, write_bundle
from segsearch.core.features import YOUTUBE8M
from segsearch.core.records import write_records
from segsearch.core.segments import segment_count
from segsearch.core.videos import Video, serialise_video
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.export.block_graph import block_graph
from segsearch.export.heads import LogisticScores
from segsearch.export.line import Line
from segsearch.export.pooling import INPUTS, MaxPool
from segsearch.export.steps import Activation, Dense, Dequantise
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.manifest import FileSum
from segsearch.service.jobs.engines import Engine, EngineWishes, engine_for
from segsearch.service.jobs.reindex import reindex
from segsearch.service.scoring.onnx_scorer import OnnxScorer

CONTEXT, CLUSTERS, HIDDEN, CLASSES, FRAMES, BATCH, KEEP = 5, 4096, 512, 1000, 300, 64, 1_000
WORKERS = 2


def write_model(root: Path, clusters: int = CLUSTERS, hidden: int = HIDDEN) -> Path:
    """A bundle whose golden scores are its own model's."""
    random = np.random.default_rng(0)

    def dense(rows: int, columns: int) -> Dense:
        return Dense(random.normal(0, rows**-0.5, (rows, columns)).astype(np.float32))

    body = (
        Dequantise(4 / 255, 4 / 512 - 2), dense(YOUTUBE8M.size, clusters), Activation("relu6"), MaxPool(CONTEXT),
        dense(clusters, hidden), Activation("relu6"),
    )  # fmt: skip
    head = (dense(hidden, CLASSES),)
    line = Line(body, head, LogisticScores(), YOUTUBE8M.size, CONTEXT, CLASSES, hidden)
    model = block_graph(line.folded()).SerializeToString()
    vocabulary = Vocabulary(Entry(row, f"class {row}", f"/m/{row:04d}") for row in range(CLASSES))
    manifest = Manifest(
        name="bench", version=1, features=YOUTUBE8M, context_frames=CONTEXT, vocabulary_digest=vocabulary.digest,
        class_count=CLASSES, embedding_size=hidden, golden=golden_of(model, random), graphs=(Graph(MODEL, "blocks"),),
        created_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return write_bundle(root, manifest, vocabulary, model)


def golden_of(model: bytes, random: np.random.Generator) -> Golden:
    frames = random.integers(0, 256, (23, YOUTUBE8M.size), np.uint8)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = dict(zip(INPUTS, lay_out([Piece(frames, 0, segment_count(len(frames)))], CONTEXT), strict=True))
    return Golden(frames, np.array([len(frames)], np.int32), session.run(["scores"], inputs)[0])


def write_library(folder: Path, shards: int, videos: int) -> list[Path]:
    """Shards of videos of 300 frames: the same frames in each shard, under ids of its own."""
    random = np.random.default_rng(1)
    frames = [random.integers(0, 256, (FRAMES, YOUTUBE8M.size), np.uint8) for _ in range(videos)]
    files = []
    for shard in range(shards):
        files.append(folder / f"shard{shard:03d}.tfrecord")
        records = (Video(f"s{shard}v{number}", None, frames=each) for number, each in enumerate(frames))
        write_records(files[-1], (serialise_video(video, YOUTUBE8M) for video in records))
    return files


def timed(root: Path, scorer: OnnxScorer, files: list[Path], engine: Engine) -> tuple[float, Mapping[str, FileSum]]:
    """Seconds by the clock, and the checksums of what was published."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        index = IndexDirectory(Path(folder) / "index")
        started = time.perf_counter()
        manifest = reindex(scorer, files, index, keep=KEEP, engine=engine).manifest
        return time.perf_counter() - started, manifest.files


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--shards", type=int, default=24)
    parser.add_argument("--videos", type=int, default=32, help="in each shard")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        files = write_library(root, options.shards, options.videos)
        with OnnxScorer(Bundle.open(write_model(root)), batch=BATCH, threads=WORKERS) as scorer:
            engines = {
                "this process": engine_for(scorer, EngineWishes()),
                "two processes": engine_for(scorer, EngineWishes(workers=WORKERS)),
                "two Ray actors": engine_for(scorer, EngineWishes(kind="ray", actors=WORKERS)),
            }
            spent: dict[str, list[float]] = {name: [] for name in engines}
            published = []
            for _ in range(options.rounds):
                for name, engine in engines.items():
                    seconds, sums = timed(root, scorer, files, engine)
                    spent[name].append(seconds)
                    published.append(sums)
    walls = {name: median(seconds) for name, seconds in spent.items()}
    segments = options.shards * options.videos * segment_count(FRAMES)
    measures = [Measure(f"{name}, {segments:,} segments", wall, "s") for name, wall in walls.items()]
    measures += [
        Measure("two Ray actors / two processes", walls["two Ray actors"] / walls["two processes"], at_most=1.3),
        Measure("two processes / this process", walls["two processes"] / walls["this process"]),
        Measure("generations that differ from the first", sum(sums != published[0] for sums in published), at_most=0),
    ]
    report("A reindex by several workers", measures, options.json)


if __name__ == "__main__":
    main()
