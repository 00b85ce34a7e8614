"""A delta that follows the live store says what one made from nothing says, whatever happened to the store."""

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.index.live.columns import BLOCK, Columns
from segsearch.service.index.live.delta import Delta, LiveDelta, plain_delta
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import BUNDLE, CLASSES, OTHER, SPACE, codes_of, frames_of

IDS = "abcdef"
steps = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(IDS), st.integers(1, 23), st.sampled_from((BUNDLE, BUNDLE, OTHER))),
    st.tuples(st.just("delete"), st.sampled_from(IDS)),
    st.tuples(st.just("add codes")),
    st.tuples(st.just("look")),
)


def take(store, step):
    """Does one step."""
    match step:
        case ("put", video_id, frame_count, bundle):
            codes = codes_of(frame_count, bundle, frame_count)
            store.put(video_id, frames_of(frame_count, frame_count), {bundle: codes})
        case ("delete", video_id):
            store.delete(video_id)
        case ("add codes",):
            scored = {v.video_id: (v.sequence, codes_of(len(v.frames), BUNDLE, len(v.frames))) for v in store.videos()}
            store.add_codes(BUNDLE, scored)


def live_part(delta):
    """What is alive, dense: codes, starts, uploads, and the id of each segment."""
    ids = [delta.ids[video] for video in delta.videos[delta.alive].tolist()]
    columns = [array[delta.alive].tolist() for array in (delta.starts, delta.uploads)]
    return delta.codes[:, delta.alive].tolist(), columns, ids


quickly = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@quickly
@given(st.lists(steps, max_size=25))
def test_following_equals_building_from_nothing(taken):
    with tempfile.TemporaryDirectory() as folder, LiveStore.open(Path(folder), SPACE, map_bytes=16 << 20) as store:
        follower = LiveDelta(store, BUNDLE, class_count=CLASSES)
        for step in taken:
            take(store, step)
            if step[0] == "look":
                follower.current()
        followed, plain = follower.current(), plain_delta(store.changes(0, BUNDLE), store.sequence, CLASSES)
        assert live_part(followed) == live_part(plain)
        assert (followed.sequence, set(followed.changed)) == (plain.sequence, set(plain.changed))
        assert len(followed.changed) == len(plain.changed)
        assert all(video_id in followed.changed for video_id in plain.changed)
        assert 3 * (~followed.alive).sum() <= len(followed.alive)


@quickly
@given(st.lists(steps, max_size=25))
def test_a_delta_that_was_given_out_never_changes(taken):
    with tempfile.TemporaryDirectory() as folder, LiveStore.open(Path(folder), SPACE, map_bytes=16 << 20) as store:
        follower = LiveDelta(store, BUNDLE, class_count=CLASSES)
        held = []
        for step in taken:
            take(store, step)
            delta = follower.current()
            held.append((delta, frozen(delta)))
        for delta, before in held:
            assert frozen(delta) == before


def frozen(delta):
    arrays = [array.tolist() for array in (delta.codes, delta.alive, delta.videos, delta.starts, delta.uploads)]
    return delta.sequence, arrays, list(delta.ids), list(delta.changed), len(delta.changed)


blocks = st.tuples(st.lists(st.integers(1, 2 * BLOCK), max_size=6), st.integers(0, 2**31))


@quickly
@given(blocks, st.sampled_from((0, 1, 3)))
def test_segments_that_reach_a_score_are_found_block_by_block_as_by_looking_at_all(made, dropped):
    lengths, seed = made
    random = np.random.default_rng(seed)
    columns, given_out = Columns(2), []
    for video, length in enumerate(lengths):
        # Few codes, most of them low, so that some blocks hold none that reaches.
        columns.append(video, video + 1, random.choice(9, (length, 2), p=[0.6, *[0.05] * 8]).astype(np.uint16))
        given_out.append(delta_of(columns, random))
        if video == dropped:
            columns = columns.only(given_out[-1].alive)
    for delta in [*given_out, delta_of(columns, random)]:
        plain = replace(delta, tops=None)
        for ordinal, lowest in itertools.product((ClassOrdinal(0), ClassOrdinal(1)), range(10)):
            assert delta.reaching(ordinal, lowest).tolist() == plain.reaching(ordinal, lowest).tolist()


def delta_of(columns, random):
    """What the columns hold now, some of them dead."""
    alive = random.random(columns.count) < 0.9
    shown = (columns.codes, alive, columns.videos, columns.starts, columns.uploads)
    return Delta(0, *shown, [], frozenset(), tops=columns.tops)
