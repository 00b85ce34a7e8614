"""Claim: reading shards without TensorFlow is no slower than reading them with it.

Both sides parse the same frame-level shards (1152 codes a frame) into uint8 arrays, one thread each.

    python benchmarks/records.py [--videos 60] [--json PATH]
"""

import os
import tempfile
from pathlib import Path

import numpy as np
from report import Measure, arguments, cpu_times, report

from segsearch.core.features import YOUTUBE8M
from segsearch.core.records import write_records
from segsearch.core.videos import Video, read_videos, serialise_video

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def write_shard(path: Path, videos: int) -> int:
    """Writes a shard of random videos of 200 frames; returns the frames in it."""
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (200, YOUTUBE8M.size), np.uint8) for _ in range(videos)]
    write_records(path, (serialise_video(Video(f"v{n}", None, frames=f), YOUTUBE8M) for n, f in enumerate(frames)))
    return 200 * videos


def with_core(path: Path) -> int:
    return sum(len(video.frames) for video in read_videos([path], YOUTUBE8M))


def with_tensorflow(path: Path) -> int:
    import tensorflow as tf

    features = {stream.key: tf.io.FixedLenSequenceFeature([], tf.string) for stream in YOUTUBE8M.streams}
    total = 0
    for record in tf.data.TFRecordDataset(str(path)):
        _, lists = tf.io.parse_single_sequence_example(record, sequence_features=features)
        total += tf.concat([tf.io.decode_raw(lists[name], tf.uint8) for name in lists], axis=1).numpy().shape[0]
    return total


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--videos", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.tfrecord"
        frame_count = write_shard(path, options.videos)
        assert with_core(path) == with_tensorflow(path) == frame_count
        ours, theirs = cpu_times(lambda: with_core(path), lambda: with_tensorflow(path), rounds=5)
    measures = [
        Measure("core / TensorFlow, CPU time", ours / theirs, at_most=1.0),
        Measure("core, a frame", ours / frame_count * 1e6, "µs CPU"),
        Measure("TensorFlow, a frame", theirs / frame_count * 1e6, "µs CPU"),
    ]
    report("Reading frame-level shards", measures, options.json)


if __name__ == "__main__":
    main()
