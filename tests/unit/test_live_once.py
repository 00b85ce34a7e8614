"""Changes of the live store that have a name: done once, whoever repeats them, and told what came of it."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from segsearch.core.errors import IdempotencyKeyReused, LiveStoreCorrupt, StorageFull
from segsearch.service.index.live.format import DONE_PREFIX, META, done_key
from segsearch.service.index.live.once import KEPT_S
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import BUNDLE, SPACE, codes_of, frames_of, name_of, put
from tests.unit.test_group_commit import handed_in_during_a_commit

NOW_S = 1_800_000_000


@pytest.fixture
def store(tmp_path):
    with LiveStore.open(tmp_path / "live", SPACE) as opened:
        yield opened


def put_once(store, video_id, content, called, **asked):
    return store.put(video_id, frames_of(content), {BUNDLE: codes_of(content, BUNDLE)}, name_of(called, **asked))


def names_in(store) -> int:
    with store._snapshot() as snapshot:
        return sum(1 for _ in snapshot.items(META, DONE_PREFIX))


def test_an_upload_that_is_repeated_does_not_take_the_place_of_a_later_one(store):
    first = put_once(store, "a", 1, "k")
    later = put(store, "a", 2)
    before = store.counters()
    assert put_once(store, "a", 1, "k") == first
    assert (store.get("a").sequence, store.counters()) == (later.sequence, before)


def test_a_deletion_that_is_repeated_does_not_delete_a_later_upload(store):
    put(store, "a", 1)
    first = store.delete("a", name_of("k"))
    put(store, "a", 1)
    assert store.delete("a", name_of("k")) == first
    assert store.get("a") is not None


def test_it_is_known_after_opening_again_and_to_another_store_object_of_the_directory(tmp_path):
    with LiveStore.open(tmp_path, SPACE) as store:
        first = put_once(store, "a", 1, "k")
        put(store, "a", 2)
    with LiveStore.open(tmp_path, SPACE) as store:
        assert store.first_answer(name_of("k")) == first
        assert put_once(store, "a", 1, "k") == first
        store.verify()


def test_what_was_unchanged_is_remembered_as_that(store):
    put(store, "a", 1)
    assert put_once(store, "a", 1, "k").unchanged
    put(store, "a", 2)
    assert put_once(store, "a", 1, "k").unchanged
    assert store.get("a").sequence == 2


def test_a_name_that_comes_with_another_request_is_refused_and_nothing_is_stored(store):
    put_once(store, "a", 1, "k")
    with pytest.raises(IdempotencyKeyReused, match="header: it came before"):
        put_once(store, "b", 2, "k", request="another")
    with pytest.raises(IdempotencyKeyReused):
        store.delete("a", name_of("k", "another"))
    assert (store.sequence, store.get("b")) == (1, None)


def test_of_many_at_once_one_is_done(store):
    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(lambda _: put_once(store, "a", 1, "k"), range(32)))
    assert (len(answers), store.sequence) == (1, 1)


def test_of_two_requests_by_one_name_in_one_commit_one_is_refused_and_its_neighbours_are_stored(store):
    answers = {}

    def ask(number):
        try:
            answers[number] = put_once(store, f"v{number}", number, f"k{number // 2}", request=f"r{number}")
        except IdempotencyKeyReused:
            answers[number] = None

    handed_in_during_a_commit(store, ask, [8, 0, 2, 1, 4, 6])  # 8 is taken alone
    assert [answers[number] is None for number in (8, 0, 2, 1, 4, 6)] == [False, False, False, True, False, False]
    assert store.get("v1") is None
    store.verify()


def test_one_that_comes_twice_in_one_commit_is_done_once(store):
    answers = []
    handed_in_during_a_commit(store, lambda _: answers.append(store.delete("a", name_of("k"))), range(4))
    assert (len(answers), len(set(answers)), store.sequence) == (4, 1, 1)


def test_what_could_not_be_done_is_not_remembered(tmp_path):
    def upload(number):
        return store.put(f"v{number}", frames_of(1, 600), {}, name_of(number))

    def upload_until_full():
        for number in count():
            stored.append(number)
            upload(number)

    stored = []
    with LiveStore.open(tmp_path / "small", SPACE, map_bytes=6 << 20) as store:
        with pytest.raises(StorageFull):
            upload_until_full()
        refused = stored.pop()
        assert store.first_answer(name_of(refused)) is None
        for number in stored:
            store.delete(f"v{number}", name_of(f"delete {number}"))
        assert not upload(refused).unchanged
        assert store.get(f"v{refused}") is not None


def test_what_is_stored_already_is_noted_without_being_written_again(store):
    put(store, "a", 1, frame_count=700)
    before = store._environment.values.numbers()
    held = [(store._environment.values.folder / f"{number:016x}").stat().st_size for number in before]
    assert store.put("a", frames_of(1, 700), {BUNDLE: codes_of(1, BUNDLE, 700)}, name_of("k")).unchanged
    assert [(store._environment.values.folder / f"{number:016x}").stat().st_size for number in before] == held
    put(store, "a", 2)
    assert store.put("a", frames_of(1, 700), {BUNDLE: codes_of(1, BUNDLE, 700)}, name_of("k")).unchanged
    assert store.get("a").sequence == 2


def test_after_a_day_a_name_is_free_again(store):
    put_once(store, "a", 1, "k")
    assert store.first_answer(name_of("k", at_s=NOW_S + KEPT_S - 1)) is not None
    assert put_once(store, "a", 2, "k", request="another", at_s=NOW_S + KEPT_S).sequence == 2
    with pytest.raises(IdempotencyKeyReused):
        put_once(store, "a", 1, "k", at_s=NOW_S + KEPT_S)


def test_a_clock_that_was_set_back_forgets_nothing(store):
    first = put_once(store, "a", 1, "k")
    assert store.first_answer(name_of("k", at_s=NOW_S - 10 * KEPT_S)) == first


def test_old_names_go_as_new_ones_come(store):
    for number in range(400):
        store.delete(f"v{number}", name_of(f"old{number}"))
    for number in range(800):
        store.delete(f"v{number}", name_of(f"new{number}", at_s=NOW_S + KEPT_S))
    assert all(store.first_answer(name_of(f"new{number}", at_s=NOW_S + KEPT_S)) for number in range(800))
    assert 800 <= names_in(store) < 800 + 100


def test_what_a_busy_day_left_goes_with_the_first_of_a_quiet_one(store):
    for number in range(1_000):
        store.delete(f"v{number}", name_of(f"old{number}"))
    for number in range(60):  # each looks at some from a random place on: one in eight of the old ones
        store.delete(f"v{number}", name_of(f"new{number}", at_s=NOW_S + KEPT_S))
    assert names_in(store) < 60 + 150


def test_a_damaged_note_is_found_and_in_nobody_elses_way(store):
    put_once(store, "a", 1, "k")
    with store._environment.writing() as transaction:
        table = store._environment.tables[META]
        value = bytearray(transaction.get(done_key(name_of("k").digest), db=table))
        value[-1] ^= 1
        transaction.put(done_key(name_of("k").digest), bytes(value), db=table)
    with pytest.raises(LiveStoreCorrupt, match="done/"):
        put_once(store, "a", 1, "k")
    with pytest.raises(LiveStoreCorrupt, match="done/"):
        store.verify()
    for number in range(20):
        put_once(store, f"v{number}", number, f"other{number}", at_s=NOW_S + 2 * KEPT_S)
