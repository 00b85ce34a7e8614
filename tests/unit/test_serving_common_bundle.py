"""What the parent of several workers does where they load a bundle, and one of them fails, hangs, or starts meanwhile.

The test stands at the workers' end of real links.
"""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from segsearch.service.processes.common_bundle import CommonBundle, WorkerProcess
from segsearch.service.processes.link import Link
from segsearch.service.processes.plan import Plan
from segsearch.service.settings import Settings

WAIT_S = 30
PROVED = {"directory": "bundles/two", "digest": "two"}


def nothing(*_: object) -> None:
    """What most do where they are told."""


def fail(*_: object) -> None:
    raise ValueError("of what lies in /srv/bundles")


class Crew:
    """Two workers that have the bundle `one`, and what each was told."""

    def __init__(self, stack: ExitStack):
        self._stack = stack
        self.workers: list[WorkerProcess] = []
        self.told: list[list[tuple[object, ...]]] = []
        self.bundle = CommonBundle(Plan(settings=Settings(), index=Path(), bundle=Path("one"), cache=Path()),
                                   lambda: self.workers, proof_s=0.5)  # fmt: skip

    def start(self, **does: Callable[..., object]) -> WorkerProcess:
        """A worker that has asked what to serve; `prove`, `use` and `forget` where they are not as they should."""
        process = self._stack.enter_context(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            self._stack.callback(end.close)
            self._stack.callback(end.shutdown, socket.SHUT_RDWR)
        worker, told = WorkerProcess(len(self.workers), process, time.monotonic()), []
        worker.link = Link(ours, {}, nothing)

        def answer(what: str) -> Callable[..., object]:
            def told_to(*given: object) -> object:
                told.append((what, *given))
                return doing[what](*given)

            return told_to

        doing = {"prove": lambda _: PROVED, "use": nothing, "forget": nothing, **does}
        Link(theirs, {what: answer(what) for what in doing}, nothing)
        self.workers.append(worker)
        self.told.append(told)
        self.bundle.plan(worker)
        return worker

    def serve(self, **does: Callable[..., object]) -> WorkerProcess:
        worker = self.start(**does)
        assert self.bundle.admit(worker, "bundles/one", "one")
        return worker


@pytest.fixture
def crew() -> Iterator[Crew]:
    with ExitStack() as stack:
        crew = Crew(stack)
        crew.serve()
        yield crew
        for worker in crew.workers:
            worker.process.kill()


def test_a_bundle_is_used_by_all_once_all_have_proved_it(crew):
    crew.serve()
    assert crew.bundle.load("two") is None
    assert crew.told == [[("prove", "two"), ("use", "two")]] * 2
    assert crew.bundle.plan(crew.workers[0]).bundle == Path("bundles/two")


def test_a_worker_that_started_while_a_bundle_was_loaded_is_to_start_again(crew):
    late = crew.start()
    assert crew.bundle.load("two") is None
    assert not crew.bundle.admit(late, "bundles/one", "one")
    assert late.behind
    assert crew.bundle.plan(late).bundle == Path("bundles/two")


def test_a_worker_whose_bundle_is_another_though_none_was_loaded_is_not(crew):
    other = crew.start()
    assert not crew.bundle.admit(other, "bundles/one", "changed on disk")
    assert not other.behind


def test_a_worker_that_never_answers_is_named_and_the_others_forget(crew):
    over = threading.Event()
    crew.serve(prove=lambda _: over.wait(WAIT_S), forget=nothing)
    assert crew.bundle.load("two") == "worker 1 did not answer in 0.5 s"
    assert crew.told[0] == [("prove", "two"), ("forget",)]
    assert crew.bundle.admit(crew.start(), "bundles/one", "one")  # nobody waits for it any more
    over.set()


def test_a_worker_that_fails_in_a_way_nobody_thought_of_is_named_and_the_others_forget(crew, caplog):
    crew.serve(prove=fail)
    with caplog.at_level("INFO", "segsearch.service"):
        assert crew.bundle.load("two") == "worker 1 failed: ValueError"
    assert "/srv/bundles" in caplog.text
    assert crew.told[0] == [("prove", "two"), ("forget",)]


def test_a_worker_that_is_gone_is_named_and_the_others_forget(crew):
    gone = crew.serve(prove=lambda _: gone.link._socket.shutdown(socket.SHUT_RDWR))
    assert crew.bundle.load("two") == "worker 1 ended meanwhile"
    assert crew.told[0] == [("prove", "two"), ("forget",)]


def test_a_worker_that_cannot_use_what_it_proved_ends_and_is_to_start_again(crew):
    broken = crew.serve(use=fail)
    assert crew.bundle.load("two") is None
    assert broken.process.wait(WAIT_S)
    assert broken.behind
    assert not broken.admitted
    assert crew.workers[0].admitted
