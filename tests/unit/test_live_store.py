"""The live store by one process: what is put is there, once, as it was, and in order."""

import os
import subprocess
import sys

import numpy as np
import pytest

from segsearch.core.errors import FeatureSpaceMismatch, InvalidInput, LiveStoreCorrupt, StorageFailed
from segsearch.service.index.live.format import CHANGES, DATA_FILE, FORMAT_KEY, META
from segsearch.service.index.live.operations import content_digest
from segsearch.service.index.live.record import Draft, Kind, Record, RecordDamaged
from segsearch.service.index.live.snapshot import sequence_key
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import BUNDLE, OTHER, SPACE, codes_of, frames_of, put


@pytest.fixture
def store(tmp_path):
    with LiveStore.open(tmp_path / "live", SPACE) as opened:
        yield opened


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


def test_other_content_with_the_digest_of_what_is_stored_replaces_it(store):
    put(store, "a", 1, (BUNDLE, OTHER))
    sequence, forged = store.sequence, content_digest(frames_of(2))
    with store._environment.writing() as transaction:
        change = Draft.of(Kind.PUT, forged + b"a", *frames_of(1).shape).sealed(sequence_key(sequence), sequence)
        transaction.put(sequence_key(sequence), change, db=store._environment.tables[CHANGES])
    assert not put(store, "a", 2, (BUNDLE,)).unchanged
    np.testing.assert_array_equal(store.get("a").frames, frames_of(2))
    assert set(store.get("a").codes) == {BUNDLE}, "codes of frames that are gone"


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
            later = Draft.of(Kind.FORMAT, SPACE.encode(), rows=3).sealed(FORMAT_KEY, 0)
            transaction.put(FORMAT_KEY, later, db=store._environment.tables[META])
    content = (tmp_path / DATA_FILE).read_bytes()
    with pytest.raises(LiveStoreCorrupt, match="format version 3; this release reads up to 2"):
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
