"""A library that nobody filmed, of YouTube-8M's test set's size, and a bundle of fixed random weights to score it with.

Where it stands: `headline` and `starter_manner` run on both. Everything follows from a seed and lies in a scratch
folder; shard k is the same whatever the scale, so that what is there is used again.

T frames, F codes a frame, C classes, M experts.
"""

import itertools
import os
import shutil
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.features import YOUTUBE8M
from segsearch.core.records import write_records
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.videos import Video, read_videos, serialise_video
from segsearch.core.vocabulary import Entry, Vocabulary

FULL_VIDEOS, FULL_SEGMENTS = 44_740, 2_062_258  # the test set of the 3rd challenge
SHARD_VIDEOS = 12  # as YouTube-8M's 3,844 files hold them
SHARDS = -(-FULL_VIDEOS // SHARD_VIDEOS)
SHARD_BYTES, INDEX_BYTES, CSV_BYTES = 3_250_000, 6, 9  # of a shard; of a posting, there and there; about
SHORTEST, LONGEST = 120, 300  # frames: videos are 120 to 500 s long, and no reader sees what is behind 300
_MEAN_ABOVE_SHORTEST = 164.4  # s; with it the test set's 46.1 segments a video come out
_SEED = 8
_POOL_FRAMES = 4096
_CHARACTERS = string.ascii_letters + string.digits
_LOGIT, _LOGIT_DEVIATION, _CLASS_DEVIATION = -8.0, 2.0, 1.5  # of a trained model's scores for rare classes


@dataclass(frozen=True, slots=True)
class Size:
    """Of the network: a bag of frames with a mixture of two experts a class."""

    clusters: int = 8192
    hidden: int = 1024
    classes: int = 1000
    context: int = 5  # frames each side of a segment

    @property
    def operations(self) -> int:
        """Multiplications and additions that one segment costs at least, each frame worked on once."""
        head = 5 * self.hidden * self.classes  # two experts, three gates
        return 2 * (SEGMENT_FRAMES * YOUTUBE8M.size * self.clusters + self.clusters * self.hidden + head)


def frame_counts() -> np.ndarray:
    """(44740,) int64: lengths of all videos, together exactly 2,062,258 segments."""
    random = np.random.default_rng(_SEED)
    lengths = SHORTEST + random.exponential(_MEAN_ABOVE_SHORTEST, FULL_VIDEOS)
    counts = np.minimum(lengths, LONGEST).astype(np.int64)
    missing = FULL_SEGMENTS - int((-(-counts // SEGMENT_FRAMES)).sum())
    room = (counts >= SHORTEST + SEGMENT_FRAMES) & (counts <= LONGEST - SEGMENT_FRAMES)
    chosen = random.permutation(np.flatnonzero(room))[: abs(missing)]
    counts[chosen] += np.sign(missing) * SEGMENT_FRAMES  # one segment more or less
    return counts


def video_id(number: int) -> str:
    """Four characters, as YouTube-8M's anonymous ids."""
    digits = [number // len(_CHARACTERS) ** place % len(_CHARACTERS) for place in range(4)]
    return "".join(_CHARACTERS[digit] for digit in digits)


def shards(folder: Path, scale: float) -> list[Path]:
    """The first shards of the library, as many as the scale says; those that are missing are written."""
    counts = frame_counts()
    random = np.random.default_rng(_SEED)
    pool = random.normal(128, 40, (_POOL_FRAMES, YOUTUBE8M.size)).clip(0, 255).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for half_written in folder.glob(".*.part"):
        half_written.unlink()  # by a run that was killed
    paths = shard_paths(folder, scale)
    for number, path in enumerate(paths):
        if not path.exists():
            write_records(path, (serialise_video(video, YOUTUBE8M) for video in _videos(number, counts, pool)))
    return paths


def shard_paths(folder: Path, scale: float) -> list[Path]:
    return [folder / f"test{number:04d}.tfrecord" for number in range(shard_count(scale))]


def shard_count(scale: float) -> int:
    """Of a fraction of the library."""
    return max(1, round(SHARDS * scale))


def check_room(folder: Path, scale: float, classes: int, keep: int) -> None:
    """Raises OSError where shards that are missing, pieces, index and CSV (twice, as writing it is timed) are too much
    for the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = sum(not path.exists() for path in shard_paths(folder, scale))
    segments = round(scale * FULL_SEGMENTS)
    lists = classes * min(keep, segments) * (INDEX_BYTES + 2 * CSV_BYTES)
    wanted = missing * SHARD_BYTES + 2 * segments * classes + lists
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise OSError(f"{folder}: {wanted / 1e9:.1f} GB wanted, {free / 1e9:.1f} GB free")


def _videos(shard: int, counts: np.ndarray, pool: np.ndarray) -> Iterator[Video]:
    """Each video is a draw of frames from the pool (P, F): cheap, and no two are alike."""
    random = np.random.default_rng([_SEED, shard])
    first = shard * SHARD_VIDEOS
    for number, count in enumerate(counts[first : first + SHARD_VIDEOS].tolist(), start=first):
        yield Video(video_id(number), None, frames=pool[random.integers(0, len(pool), count)])


@dataclass(frozen=True, slots=True)
class Models:
    """The same weights twice: as training leaves them, and packed to be served."""

    checkpoint: Path
    bundle: Path


def models(folder: Path, size: Size, sample: Path) -> Models:
    """A checkpoint and its bundle; made if they are not there. sample: a shard whose videos calibrate the bundle."""
    root = folder / f"model-{size.clusters}-{size.hidden}-{size.classes}-{size.context}"
    made = Models(root / "checkpoint", root / "bundles" / "made-up" / "1")
    if not made.bundle.exists():
        _make(made, size, sample)
    return made


def _make(made: Models, size: Size, sample: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from segsearch.export.packing import pack
    from segsearch.training.checkpoint import Checkpoint
    from segsearch.training.config import NetworkConfig

    config = NetworkConfig(aggregation=_bag(size))
    frames = np.concatenate([video.frames for video in itertools.islice(read_videos([sample], YOUTUBE8M), 4)])
    checkpoint = Checkpoint(
        directory=made.checkpoint, run="made_up", network_config=config, features=YOUTUBE8M,
        vocabulary=Vocabulary(Entry(row, f"class {row}", f"/m/{row}") for row in range(size.classes)),
        context_frames=size.context, stage="made up", step=0,
    )  # fmt: skip
    checkpoint.write(_network(size, frames))
    videos = read_videos([sample], YOUTUBE8M)
    pack(Checkpoint.load(made.checkpoint), made.bundle.parents[1], "made-up", 1, videos)


def _bag(size: Size, **changes: Any) -> Any:
    from segsearch.training.aggregations import DBoFConfig

    return DBoFConfig(clusters=size.clusters, hidden=size.hidden, **changes)


def _network(size: Size, frames: np.ndarray) -> Any:
    """A network that spreads its scores as a trained one does: statistics and head follow these frames (T, F)."""
    import keras

    from segsearch.training.config import NetworkConfig
    from segsearch.training.models.network import Network

    keras.utils.set_random_seed(_SEED)
    window = SEGMENT_FRAMES + 2 * size.context
    windows = frames[: len(frames) // window * window].reshape(-1, window, YOUTUBE8M.size)
    # A decay of 0 leaves the statistics of these frames as the moving ones.
    learner = Network(NetworkConfig(aggregation=_bag(size, batch_norm_decay=0.0)), YOUTUBE8M, size.classes)
    embedding = learner(windows, np.full(len(windows), window, np.int32), training=True)["embedding"]
    _spread(learner.head, np.asarray(embedding))
    network = Network(NetworkConfig(aggregation=_bag(size)), YOUTUBE8M, size.classes)
    network.set_weights(learner.get_weights())
    return network


def _spread(head: Any, embedding: np.ndarray) -> None:
    """Scales the experts to logits of one deviation, about a mean that is each class's own."""
    random = np.random.default_rng(_SEED)
    experts = np.asarray(head.experts)  # (H, C M), class after class
    logits = embedding @ experts
    scale = _LOGIT_DEVIATION / np.maximum(logits.std(axis=0), 1e-6)
    means = np.repeat(random.normal(_LOGIT, _CLASS_DEVIATION, head.classes), head.config.mixtures)
    head.experts.assign(experts * scale)
    head.biases.assign(means - (logits * scale).mean(axis=0))
