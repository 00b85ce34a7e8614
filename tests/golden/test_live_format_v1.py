"""A live store written by format version 1: every later release must open it, find the same, and go on in it.

`live_format_v1/` was made by that release out of `tests.live_videos`: videos `short` (seed 1, scored by two bundles),
`long` (seed 3, 700 frames, which lie in LMDB's file), `replaced` (seed 5, before that seed 2) and `gone`, deleted. It
is never written again.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from segsearch.service.index.live.format import VALUES_FOLDER
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import BUNDLE, OTHER, SPACE, codes_of, frames_of, put

STORED = {"long": (3, 700), "short": (1, 12), "replaced": (5, 12)}


@pytest.fixture
def directory(tmp_path):
    """A copy, as LMDB writes its locks beside what it opens."""
    return shutil.copytree(Path(__file__).parent / "live_format_v1", tmp_path / "live")


def check(store):
    store.verify()
    for video_id, (seed, frame_count) in STORED.items():
        video = store.get(video_id)
        np.testing.assert_array_equal(video.frames, frames_of(seed, frame_count))
        np.testing.assert_array_equal(video.codes[BUNDLE], codes_of(seed, BUNDLE, frame_count))
    assert set(store.get("short").codes) == {BUNDLE, OTHER}


def version(store):
    with store._snapshot() as snapshot:
        return snapshot.format()[0]


@pytest.mark.parametrize("readonly", [True, False])
def test_a_live_store_of_format_1_opens_as_it_is(directory, readonly):
    with LiveStore.open(directory, SPACE, readonly=readonly) as store:
        check(store)
        changes = [(change.sequence, change.video_id, change.deleted) for change in store.changes(0, BUNDLE)]
        assert changes == [(1, "short", False), (3, "long", False), (5, "gone", True), (6, "replaced", False)]
        assert version(store) == 1


def test_a_live_store_of_format_1_stays_one_until_a_long_array_comes(directory):
    with LiveStore.open(directory, SPACE) as store:
        assert put(store, "long", 3, frame_count=700).unchanged
        put(store, "new", 7)
        assert (version(store), (directory / VALUES_FOLDER).exists()) == (1, False)
        put(store, "new and long", 8, frame_count=700)
        assert version(store) == 2
    with LiveStore.open(directory, SPACE) as store:
        check(store)
        np.testing.assert_array_equal(store.get("new and long").frames, frames_of(8, 700))


def test_what_format_1_wrote_can_be_replaced_and_deleted(directory):
    with LiveStore.open(directory, SPACE) as store:
        put(store, "long", 9, frame_count=700)
        store.delete("short")
        store.verify()
        np.testing.assert_array_equal(store.get("long").frames, frames_of(9, 700))
        assert store.get("short") is None
