"""How a delta follows: cheaply, without copying what is there, and without waiting for a switch to lose nothing."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from segsearch.core.errors import LiveStoreCorrupt
from segsearch.service.index.live.delta import Delta, LiveDelta
from segsearch.service.index.live.store import LiveStore
from tests.conftest import ROOT
from tests.live_videos import BUNDLE, CLASSES, OTHER, SPACE, codes_of, frames_of


@pytest.fixture
def store(tmp_path):
    with LiveStore.open(tmp_path, SPACE) as opened:
        yield opened


@pytest.fixture
def follower(store):
    return LiveDelta(store, BUNDLE, class_count=CLASSES)


def put(store, video_id, seed=0, bundle=BUNDLE, frame_count=12):
    return store.put(video_id, frames_of(seed, frame_count), {bundle: codes_of(seed, bundle, frame_count)}).sequence


def test_an_empty_delta_has_a_row_for_each_class(follower):
    for delta in (follower.current(), Delta.empty(CLASSES)):
        assert (delta.codes.shape, len(delta.alive), len(delta.ids), list(delta.changed)) == ((CLASSES, 0), 0, 0, [])


def test_one_class_is_one_contiguous_row(store, follower):
    put(store, "a", 1)
    put(store, "b", 2)
    delta = follower.current()
    np.testing.assert_array_equal(delta.codes, np.concatenate([codes_of(1, BUNDLE), codes_of(2, BUNDLE)]).T)
    assert delta.codes[3].flags.c_contiguous
    assert [delta.ids[video] for video in delta.videos] == ["a"] * 3 + ["b"] * 3
    assert delta.starts.tolist() == [0, 5, 10, 0, 5, 10]


def test_nothing_new_gives_the_same_delta(store, follower):
    put(store, "a")
    assert follower.current() is follower.current()


def test_an_upload_is_appended_and_nothing_is_copied(store, follower):
    put(store, "a")
    before = follower.current()
    put(store, "b")
    after = follower.current()
    assert np.shares_memory(before.codes, after.codes)
    assert (before.codes.shape[1], after.codes.shape[1]) == (3, 6)
    assert ("b" in before.changed, "b" in after.changed, list(before.changed)) == (False, True, ["a"])


def test_a_replaced_video_is_dead_and_comes_again_behind_the_others(store, follower):
    for seed, video_id in enumerate("abcd"):
        put(store, video_id, seed)
    follower.current()
    put(store, "b", 9)
    delta = follower.current()
    assert delta.alive.tolist() == [True] * 3 + [False] * 3 + [True] * 9
    np.testing.assert_array_equal(delta.codes[:, -3:].T, codes_of(9, BUNDLE))


def test_more_dead_than_a_third_are_dropped(store, follower):
    for video_id in "abc":
        put(store, video_id)
    before = follower.current()
    store.delete("a")
    assert len(follower.current().alive) == 9
    store.delete("b")
    after = follower.current()
    assert (after.alive.tolist(), list(after.ids), after.videos.tolist()) == ([True] * 3, ["c"], [0, 0, 0])
    assert (list(after.changed), before.alive.all(), len(before.ids)) == (["a", "b", "c"], True, 3)


def test_codes_that_a_reindex_adds_later_are_followed(store, follower):
    sequence = put(store, "a", 1, OTHER)
    put(store, "b", 2)
    np.testing.assert_array_equal(follower.current().codes[:, :3].T, codes_of(1, OTHER))  # what there is stands in
    store.add_codes(BUNDLE, {"a": (sequence, codes_of(1, BUNDLE))})
    delta = follower.current()
    assert [delta.ids[video] for video in delta.videos] == ["a"] * 3 + ["b"] * 3
    np.testing.assert_array_equal(delta.codes[:, :3].T, codes_of(1, BUNDLE))


def test_a_delta_begins_behind_what_its_generation_holds(store):
    put(store, "a")
    put(store, "b")
    delta = LiveDelta(store, BUNDLE, 1, class_count=CLASSES).current()
    assert ([*delta.ids], [*delta.changed]) == (["b"], ["b"])


def test_codes_of_other_classes_are_refused_by_video(store, follower):
    store.put("wide", frames_of(0), {BUNDLE: codes_of(0, BUNDLE, classes=CLASSES + 1)})
    with pytest.raises(LiveStoreCorrupt, match="'wide': 31 classes, wanted 30"):
        follower.current()


def test_a_bundle_of_other_classes_does_not_stand_in(store, follower):
    sequence = store.put("a", frames_of(1), {OTHER: codes_of(1, OTHER, classes=CLASSES + 1)}).sequence
    put(store, "b", 2)
    assert ([*follower.current().ids], [*follower.current().changed]) == (["b"], ["a", "b"])
    store.add_codes(BUNDLE, {"a": (sequence, codes_of(1, BUNDLE))})
    assert [*follower.current().ids] == ["a", "b"]


def test_threads_that_follow_together_never_go_back(store, follower):
    wrong = []

    def look():
        last = 0
        while last < 60:
            delta = follower.current()
            whole = delta.alive.sum() == 3 * len(delta.changed) == 3 * delta.sequence
            if delta.sequence < last or not whole:
                wrong.append((last, delta.sequence))
                return
            last = delta.sequence

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(60):
        put(store, str(number), number)
    for thread in threads:
        thread.join()
    assert not wrong


def test_ids_are_a_sequence(store, follower):
    for video_id in "abc":
        put(store, video_id)
    ids = follower.current().ids
    put(store, "d")
    follower.current()
    assert (list(ids), ids[-1], list(ids[1:]), len(ids)) == (["a", "b", "c"], "c", ["b", "c"], 3)
    with pytest.raises(IndexError):
        ids[3]


def test_a_delta_is_at_hand_until_anybody_commits(store, follower, tmp_path):
    assert follower.at_hand() is None  # nobody has asked yet
    empty = follower.current()
    assert follower.at_hand() is empty
    command = [sys.executable, "-m", "tests.live_writer", tmp_path, "7", "1"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)  # another process
    assert follower.at_hand() is None
    assert follower.current().sequence == store.sequence > 0
    assert follower.at_hand() is follower.current()


def test_what_is_at_hand_holds_every_upload_that_was_answered(store, follower):
    """Others look while a commit is on its way to the disk: its number can be seen before it can be read."""
    stop = threading.Event()

    def look():
        while not stop.is_set():
            follower.current()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for seed in range(60):
            sequence = put(store, "a", seed)
            delta = follower.at_hand()
            assert delta is None or delta.sequence >= sequence
    finally:
        stop.set()
        looking.join()


def test_scores_that_come_later_give_the_same_sequence_another_revision(store, follower):
    sequence = put(store, "a", 1, OTHER)
    before = follower.current()
    store.add_codes(BUNDLE, {"a": (sequence, codes_of(1, BUNDLE))})
    after = follower.current()
    assert (before.sequence, before.revision < after.revision) == (after.sequence, True)
