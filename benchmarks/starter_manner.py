"""Claim: what a segment costs in the manner of the challenge's starter code, which `headline` puts beside ours.

Our own code, written after a description of how that program infers, not the program: whole videos in batches of 300
rows, cut into single segments of five frames without context; a TensorFlow graph that draws frames with replacement;
the best classes of each segment as a row of text; the text read again into a heap a class; the heaps as a submission.
Where the description leaves something open, the cheaper way is taken, so that what is measured is rather too little.
The test `tests/integration/test_starter_manner.py` shows that without drawing its lists are ours.

One process a core, one thread each, on the first videos of `headline`'s library, with its weights.

    .venv/bin/python benchmarks/starter_manner.py [--videos 16] [--scratch FOLDER] [--json PATH]

T frames, F codes a frame, B videos of a batch, S segments of them, D frames drawn a segment, C classes.
"""

import heapq
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from report import Measure, arguments, report
from whole_job.library import FULL_VIDEOS, Size, models, shards
from whole_job.processes import pool_of

from segsearch.core.features import YOUTUBE8M, FeatureSpec, dequantise
from segsearch.core.segments import SEGMENT_FRAMES, segment_count

SCRATCH = Path(__file__).resolve().parents[1] / "build" / "headline"
ROWS = 300  # of every video; shorter ones are padded with zeros
BATCH_VIDEOS = 8  # the starter code's 512 would hold 23 GB of activations
KEEP = 100_000
BATCH_NORM_EPSILON = 1e-3


class Manner(NamedTuple):
    """draws: frames drawn a segment; None takes each real frame, the last one again where there are fewer than five,
    which a maximum does not see. top: classes of a segment that are written down.
    """

    draws: int | None
    top: int


class StarterGraph:
    """The bag of frames on single segments, op by op as the reference builds it."""

    def __init__(self, weights: Mapping[str, np.ndarray], draws: int | None):
        """weights: a checkpoint's, by variable path."""
        import tensorflow as tf

        self._tf, self._draws = tf, draws
        self._weights = {path: tf.constant(array) for path, array in weights.items()}
        self.predict: Callable[[np.ndarray, np.ndarray], Any] = tf.function(self._predict, reduce_retracing=True)

    def _predict(self, frames: Any, frame_counts: Any) -> Any:  # (S, 5, F) float32, (S,) int32
        """(S, C) probabilities."""
        tf = self._tf
        drawn = tf.gather(frames, self._places(frame_counts), batch_dims=1)  # (S, D, F)
        x = tf.reshape(tf.nn.l2_normalize(drawn, axis=-1), (-1, frames.shape[-1]))  # (S D, F)
        x = self._normed("input_bn", x) @ self._weight("dbof/clusters")
        x = tf.sigmoid(self._normed("cluster_bn", x))
        pooled = tf.reduce_max(tf.reshape(x, (-1, tf.shape(drawn)[1], x.shape[-1])), axis=1)  # (S, K)
        hidden = tf.sigmoid(self._normed("hidden_bn", pooled @ self._weight("dbof/hidden")))
        return self._mixture(hidden)

    def _places(self, frame_counts: Any) -> Any:
        """(S, D): which frames of each segment the network sees."""
        tf = self._tf
        if self._draws is None:
            return tf.minimum(tf.range(SEGMENT_FRAMES)[None, :], frame_counts[:, None] - 1)
        draw = tf.random.uniform((tf.shape(frame_counts)[0], self._draws))
        return tf.cast(draw * tf.cast(frame_counts, tf.float32)[:, None], tf.int32)

    def _mixture(self, hidden: Any) -> Any:  # (S, H)
        tf = self._tf
        classes = (
            self._weight("moe/gates").shape[1] - self._weight("moe/experts").shape[1]
        )  # one gate more than experts
        gates = tf.nn.softmax(tf.reshape(hidden @ self._weight("moe/gates"), (-1, classes, 3)))
        experts = tf.reshape(hidden @ self._weight("moe/experts") + self._weight("moe/biases"), (-1, classes, 2))
        return tf.reduce_sum(gates[..., :2] * tf.sigmoid(experts), axis=-1)

    def _normed(self, name: str, x: Any) -> Any:
        mean, variance, shift, scale = (
            self._weight(f"{name}/{part}") for part in ("moving_mean", "moving_variance", "beta", "gamma")
        )
        return self._tf.nn.batch_normalization(x, mean, variance, shift, scale, BATCH_NORM_EPSILON)

    def _weight(self, end: str) -> Any:
        return next(array for path, array in self._weights.items() if path.endswith(f"/{end}"))


