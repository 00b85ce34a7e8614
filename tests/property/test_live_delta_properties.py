"""A delta that follows the live store says what one made from nothing says, whatever happened to the store."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from segsearch.service.index.live.delta import LiveDelta, plain_delta
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import BUNDLE, CLASSES, OTHER, SPACE, codes_of, frames_of

IDS = "abcdef"
steps = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(IDS), st.integers(1, 23), st.sampled_from((BUNDLE, BUNDLE, OTHER))),
    st.tuples(st.just("delete"), st.sampled_from(IDS)),
    st.tuples(st.just("add codes")),
    st.tuples(st.just("fold"), st.integers(0, 9)),
    st.tuples(st.just("look")),
)


def take(store, step, generation):
    """Does one step; a fold takes what it drops into `generation`, a dict from id to codes."""
    match step:
        case ("put", video_id, frame_count, bundle):
            codes = codes_of(frame_count, bundle, frame_count)
            store.put(video_id, frames_of(frame_count, frame_count), {bundle: codes})
        case ("delete", video_id):
            store.delete(video_id)
        case ("add codes",):
            scored = {v.video_id: (v.sequence, codes_of(len(v.frames), BUNDLE, len(v.frames))) for v in store.videos()}
            store.add_codes(BUNDLE, scored)
        case ("fold", back):
            through = max(0, store.sequence - back)
            for change in store.changes(0, BUNDLE):
                if change.sequence <= through:
                    generation.pop(change.video_id, None)
                    if change.codes is not None:
                        generation[change.video_id] = change.codes
            store.fold(through)


def laid_over(delta, generation):
    """All that is found: codes by video id, the delta's instead of the generation's."""
    found = {video_id: codes.tolist() for video_id, codes in generation.items() if video_id not in delta.changed}
    for video in np.unique(delta.videos[delta.alive]).tolist():
        columns = delta.alive & (delta.videos == video)
        np.testing.assert_array_equal(delta.starts[columns], 5 * np.arange(columns.sum()))
        found[delta.ids[video]] = delta.codes[:, columns].T.tolist()
    return found


def live_part(delta):
    """What is alive, dense: codes, starts, and the id of each segment."""
    ids = [delta.ids[video] for video in delta.videos[delta.alive].tolist()]
    return delta.codes[:, delta.alive].tolist(), delta.starts[delta.alive].tolist(), ids


quickly = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quickly
@given(st.lists(steps.filter(lambda step: step[0] != "fold"), max_size=25))
def test_following_equals_building_from_nothing(taken):
    with tempfile.TemporaryDirectory() as folder, LiveStore.open(Path(folder), SPACE, map_bytes=16 << 20) as store:
        follower = LiveDelta(store, BUNDLE, class_count=CLASSES)
        for step in taken:
            take(store, step, {})
            if step[0] == "look":
                follower.current()
        followed, plain = follower.current(), plain_delta(store.changes(0, BUNDLE), store.sequence, CLASSES)
        assert live_part(followed) == live_part(plain)
        assert (followed.sequence, set(followed.changed)) == (plain.sequence, set(plain.changed))
        assert len(followed.changed) == len(plain.changed)
        assert all(video_id in followed.changed for video_id in plain.changed)
        assert 3 * (~followed.alive).sum() <= len(followed.alive)


@quickly
@given(st.lists(steps, max_size=30))
@example([("put", "a", 1, OTHER), ("look",), ("add codes",), ("fold", 0)])
def test_every_delta_is_right_over_a_generation_that_holds_what_it_wants(taken):
    """Whoever followed before a fold is right over the generation before it, too; a late one says which it needs."""
    with tempfile.TemporaryDirectory() as folder, LiveStore.open(Path(folder), SPACE, map_bytes=16 << 20) as store:
        generation, history = {}, [(0, {})]
        follower, late = (LiveDelta(store, BUNDLE, class_count=CLASSES) for _ in range(2))
        for step in taken:
            if step[0] == "look":
                late.current()
            follower.current()
            take(store, step, generation)
            if step[0] == "fold":
                history.append((store.counters().folded, dict(generation)))
        fresh = LiveDelta(store, BUNDLE, class_count=CLASSES).current()
        everything = laid_over(plain_delta(store.changes(0, BUNDLE), store.sequence, CLASSES), generation)
        for delta in (follower.current(), late.current(), fresh):
            for folded, older in history:
                if folded >= delta.folded:
                    assert laid_over(delta, older) == everything


@quickly
@given(st.lists(steps, max_size=25))
def test_a_delta_that_was_given_out_never_changes(taken):
    with tempfile.TemporaryDirectory() as folder, LiveStore.open(Path(folder), SPACE, map_bytes=16 << 20) as store:
        follower = LiveDelta(store, BUNDLE, class_count=CLASSES)
        held = []
        for step in taken:
            take(store, step, {})
            delta = follower.current()
            held.append((delta, frozen(delta)))
        for delta, before in held:
            assert frozen(delta) == before


def frozen(delta):
    arrays = [array.tolist() for array in (delta.codes, delta.alive, delta.videos, delta.starts)]
    return delta.sequence, delta.folded, arrays, list(delta.ids), list(delta.changed), len(delta.changed)
