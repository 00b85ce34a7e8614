"""The line between two processes: either may call the other, and nobody waits for one that is gone."""

import socket
import threading
from collections.abc import Iterator

import pytest

from segsearch.service.processes.link import Link, LinkEnded

WAIT_S = 30


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    joined = socket.socketpair()
    yield joined
    for end in joined:
        end.close()


def nothing() -> None:
    """What most links do when they end."""


def test_either_end_may_call_the_other_also_while_it_answers_itself(ends):
    links: list[Link] = []
    links.append(Link(ends[0], {"double": lambda number: 2 * number}, nothing))
    links.append(Link(ends[1], {"four_times": lambda number: 2 * links[1].call("double", number)}, nothing))
    answers = [links[0].begin("four_times", number) for number in range(20)]
    assert [answer.result(WAIT_S) for answer in answers] == [4 * number for number in range(20)]


def test_a_bug_at_the_other_end_is_told_in_its_words(ends):
    caller = Link(ends[0], {}, nothing)
    Link(ends[1], {"divide": lambda number: 1 // number}, nothing)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        caller.call("divide", 0)
    assert caller.call("divide", 1) == 1


def test_calls_fail_once_the_other_end_is_gone_those_that_wait_and_those_that_come_later(ends):
    ended, never = threading.Event(), threading.Event()
    caller = Link(ends[0], {}, ended.set)
    Link(ends[1], {"wait": lambda: never.wait(WAIT_S)}, nothing)
    waiting = caller.begin("wait")
    ends[1].shutdown(socket.SHUT_RDWR)  # as the system does for a process that dies
    with pytest.raises(LinkEnded):
        waiting.result(WAIT_S)
    assert ended.wait(WAIT_S)
    with pytest.raises(LinkEnded):
        caller.call("wait")
    never.set()
