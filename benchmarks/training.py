"""Claims: reading shards is three times as fast as training on them, and a training step costs what its network costs.

The network is the starter code's DBoF (8192 clusters, 1024 hidden units, mixture of experts), 1152 codes a frame.
- input pipeline: shards to batches of 15 drawn frames, nothing else running.
- training: the same batches into `OptimiserStep`, the average of the weights included, as `segsearch train` does it.
- bare step: forward, loss, gradients and Adam in one tf.function, on one batch in memory; no average, no data.
Training and bare step take turns, so that a drifting machine meets both alike.

The smaller the batch, the more of a step is a pass over all weights: at 32 the average, which the bare step has not,
costs an eighth.

    python benchmarks/training.py [--videos 384] [--batch 128] [--steps 3] [--rounds 2] [--json PATH]
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
from report import Measure, arguments, report

from segsearch.core.features import YOUTUBE8M
from segsearch.core.records import write_records
from segsearch.core.videos import Video, serialise_video
from segsearch.core.vocabulary import Entry, Vocabulary

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

CLASSES, FRAMES_A_VIDEO, SHARDS = 3862, 230, 4
WARM_UP_STEPS = 2  # of each round: shuffling fills its buffer


def write_shards(folder: Path, videos: int) -> list[Path]:
    """Random videos, 265 kB each as YouTube-8M's are."""
    random, paths = np.random.default_rng(0), []
    for shard in range(SHARDS):
        paths.append(folder / f"train{shard}.tfrecord")
        write_records(paths[-1], (_record(random, f"{shard}-{n}") for n in range(videos // SHARDS)))
    return paths


def _record(random: np.random.Generator, name: str) -> bytes:
    frames = random.integers(0, 256, (FRAMES_A_VIDEO, YOUTUBE8M.size), np.uint8)
    return serialise_video(Video(name, random.choice(CLASSES, 3, replace=False), frames=frames), YOUTUBE8M)


def bare_step(network, config, batch) -> Callable[[], object]:
    """What a step costs if it is nothing but the network's."""
    import tensorflow as tf

    from segsearch.training.losses import cross_entropy
    from segsearch.training.schedule import optimiser_of

    optimiser = optimiser_of(config)
    optimiser.build(network.trainable_variables)

    @tf.function
    def take(batch):
        with tf.GradientTape() as tape:
            scores = network(batch["codes"], batch["frame_count"], training=True)["scores"]
            loss = cross_entropy(scores, batch["labels"]) + sum(network.losses)
        optimiser.apply(tape.gradient(loss, network.trainable_variables))
        return loss

    return lambda: take(batch)


def seconds_a_step(steps: Iterator[object], count: int) -> float:
    """Median over `count` steps, the first ones left out; each must end in a number that is looked at."""
    times = []
    for _ in range(WARM_UP_STEPS + count):
        started = time.perf_counter()
        float(next(steps))
        times.append(time.perf_counter() - started)
    return median(times[WARM_UP_STEPS:])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--videos", type=int, default=384)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report("Training DBoF 8192/1024", measure(options, Path(folder)), options.json)


def measure(options, folder: Path) -> list[Measure]:
    from segsearch.training.config import InputConfig, NetworkConfig, StageConfig
    from segsearch.training.input.videos import VideoExamples
    from segsearch.training.models.network import Network
    from segsearch.training.trainer import OptimiserStep

    vocabulary = Vocabulary(Entry(number, f"class {number}", f"/m/{number}") for number in range(CLASSES))
    config = StageConfig(batch_size=options.batch)
    shards = write_shards(folder, options.videos)
    examples = VideoExamples(shards, YOUTUBE8M, vocabulary, config, InputConfig(shuffle_videos=64), 0)
    network = Network(NetworkConfig(), YOUTUBE8M, CLASSES)
    step = OptimiserStep(network, config, examples.epoch(0).element_spec)
    bare = bare_step(network, config, next(iter(examples.epoch(0))))

    def training(epoch: int) -> Iterator[object]:
        number = 0
        while True:
            for batch in examples.epoch(epoch + number):
                yield step(batch, number)
                number += 1

    float(bare()), float(step(next(iter(examples.epoch(0))), 0))  # compiles both
    ours, theirs = [], []
    for turn in range(options.rounds):
        theirs.append(seconds_a_step(iter(bare, None), options.steps))
        ours.append(seconds_a_step(training(turn), options.steps))
    reading = input_rate(examples, options.videos)
    ratio = median(their / our for our, their in zip(ours, theirs, strict=True))
    rate = options.batch / median(ours)
    return [
        Measure("input pipeline / training, examples a second", reading / rate, at_least=3.0),
        Measure("training / bare step, examples a second", ratio, at_least=0.9),
        Measure("input pipeline", reading, "videos/s"),
        Measure("training", rate, "videos/s"),
        Measure("bare step", options.batch / median(theirs), "videos/s"),
    ]


def input_rate(examples, videos: int) -> float:
    """Videos a second through the pipeline alone, best of three epochs, opening of files included."""
    seconds = []
    for epoch in range(3):
        started = time.perf_counter()
        assert sum(len(batch["frame_count"]) for batch in examples.epoch(epoch)) == videos
        seconds.append(time.perf_counter() - started)
    return videos / min(seconds)


if __name__ == "__main__":
    main()
