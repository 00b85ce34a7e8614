"""The live store by one process: what is put is there, once, as it was, and in order."""

import os
import platform
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from segsearch.core.errors import FeatureSpaceMismatch, InvalidInput, LiveStoreCorrupt, StorageFailed
from segsearch.service.index.live.format import DATA_FILE, FORMAT_KEY, META
from segsearch.service.index.live.record import Draft, Kind, Record, RecordDamaged
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import BUNDLE, OTHER, SPACE, codes_of, frames_of


@pytest.fixture
def store(tmp_path):
    with LiveStore.open(tmp_path / "live", SPACE) as opened:
        yield opened


def put(store, video_id, seed=0, bundles=(BUNDLE,), frame_count=12):
    return store.put(
        video_id, frames_of(seed, frame_count), {bundle: codes_of(seed, bundle, frame_count) for bundle in bundles}
    )


def test_what_is_put_is_got_back(store):
    stored = put(store, "a", 1, (BUNDLE, OTHER))
    video = store.get("a")
    assert (stored.sequence, stored.unchanged, video.sequence, video.video_id) == (1, False, 1, "a")
    np.testing.assert_array_equal(video.frames, frames_of(1))
    assert set(video.codes) == {BUNDLE, OTHER}
    np.testing.assert_array_equal(video.codes[BUNDLE], codes_of(1, BUNDLE))
    np.testing.assert_array_equal(video.codes[OTHER], codes_of(1, OTHER))


def test_it_is_there_after_opening_again(tmp_path):
    with LiveStore.open(tmp_path, SPACE) as store:
        put(store, "a", 1)
        store.delete("b")
    with LiveStore.open(tmp_path, SPACE) as store:
        np.testing.assert_array_equal(store.get("a").frames, frames_of(1))
        assert [(change.video_id, change.deleted) for change in store.changes(0, BUNDLE)] == [("a", False), ("b", True)]
        assert put(store, "c").sequence == 3


def test_the_same_content_again_writes_nothing(store):
    first = put(store, "a", 1)
    before = store.counters()
    again = put(store, "a", 1)
    assert (again.sequence, again.unchanged, store.counters()) == (first.sequence, True, before)


def test_the_same_content_for_another_bundle_keeps_what_the_first_said(store):
    put(store, "a", 1, (BUNDLE,))
    assert put(store, "a", 1, (OTHER,)).sequence == 2
    assert set(store.get("a").codes) == {BUNDLE, OTHER}
    np.testing.assert_array_equal(store.get("a").codes[BUNDLE], codes_of(1, BUNDLE))


def test_other_content_replaces(store):
    put(store, "a", 1, (BUNDLE, OTHER))
    put(store, "b", 2)
    assert put(store, "a", 3, frame_count=7).sequence == 3
    np.testing.assert_array_equal(store.get("a").frames, frames_of(3, 7))
    assert set(store.get("a").codes) == {BUNDLE}, "codes of frames that are gone"
    assert [(change.sequence, change.video_id) for change in store.changes(0, BUNDLE)] == [(2, "b"), (3, "a")]
    assert [change.video_id for change in store.changes(2, BUNDLE)] == ["a"]


def test_frames_of_the_same_bytes_in_another_shape_are_other_content(store):
    store.put("a", np.zeros((10, 4), np.uint8), {})
    assert not store.put("a", np.zeros((5, 8), np.uint8), {}).unchanged


def test_delete_leaves_a_tombstone_once(store):
    put(store, "a")
    deleted = store.delete("a")
    assert (deleted.sequence, store.get("a"), store.sequence) == (2, None, 2)
    assert store.delete("a").unchanged
    assert store.delete("never seen").sequence == 3
    assert [(change.video_id, change.codes, change.deleted) for change in store.changes(0, BUNDLE)] == [
        ("a", None, True),
        ("never seen", None, True),
    ]


def test_deleted_content_can_be_put_again(store):
    put(store, "a", 1)
    store.delete("a")
    assert put(store, "a", 1).sequence == 3
    np.testing.assert_array_equal(store.get("a").frames, frames_of(1))


