"""What is remembered of changes that came with an idempotency key, and for how long."""

import pytest

from segsearch.core.errors import IdempotencyKeyBusy, IdempotencyKeyReused
from segsearch.service.rest.idempotency import Remembered


class Clock:
    """Shows the time that it is set to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def remembered(clock):
    return Remembered(keep_s=10, shelf_bytes=4000, clock=clock)


def change(remembered, key, content=b"done", *, owner="anna", request=b"put a") -> tuple[bytes, bool]:
    """The answer to a change, and whether it was done now."""
    with remembered.once(owner, key, request) as attempt:
        done = attempt.content is None
        if done:
            attempt.content = content
    return attempt.content, done


def test_the_same_request_again_is_answered_and_not_done(remembered):
    assert [change(remembered, "k", content) for content in (b"one", b"two")] == [(b"one", True), (b"one", False)]


def test_without_a_key_each_request_is_done(remembered):
    assert [change(remembered, None, content) for content in (b"one", b"two")] == [(b"one", True), (b"two", True)]


def test_a_key_that_comes_with_another_request_is_refused_and_still_good_for_its_own(remembered):
    change(remembered, "k", b"one")
    with pytest.raises(IdempotencyKeyReused):
        change(remembered, "k", request=b"put b")
    assert change(remembered, "k") == (b"one", False)


def test_each_owner_has_keys_of_its_own(remembered):
    change(remembered, "k", b"anna's")
    assert change(remembered, "k", b"ben's", owner="ben", request=b"put b") == (b"ben's", True)
    assert change(remembered, "k") == (b"anna's", False)


def test_while_the_first_is_under_way_the_second_is_told_so(remembered):
    with remembered.once("anna", "k", b"put a") as attempt:
        with pytest.raises(IdempotencyKeyBusy):
            change(remembered, "k")
        with pytest.raises(IdempotencyKeyReused):
            change(remembered, "k", request=b"put b")
        attempt.content = b"first"
    assert change(remembered, "k") == (b"first", False)


def test_what_went_wrong_may_be_tried_again(remembered):
    with pytest.raises(OSError, match="disk"), remembered.once("anna", "k", b"put a"):
        raise OSError("disk")
    assert change(remembered, "k", b"now") == (b"now", True)
    assert change(remembered, "k") == (b"now", False)


def test_an_answer_is_forgotten_when_its_time_is_over(remembered, clock):
    change(remembered, "k", b"one")
    clock.now_s += 9
    change(remembered, "l", b"two")
    assert change(remembered, "k") == (b"one", False)
    clock.now_s += 1
    assert change(remembered, "k", b"again") == (b"again", True)
    assert change(remembered, "l") == (b"two", False)


def test_a_change_that_takes_longer_than_answers_are_kept_is_still_under_way(remembered, clock):
    with remembered.once("anna", "k", b"put a") as attempt:
        clock.now_s += 100
        with pytest.raises(IdempotencyKeyBusy):
            change(remembered, "k")
        attempt.content = b"late"


def test_the_oldest_answers_leave_where_room_ends_and_another_owners_stay(remembered):
    change(remembered, "k", bytes(1000), owner="ben")
    for key in "abcd":
        change(remembered, key, bytes(1000))
    assert [change(remembered, key, bytes(10))[1] for key in "dcba"] == [False, False, True, True]
    assert change(remembered, "k", owner="ben") == (bytes(1000), False)


def test_an_answer_beyond_all_room_is_not_kept(remembered):
    assert change(remembered, "k", bytes(4000))[1]
    assert change(remembered, "k", b"small") == (b"small", True)
