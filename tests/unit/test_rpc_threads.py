"""Threads whose runs may come back later."""

import time
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from segsearch.service.rpc.threads import Later, Threads

TIMEOUT_S = 30.0
NEVER_S = 1e6


@pytest.fixture
def threads() -> Iterator[Threads]:
    started = Threads(1)
    yield started
    started.shutdown(wait=True)


class Run:
    """Says `Later` the first time, and when it was run."""

    def __init__(self, wait_s: float):
        self.wait_s = wait_s
        self.begun: SimpleQueue[float] = SimpleQueue()
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        self.begun.put(time.monotonic())
        if self.count == 1:
            raise Later(time.monotonic() + self.wait_s)

    def began_s(self) -> float:
        return self.begun.get(timeout=TIMEOUT_S)


def test_a_run_comes_back_when_it_said_and_not_before(threads):
    run = Run(0.05)
    threads.submit(run)
    first_s, second_s = run.began_s(), run.began_s()
    assert second_s - first_s >= 0.05


def test_who_waits_holds_no_thread_and_waits_no_more_in_haste(threads):
    run = Run(NEVER_S)
    threads.submit(run)
    assert threads.submit(str, 7).exception(TIMEOUT_S) is None  # on the one thread that there is
    assert run.count == 1
    threads.make_haste()
    assert len([run.began_s() for _ in range(2)]) == run.count == 2


def test_beyond_the_room_for_those_who_wait_a_run_comes_back_at_once(threads, monkeypatch):
    monkeypatch.setattr("segsearch.service.rpc.threads.ROOM", 0)
    run = Run(NEVER_S)
    threads.submit(run).result(TIMEOUT_S)
    assert run.count == 2


def test_those_who_still_wait_do_not_keep_the_threads_from_ending():
    threads = Threads(1)
    threads.submit(Run(NEVER_S)).result(TIMEOUT_S)
    threads.make_haste()
    threads.shutdown(wait=True)
    with pytest.raises(RuntimeError):
        threads.submit(str)