def test_videos_come_in_order_of_sequence_at_one_moment(store):
    for number, video_id in enumerate("abc"):
        put(store, video_id, number)
    store.delete("b")
    put(store, "a", 9)
    videos = store.videos()
    first = next(videos)
    put(store, "d")
    store.delete("a")
    assert [first.video_id, *(video.video_id for video in videos)] == ["c", "a"]
    assert [video.video_id for video in store.videos(after=5)] == ["d"]


def test_for_a_bundle_that_did_not_score_a_video_another_stands_in(store):
    put(store, "a", 1, (BUNDLE,))
    for bundle, lacking in ((BUNDLE, False), (OTHER, True)):
        (change,) = store.changes(0, bundle)
        np.testing.assert_array_equal(change.codes, codes_of(1, BUNDLE))
        assert (change.lacking, change.deleted) == (lacking, False)


def test_codes_are_added_to_videos_that_did_not_change_meanwhile(store):
    sequences = {video_id: put(store, video_id, 1).sequence for video_id in "abcd"}
    put(store, "b", 2)
    store.delete("c")
    before = store.counters()
    store.add_codes(OTHER, {video_id: (sequence, codes_of(1, OTHER)) for video_id, sequence in sequences.items()})
    assert {video.video_id: set(video.codes) for video in store.videos()} == {
        "a": {BUNDLE, OTHER},
        "b": {BUNDLE},
        "d": {BUNDLE, OTHER},
    }
    after = store.counters()
    assert (after.sequence, after.revision > before.revision) == (before.sequence, True)


def test_added_codes_must_have_the_videos_segments(store):
    sequences = [put(store, video_id, frame_count=12).sequence for video_id in "ab"]
    codes = {"a": (sequences[0], codes_of(0, OTHER, 12)), "b": (sequences[1], codes_of(0, OTHER, 20))}
    with pytest.raises(InvalidInput, match="4 segments; wanted 3 as video 'b' has"):
        store.add_codes(OTHER, codes)
    assert OTHER not in store.get("a").codes


def test_the_last_commit_is_the_one_that_a_reader_sees_whichever_process_made_it(tmp_path):
    program = """
import sys
from pathlib import Path
from segsearch.service.index.live.store import LiveStore
with LiveStore.open(Path(sys.argv[1]), sys.argv[2]) as store:
    store.delete("by another")
"""
    with LiveStore.open(tmp_path, SPACE) as store:
        numbers = [store.last_commit()]
        for number in range(5):
            put(store, f"v{number}", number)
            numbers.append(store.last_commit())
            assert numbers[-1] == store.read_commit()[0]
        subprocess.run([sys.executable, "-c", program, tmp_path, SPACE], check=True)
        numbers.append(store.last_commit())
        assert numbers[-1] == store.read_commit()[0]
        assert numbers == sorted(set(numbers))


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


def test_a_commit_writes_no_more_than_two_megabytes_of_uploads(store):
    frames = np.zeros((450, 1_152), np.uint8)
    with store._environment.writing():  # the first upload is taken meanwhile, the others wait
        threads = [threading.Thread(target=store.put, args=(video_id, frames, {})) for video_id in "abcdefghi"]
        for thread in threads:
            thread.start()
            thread.join(0.05)
    for thread in threads:
        thread.join()
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


@pytest.mark.parametrize(
    ("video_id", "frames", "codes", "field"),
    [
        ("", frames_of(0), {}, "video id"),
        ("x" * 257, frames_of(0), {}, "video id"),
        ("\ud800", frames_of(0), {}, "video id"),
        ("a", frames_of(0).astype(np.float32), {}, "frames"),
        ("a", frames_of(0)[0], {}, "frames"),
        ("a", frames_of(0)[:0], {}, "frames"),
        ("a", frames_of(0), {BUNDLE: codes_of(0, BUNDLE).astype(np.int64)}, "codes"),
        ("a", frames_of(0), {BUNDLE: codes_of(0, BUNDLE)[1:]}, "codes"),
        ("a", frames_of(0), {"": codes_of(0, BUNDLE)}, "bundle"),
    ],
)
def test_an_upload_that_cannot_be_is_refused_by_field(store, video_id, frames, codes, field):
    with pytest.raises(InvalidInput, match=field):
        store.put(video_id, frames, codes)
    assert store.sequence == 0


