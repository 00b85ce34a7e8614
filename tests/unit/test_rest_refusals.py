"""When those are refused who come again and again."""

import pytest

from segsearch.service.rest.refusals import LONGEST_S, PER_S, Refusals


def test_who_is_refused_now_and_then_does_not_wait():
    refusals = Refusals()
    assert [refusals.next_s(now) for now in (10.0, 11.0, 11.5)] == [10.0, 11.0, 11.5]


def test_those_who_come_together_are_refused_one_by_one():
    refusals = Refusals()
    assert [refusals.next_s(10.0) for _ in range(4)] == pytest.approx([10 + row / PER_S for row in range(4)])


def test_nobody_waits_longer_than_the_limit_and_a_crowd_is_soon_forgotten():
    refusals = Refusals()
    assert max(refusals.next_s(10.0) for _ in range(10_000)) == 10 + LONGEST_S
    assert refusals.next_s(10 + LONGEST_S + 1) == 10 + LONGEST_S + 1
