"""Memory follows the configuration, not the size of the data."""

import json
import subprocess
import sys

import numpy as np
import pytest

from segsearch.core.features import YOUTUBE8M
from segsearch.core.records import write_records
from segsearch.core.videos import Video, serialise_video

SHARDS, VIDEOS_A_SHARD, FRAMES = 12, 100, 300  # 345 kB a video, 415 MB in all
# Reads an epoch and prints how many MB its process grew by: with the records in a small shuffle, then in a cache.
PROGRAM = """
import json, sys
from pathlib import Path
from segsearch.training.backend import require_tensorflow
require_tensorflow("train")
from segsearch.core.features import YOUTUBE8M
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.training.config import InputConfig, StageConfig
from segsearch.training.input.videos import VideoExamples

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024

def growth(**settings):
    config = InputConfig(shuffle_videos=32, readers=2, **settings)
    vocabulary = Vocabulary([Entry(0, "one", "/m/0")])
    examples = VideoExamples(files, YOUTUBE8M, vocabulary, StageConfig(batch_size=16), config, 0)
    batches = iter(examples.epoch(0))
    for _ in range(4):
        next(batches)  # TensorFlow itself has come to its size now
    before = resident()
    count = 64 + sum(len(batch["frame_count"]) for batch in batches)
    return count, resident() - before

files = sorted(Path(sys.argv[1]).glob("*.tfrecord"))
print(json.dumps([growth(), growth(cache=True)]))
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A folder with 415 MB of videos."""
    folder, random = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    payloads = []
    for number in range(VIDEOS_A_SHARD):
        frames = random.integers(0, 256, (FRAMES, YOUTUBE8M.size), np.uint8)
        payloads.append(serialise_video(Video(f"v{number}", np.array([0]), frames=frames), YOUTUBE8M))
    for shard in range(SHARDS):
        write_records(folder / f"train{shard:02}.tfrecord", payloads)
    return folder


def test_an_epoch_over_more_than_its_buffers_hold_takes_no_more_memory(shards):
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(shards)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (count, bounded), (_, cached) = json.loads(done.stdout)
    assert count == SHARDS * VIDEOS_A_SHARD
    # 32 videos in the shuffle and a few on the way are 20 MB; allocators keep some of what they were given back.
    assert bounded < 120
    assert cached > 250  # and this is what it looks like when all records stay