def test_long_ids_of_many_bytes_are_stored(store):
    ids = ["\N{HUNDRED POINTS SYMBOL}" * 256, "\N{HUNDRED POINTS SYMBOL}" * 255]
    for seed, video_id in enumerate(ids):
        put(store, video_id, seed)
    assert [video.video_id for video in store.videos()] == ids
    np.testing.assert_array_equal(store.get(ids[0]).frames, frames_of(0))


def test_another_feature_space_is_refused(tmp_path):
    LiveStore.open(tmp_path, SPACE).close()
    with pytest.raises(FeatureSpaceMismatch, match="live store"):
        LiveStore.open(tmp_path, "another")
    LiveStore.open(tmp_path, SPACE).close()


def test_a_later_format_is_refused_untouched(tmp_path):
    with LiveStore.open(tmp_path, SPACE) as store:
        put(store, "a")
        with store._environment.writing() as transaction:
            later = Draft.of(Kind.FORMAT, SPACE.encode(), rows=2).sealed(FORMAT_KEY, 0)
            transaction.put(FORMAT_KEY, later, db=store._environment.tables[META])
    content = (tmp_path / DATA_FILE).read_bytes()
    with pytest.raises(LiveStoreCorrupt, match="format version 2; this release reads 1"):
        LiveStore.open(tmp_path, SPACE)
    assert (tmp_path / DATA_FILE).read_bytes() == content


def test_a_store_that_is_not_there_is_not_made_by_a_reader(tmp_path):
    with pytest.raises(StorageFailed, match=DATA_FILE):
        LiveStore.open(tmp_path / "none", SPACE, readonly=True)
    assert not (tmp_path / "none").exists()


def test_a_reader_cannot_write(tmp_path):
    LiveStore.open(tmp_path, SPACE).close()
    with LiveStore.open(tmp_path, SPACE, readonly=True) as store, pytest.raises(StorageFailed):
        put(store, "a")


def test_a_closed_store_stores_nothing(tmp_path):
    store = LiveStore.open(tmp_path, SPACE)
    store.close()
    with pytest.raises(StorageFailed):
        put(store, "a")


@pytest.mark.usefixtures("store")
def test_a_directory_is_opened_once_in_a_process(tmp_path):
    with pytest.raises(StorageFailed, match="already open"):
        LiveStore.open(tmp_path / "live", SPACE)


@pytest.mark.parametrize("place", range(60))
def test_a_flipped_bit_anywhere_in_a_record_is_found(place):
    codes = codes_of(1, BUNDLE, 5)[:, :7]
    value = bytearray(Draft.of_array(Kind.CODES, codes, codes.dtype).sealed(b"key", 5))
    np.testing.assert_array_equal(Record.opened(bytes(value), b"key", Kind.CODES).array(codes.dtype), codes)
    value[place % len(value)] ^= 1 << place % 8
    with pytest.raises(RecordDamaged):
        Record.opened(bytes(value), b"key", Kind.CODES).array(codes.dtype)


def test_a_record_under_another_key_is_damaged():
    value = bytes(Draft.of(Kind.DELETED, b"a").sealed(b"key", 5))
    with pytest.raises(RecordDamaged):
        Record.opened(value, b"kez", Kind.DELETED)


def test_after_a_fork_the_parents_store_is_refused(store):
    put(store, "a")  # a thread of the parent writes now
    child = os.fork()
    if not child:
        refused = [_is_refused(lambda: store.sequence), _is_refused(lambda: store.delete("a"))]
        store.close()
        os._exit(0 if all(refused) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.sequence == 1


def _is_refused(call):
    try:
        call()
    except RuntimeError:
        return True
    return False


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
