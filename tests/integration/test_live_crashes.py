"""What was acknowledged survives kill -9 at any moment, whole; what was not is there whole or not at all."""

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from segsearch.service.index.live.store import LiveStore
from tests.conftest import ROOT
from tests.live_videos import BUNDLE, OTHER, SPACE, codes_of, frame_count_of, frames_of, name_of, some_name_of


def start_writer(directory, seed, *count):
    words = [sys.executable, "-m", "tests.live_writer", str(directory), str(seed), *map(str, count)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE)


def killed_at_random(directory, seed, chance):
    """Lines of a writer that was killed, now and then while it still opens the store."""
    writer = start_writer(directory, seed)
    lines = []
    if chance.random() < 0.8:
        lines += [writer.stdout.readline() for _ in range(chance.randrange(1, 80))]
        time.sleep(chance.uniform(0, 0.02))
    else:
        time.sleep(chance.uniform(0.1, 1.0))
    writer.send_signal(signal.SIGKILL)
    lines += writer.communicate()[0].splitlines(keepends=True)
    return [line.decode().split() for line in lines if line.endswith(b"\n")]


def last_acknowledged(lines, known):
    """Brings `known`, id -> (sequence, seed or None), up to date."""
    for word, video_id, seed, sequence in (line for line in lines if line[0] in ("put", "del")):
        if int(sequence) >= known.get(video_id, (0, None))[0]:
            known[video_id] = int(sequence), None if word == "del" else int(seed)


def check(store, known, tried):
    """Every acknowledged change is there, or a later one of which all is there; returns the videos."""
    store.verify()
    entries = {change.video_id: change for change in store.changes(0, BUNDLE)}
    for video_id, (sequence, seed) in known.items():
        assert entries[video_id].sequence >= sequence, f"acknowledged change {sequence} of {video_id} is lost"
        if entries[video_id].sequence == sequence:
            assert entries[video_id].deleted == (seed is None)
    for video in store.videos():
        sequence, seed = known.get(video.video_id, (0, None))
        seeds = [seed] if sequence == video.sequence else tried[video.video_id]
        assert any(is_whole(video, seed) for seed in seeds), f"{video.video_id} is not what was uploaded"


def check_names(store, lines):
    """What was acknowledged by a name would not be done again; what was not is there with its name, or not at all."""
    acknowledged = {int(line[2]): int(line[3]) for line in lines if line[0] == "put"}
    for video_id, seed in ((line[1], int(line[2])) for line in lines if line[0] == "try"):
        noted, entry = store.first_answer(name_of(seed)), store.get(video_id)
        if some_name_of(seed) is not None and seed in acknowledged:
            assert noted.sequence == acknowledged[seed]
        elif entry is not None and is_whole(entry, seed):
            assert (noted is None) == (some_name_of(seed) is None)


def is_whole(video, seed):
    frame_count = frame_count_of(seed)
    return np.array_equal(video.frames, frames_of(seed, frame_count)) and all(
        np.array_equal(video.codes[bundle], codes_of(seed, bundle, frame_count)) for bundle in (BUNDLE, OTHER)
    )


def kill_again_and_again(directory, kills):
    seed_of_all = random.randrange(1 << 30)
    print(f"seed {seed_of_all}")  # shown where the test fails
    chance = random.Random(seed_of_all)
    known, tried, acknowledged = {}, {}, 0
    for round_number in range(kills):
        lines = killed_at_random(directory, (round_number + 1) << 20, chance)
        for words in lines:
            if words[0] == "try":
                tried.setdefault(words[1], []).append(int(words[2]))
        last_acknowledged(lines, known)
        acknowledged += sum(words[0] in ("put", "del") for words in lines)
        with LiveStore.open(directory, SPACE, map_bytes=256 << 20) as store:
            check(store, known, tried)
            check_names(store, lines)
            before = store.sequence
            assert before >= max((sequence for sequence, _ in known.values()), default=0)
            frame_count = frame_count_of(round_number)
            codes = {bundle: codes_of(round_number, bundle, frame_count) for bundle in (BUNDLE, OTHER)}
            known["between"] = store.put("between", frames_of(round_number, frame_count), codes).sequence, round_number
            assert known["between"][0] == before + 1
    return acknowledged


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path):
    assert kill_again_and_again(tmp_path, 20) > 100


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_by_200_kills(tmp_path):
    assert kill_again_and_again(tmp_path, 200) > 1_000


def test_two_writers_take_turns_and_a_killed_one_blocks_nobody(tmp_path):
    first, second = start_writer(tmp_path, 0), start_writer(tmp_path, 1 << 20, 10)
    lines = [line.decode().split() for line in second.communicate()[0].splitlines()]
    first.kill()
    killed = [line.decode().split() for line in first.communicate()[0].splitlines(keepends=True) if line[-1:] == b"\n"]
    done = [int(words[3]) for words in (*lines, *killed) if words[0] in ("put", "del")]
    with LiveStore.open(tmp_path, SPACE, map_bytes=256 << 20) as store:
        assert second.returncode == 0
        assert store.put("after", frames_of(1), {}).sequence > max(done)
        store.verify()
    puts = [int(words[3]) for words in (*lines, *killed) if words[0] == "put"]
    assert len(puts) == len(set(puts)), "one sequence number for two uploads"


READER = """
import sys
from pathlib import Path
from segsearch.service.index.live.delta import LiveDelta
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import BUNDLE, CLASSES, SPACE
with LiveStore.open(Path(sys.argv[1]), SPACE, readonly=True) as store:
    follower = LiveDelta(store, BUNDLE, class_count=CLASSES)
    print("ready", flush=True)
    for line in sys.stdin:
        delta = follower.current()
        print(store.sequence, delta.sequence, int(delta.codes[:, delta.alive].sum()), flush=True)
"""


def test_reader_processes_see_a_commit_at_once(tmp_path):
    with LiveStore.open(tmp_path, SPACE) as store:
        words = [sys.executable, "-c", READER, str(tmp_path)]
        readers = [
            subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        try:
            assert [reader.stdout.readline() for reader in readers] == ["ready\n"] * 3
            total = 0
            for seed in range(5):
                store.put(f"v{seed}", frames_of(seed), {BUNDLE: codes_of(seed, BUNDLE)})
                total += int(codes_of(seed, BUNDLE).astype(int).sum())
                for reader in readers:
                    print(file=reader.stdin, flush=True)
                assert {reader.stdout.readline() for reader in readers} == {f"{seed + 1} {seed + 1} {total}\n"}
        finally:
            for reader in readers:
                reader.communicate()
        assert [reader.returncode for reader in readers] == [0] * 3
