"""Uploads of many threads: committed together, each answered for itself, and in the memory of those before."""

import errno
import platform
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from segsearch.core.errors import StorageFailed
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import BUNDLE, SPACE, codes_of, frames_of, put


@pytest.fixture
def store(tmp_path):
    with LiveStore.open(tmp_path / "live", SPACE) as opened:
        yield opened


def test_concurrent_uploads_share_commits(store):
    count = 64
    before, gate = store.counters().revision, threading.Barrier(16)
    sequences = []

    def upload(thread):
        gate.wait()
        for number in range(count // 16):
            sequences.append(put(store, f"{thread}-{number}", thread).sequence)

    threads = [threading.Thread(target=upload, args=(thread,)) for thread in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sequences) == list(range(1, count + 1))
    assert store.counters().revision - before < count
    assert len(list(store.videos())) == count


def handed_in_during_a_commit(store, put_one, video_ids):
    with store._environment.writing():  # the first upload is taken meanwhile, the others wait
        threads = [threading.Thread(target=put_one, args=(video_id,)) for video_id in video_ids]
        for thread in threads:
            thread.start()
            thread.join(0.05)
    for thread in threads:
        thread.join()


def test_long_arrays_are_no_part_of_a_commit(store):
    frames = np.zeros((450, 1_152), np.uint8)
    handed_in_during_a_commit(store, lambda video_id: store.put(video_id, frames, {}), "abcdefghi")
    assert (store.sequence, store.counters().revision) == (9, 2)


def test_of_uploads_in_one_commit_those_are_refused_whose_value_file_cannot_be_synced(store):
    outcomes = {}

    def upload(video_id):
        try:
            outcomes[video_id] = store.put(video_id, np.zeros((450, 1_152), np.uint8), {}).sequence
        except StorageFailed as error:
            outcomes[video_id] = error.code

    with store._environment.writing():  # the first upload is taken and synced meanwhile, the others wait
        threads = [threading.Thread(target=upload, args=(video_id,)) for video_id in "abc"]
        for thread in threads:
            thread.start()
            thread.join(0.2)
            if thread is threads[1]:
                store._environment.values._current.failure = errno.EIO, "as a disk may say"  # the third has another
    for thread in threads:
        thread.join()
    assert outcomes == {"a": 1, "b": "storage-failed", "c": 2}
    assert store.get("b") is None
    store.verify()


def test_a_commit_writes_no_more_than_two_megabytes_of_short_arrays(store):
    codes = {f"bundle {number}": np.zeros((1, 8_000), np.uint16) for number in range(32)}  # 512 KB of an upload
    handed_in_during_a_commit(store, lambda video_id: store.put(video_id, frames_of(0, 5), codes), "abcdefghi")
    assert (store.sequence, store.counters().revision) == (9, 3)


def test_one_upload_that_fails_does_not_fail_its_neighbours(tmp_path):
    frames, codes = frames_of(0), {BUNDLE: codes_of(0, BUNDLE)}
    with LiveStore.open(tmp_path, SPACE, map_bytes=2 << 20) as store:
        outcomes = {}

        def upload(video_id, content):
            try:
                outcomes[video_id] = store.put(video_id, content, codes if content is frames else {}).unchanged
            except StorageFailed as error:
                outcomes[video_id] = error.code

        # While this transaction is open no commit starts, so that what follows is handed in for one.
        with store._environment.writing():
            threads = [threading.Thread(target=upload, args=(f"v{number}", frames)) for number in range(5)]
            threads.insert(2, threading.Thread(target=upload, args=("huge", np.zeros((1_300, 1_152), np.uint8))))
            for thread in threads:
                thread.start()
                thread.join(0.05)
        for thread in threads:
            thread.join()
        assert outcomes == {"huge": "storage-full", **{f"v{number}": False for number in range(5)}}
        assert [video.video_id for video in store.videos()] == [f"v{number}" for number in range(5)]


def test_an_interrupted_caller_blocks_nobody_and_its_upload_is_not_cut(store):
    def interrupt(*_):
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with store._environment.writing():  # no commit starts meanwhile
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(InterruptedError):
                put(store, "a")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert put(store, "b").sequence == 2
    assert [video.video_id for video in store.videos()] == ["a", "b"]


def test_closing_waits_for_what_was_handed_in(tmp_path):
    store, answers = LiveStore.open(tmp_path, SPACE), {}

    def upload(video_id):
        answers[video_id] = put(store, video_id).sequence

    held = store._environment._lmdb.begin(write=True)  # no commit starts meanwhile
    threads = [threading.Thread(target=upload, args=(video_id,)) for video_id in "abcd"]
    threads.append(threading.Thread(target=store.close))
    for thread in threads:
        thread.start()
        thread.join(0.05)
    assert not answers
    held.abort()
    for thread in threads:
        thread.join()
    with LiveStore.open(tmp_path, SPACE) as again:
        assert {video.video_id: video.sequence for video in again.videos()} == answers
    assert sorted(answers) == ["a", "b", "c", "d"]


def test_a_process_that_never_closes_its_store_ends(tmp_path):
    put_and_end = (
        "import sys, numpy as np; from pathlib import Path; from segsearch.service.index.live.store import LiveStore\n"
        "store = LiveStore.open(Path(sys.argv[1]), sys.argv[2]); store.put('a', np.zeros((5, 1), np.uint8), {})"
    )
    subprocess.run([sys.executable, "-c", put_and_end, str(tmp_path), SPACE], check=True, timeout=60)
    with LiveStore.open(tmp_path, SPACE) as store:
        assert store.sequence == 1


# 16 threads upload for a while; says how many pages of memory the kernel had to map for one upload, once it is warm.
MAPPED = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from segsearch.service.index.live.store import LiveStore

frames, codes = np.zeros((300, 1152), np.uint8), np.zeros((60, 1000), np.uint16)
with LiveStore.open(Path(sys.argv[1]), "space") as store, ThreadPoolExecutor(16) as pool:
    def upload(numbers):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        list(pool.map(lambda number: store.put(str(number), frames, {"bundle": codes}), numbers))
        return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / len(numbers)
    upload(range(64))
    print(upload(range(64, 192)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep memory by rules of their own")
def test_uploads_of_many_threads_use_the_memory_of_those_before(tmp_path):
    done = subprocess.run([sys.executable, "-c", MAPPED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 25, "an upload fills 114 pages"