class VideoBatch(NamedTuple):
    """Whole videos as the reader leaves them."""

    ids: list[str]
    frames: np.ndarray  # (B, 300, F) float32, zeros behind the last frame
    frame_counts: np.ndarray  # (B,) int32


def read_batches(files: Iterable[Path], spec: FeatureSpec, videos: int) -> Iterator[VideoBatch]:
    """The first videos of the shards."""
    import tensorflow as tf

    lists = {stream.key: tf.io.FixedLenSequenceFeature([], tf.string) for stream in spec.streams}
    context = {"id": tf.io.FixedLenFeature([], tf.string)}

    def parse(record: Any) -> Any:
        known, streams = tf.io.parse_single_sequence_example(record, context, lists)
        decoded = [tf.io.decode_raw(streams[stream.key], tf.uint8) for stream in spec.streams]
        return known["id"], tf.concat(decoded, axis=1)[:ROWS]

    records = tf.data.TFRecordDataset([str(file) for file in files]).map(parse).take(videos).as_numpy_iterator()
    while batch := list(itertools.islice(records, BATCH_VIDEOS)):
        frames = np.zeros((len(batch), ROWS, spec.size), np.float32)
        for row, (_, codes) in enumerate(batch):
            frames[row, : len(codes)] = dequantise(codes, spec.low, spec.high)
        yield VideoBatch([name.decode() for name, _ in batch], frames, np.array([len(codes) for _, codes in batch]))


class Segments(NamedTuple):
    """All segments of some videos, each by itself."""

    names: list[str]
    frames: np.ndarray  # (S, 5, F) float32
    frame_counts: np.ndarray  # (S,) int32, 1 to 5


def cut(batch: VideoBatch) -> Segments:
    counts = [segment_count(frames) for frames in batch.frame_counts.tolist()]
    pieces = [
        rows.reshape(-1, SEGMENT_FRAMES, rows.shape[-1])[:n] for rows, n in zip(batch.frames, counts, strict=True)
    ]
    starts = np.concatenate([np.arange(count) * SEGMENT_FRAMES for count in counts])
    left = np.repeat(batch.frame_counts, counts) - starts
    ids = itertools.chain.from_iterable(itertools.repeat(name, n) for name, n in zip(batch.ids, counts, strict=True))
    names = [f"{name}:{start}" for name, start in zip(ids, starts.tolist(), strict=True)]
    return Segments(names, np.concatenate(pieces), np.minimum(left, SEGMENT_FRAMES).astype(np.int32))


def text_rows(names: Sequence[str], scores: np.ndarray, top: int) -> Iterator[str]:
    """A line a segment: its best classes, each with its score in six digits. scores: (S, C)."""
    for name, row in zip(names, scores, strict=True):
        best = np.argpartition(row, -top)[-top:]
        yield f"{name},{' '.join(f'{label} {score:g}' for label, score in zip(best, row[best], strict=True))}\n"


def ranked(rows: Iterable[str], keep: int) -> Iterator[tuple[str, list[str]]]:
    """Each class's best segments, best first, by a heap a class; classes in the order in which they appear."""
    heaps: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        name, _, pairs = row.rstrip("\n").partition(",")
        fields = pairs.split(" ")
        for label, score in zip(fields[::2], fields[1::2], strict=True):
            heap, entry = heaps.setdefault(label, []), (float(score), name)
            if len(heap) < keep:
                heapq.heappush(heap, entry)
            else:
                heapq.heappushpop(heap, entry)
    for label, heap in heaps.items():
        yield label, [name for _, name in sorted(heap, key=lambda entry: -entry[0])]


class Cost(NamedTuple):
    """CPU seconds of some segments."""

    segments: int
    graph_s: float  # reading and cutting included
    text_s: float
    lists_s: float  # reading the text again, heaps, submission

    @property
    def ms_a_segment(self) -> float:
        return 1e3 * (self.graph_s + self.text_s + self.lists_s) / self.segments


def submit(
    checkpoint: Path, files: Sequence[Path], csv: Path, manner: Manner, spec: FeatureSpec = YOUTUBE8M,
    videos: int = FULL_VIDEOS, keep: int = KEEP,
) -> Cost:  # fmt: skip
    """The whole way: the first videos of the shards to a submission."""
    with np.load(checkpoint / "weights.npz") as arrays:
        graph = StarterGraph(dict(arrays), manner.draws)
    with tempfile.TemporaryDirectory(dir=csv.parent) as folder:
        text = Path(folder) / "rows.txt"
        predicted = _write_rows(graph, files, text, manner.top, spec, videos)
        started = process_time()
        with text.open() as rows, csv.open("w") as file:
            file.write("Class,Segments\n")
            file.writelines(f"{label},{' '.join(names)}\n" for label, names in ranked(rows, keep))
        return predicted._replace(lists_s=process_time() - started)


def _write_rows(
    graph: StarterGraph, files: Sequence[Path], text: Path, top: int, spec: FeatureSpec, videos: int
) -> Cost:
    _trace(graph, files, spec)
    segments, text_s, started = 0, 0.0, process_time()
    with text.open("w") as file:
        for batch in read_batches(files, spec, videos):
            names, frames, counts = cut(batch)
            scores = graph.predict(frames, counts).numpy()
            segments, before = segments + len(names), process_time()
            file.writelines(text_rows(names, scores, top))
            text_s += process_time() - before
    return Cost(segments, process_time() - started - text_s, text_s, 0.0)


def _trace(graph: StarterGraph, files: Sequence[Path], spec: FeatureSpec) -> None:
    """What happens once is not measured."""
    _, frames, counts = cut(next(read_batches(files, spec, 2)))
    for count in (2, 3):  # the second shape has TensorFlow leave the number of segments open
        graph.predict(frames[:count], counts[:count])


def _work(checkpoint: Path, files: Sequence[Path], manner: Manner, videos: int) -> Cost:
    """In a process of its own, before TensorFlow is imported there."""
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", TF_CPP_MIN_LOG_LEVEL="2")
    with tempfile.TemporaryDirectory(dir=checkpoint) as folder:
        return submit(checkpoint, files, Path(folder) / "submission.csv", manner, videos=videos)


def cost(checkpoint: Path, files: Sequence[Path], manner: Manner, videos: int) -> Cost:
    """What these videos cost with a process on each core; each takes every so manieth shard."""
    workers = min(os.cpu_count() or 1, len(files))
    with pool_of(workers) as pool:
        jobs = [
            pool.submit(_work, checkpoint, files[place::workers], manner, videos // workers) for place in range(workers)
        ]
        return Cost(*map(sum, zip(*(job.result() for job in jobs), strict=True)))


def measures(name: str, spent: Cost) -> list[Measure]:
    parts = {"": spent.ms_a_segment} | {
        f", {part}": 1e3 * seconds / spent.segments
        for part, seconds in (("graph", spent.graph_s), ("text", spent.text_s), ("lists", spent.lists_s))
    }
    return [Measure(f"{name}{part}", value, "ms CPU a segment") for part, value in parts.items()]


def manners(classes: int) -> dict[str, Manner]:
    """What is compared, by what tables call it."""
    return {
        "30 draws, all classes": Manner(30, classes),
        "5 draws, all classes": Manner(5, classes),
        "30 draws, 20 classes": Manner(30, min(20, classes)),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="where library and model lie, or are put")
    options = parser.parse_args()
    files = shards(options.scratch / "shards", options.videos / FULL_VIDEOS * 2)
    size = Size()
    checkpoint = models(options.scratch, size, files[0]).checkpoint
    found = []
    for name, manner in manners(size.classes).items():
        found += measures(name, cost(checkpoint, files, manner, options.videos))
    report("In the manner of the starter code", found, options.json)


if __name__ == "__main__":
    main()
