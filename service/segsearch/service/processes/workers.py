"""The parent of several processes that answer as one. It holds their ports, starts them, starts one that dies again,
passes on what it is told by signals, and what `common_bundle` answers them.

Where it stands: `serve_cli` runs it where `--workers` asks for more than one process. It answers no request itself:
each `worker` listens on the same ports, and the kernel shares the connections out.
"""

import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Final, NoReturn

from pydantic import TypeAdapter

from segsearch.core.cli import emit
from segsearch.service.events import log
from segsearch.service.processes.common_bundle import CommonBundle, WorkerProcess, ask
from segsearch.service.processes.link import Answers, Link
from segsearch.service.processes.plan import Plan
from segsearch.service.server import bind
from segsearch.service.settings import Settings

_MAIN: Final = "from segsearch.service.processes.worker import main; main()"
_FIRST_PAUSE_S: Final = 0.1  # before one that died is started again; each time twice as long as before
_LONGEST_PAUSE_S: Final = 30.0
_LASTING_S: Final = 60.0  # whoever served so long had not died of how it was started
_METRICS_S: Final = 5.0  # a worker that takes longer is left out


def serve_by_many(plan: Plan) -> None:
    """Serves until SIGTERM or SIGINT. Raises ConfigError for an address that cannot be had, SystemExit where workers
    could not be started, or not ended as they should.
    """
    settings = plan.settings
    grpc = nullcontext() if settings.grpc_port is None else _held_port(settings, settings.grpc_port)
    with (
        _held_port(settings, settings.port) as port, grpc as grpc_port,
        TemporaryDirectory(prefix="segsearch-") as folder,
    ):  # fmt: skip
        settings = replace(settings, port=port, grpc_port=grpc_port)
        Workers(replace(plan, settings=settings), Path(folder)).run()


@contextmanager
def _held_port(settings: Settings, port: int) -> Iterator[int]:
    """A port that is ours, and that workers may listen on; the parent itself never does."""
    with bind(replace(settings, port=port)) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # only now: nobody else's had it before
        yield held.getsockname()[1]


class Workers:
    """The workers of one server. `run` is for the main thread, which alone starts them and sees them end."""

    def __init__(self, plan: Plan, folder: Path):
        """folder: where they keep what they share for as long as they run."""
        self._folder = folder
        self._workers: dict[int, WorkerProcess] = {}
        self._bundle = CommonBundle(plan, lambda: list(self._workers.values()))
        self._due_s: dict[int, float] = {}  # when one that died is started again
        self._pause_s = dict.fromkeys(range(plan.settings.workers), _FIRST_PAUSE_S)
        self._where: dict[str, str | None] = {}  # the workers listen, as they told
        self._signals: list[signal.Signals] = []  # that are not passed on yet
        self._begun = False  # all have served
        self._stopping = False
        self._woken, self._waker = socket.socketpair()

    def run(self) -> None:
        """See `serve_by_many`."""
        with self._noticing():
            try:
                self._begin()
                while not self._stopping:
                    self._look_after()
            except BaseException:
                self._pass_on(signal.SIGINT)
                raise
            finally:
                self._wait_for_all()

    def _begin(self) -> None:
        """Returns when all serve. The first starts alone: it finds out how the model runs best, and what is wrong."""
        numbers = list(self._pause_s)
        for group in (numbers[:1], numbers[1:]):
            for number in group:
                self._start(number)
            while not all(number in self._workers and self._workers[number].serving for number in group):
                self._look_after()
                if self._stopping:
                    return
        self._begun = True
        where = {name: place for name, place in self._where.items() if place}
        emit(event="ready", **where, workers=len(numbers))

    def _look_after(self) -> None:
        """Waits for something to happen, and starts who died."""
        due_s = min(self._due_s.values(), default=None)
        self._wait(None if due_s is None else max(0.0, due_s - time.monotonic()))
        if self._stopping:
            return
        for ended in self._ended():
            self._start_later(ended)
        for number in [number for number, due_s in self._due_s.items() if due_s <= time.monotonic()]:
            del self._due_s[number]
            self._start(number)

    def _start_later(self, ended: WorkerProcess) -> None:
        if not ended.behind and not (self._begun and (ended.serving or self._any_serves())):
            _give_up(ended)
        if ended.serving and time.monotonic() - ended.started_s >= _LASTING_S:
            self._pause_s[ended.number] = _FIRST_PAUSE_S
        pause_s = self._pause_s[ended.number]
        self._pause_s[ended.number] = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._due_s[ended.number] = time.monotonic() + pause_s
        log("worker_ended", worker=ended.number, reason=_reason(ended), again_in_s=pause_s)

    def _any_serves(self) -> bool:
        return any(worker.serving for worker in self._workers.values())

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                # -P: what lies in the folder that we happen to be in is no module of ours.
                [sys.executable, "-P", "-c", _MAIN, str(theirs.fileno())], stdin=subprocess.DEVNULL, stdout=sys.stderr,
                pass_fds=[theirs.fileno()], process_group=0,  # a terminal's Ctrl-C comes by way of the parent alone
            )  # fmt: skip
        worker = self._workers[number] = WorkerProcess(number, process, time.monotonic())
        answers: Answers = {
            "plan": partial(self._planned, worker), "admit": partial(self._bundle.admit, worker),
            "serving": partial(self._serving, worker), "failed": partial(self._failed, worker),
            "load": self._bundle.load, "refused_load": self._bundle.refused_load, "load_ended": self._bundle.load_ended,
            "metrics": self._metrics,
        }  # fmt: skip
        worker.link = Link(ours, answers, ours.close)

    def _ended(self) -> list[WorkerProcess]:
        ended = [worker for worker in self._workers.values() if worker.process.poll() is not None]
        for worker in ended:
            del self._workers[worker.number]
        return ended

    # What comes by signals

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Signals, and the end of a process, wake whoever waits."""
        for end in (self._woken, self._waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)

    def _told(self, number: int, _: FrameType | None) -> None:
        self._signals.append(signal.Signals(number))

    def _wait(self, limit_s: float | None) -> None:
        """Until something happens; what was told by signals is passed on."""
        select.select([self._woken], [], [], limit_s)
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._signals:
            self._pass_on(self._signals.pop(0))

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # full: it wakes all the same
            self._waker.send(b"\0")

    def _pass_on(self, number: signal.Signals) -> None:
        self._stopping = True
        for worker in self._workers.values():
            worker.process.send_signal(number)

    def _wait_for_all(self) -> None:
        """Until the last worker has ended; raises SystemExit where one that served did not end well."""
        ended = self._ended()
        while self._workers:
            self._wait(None)
            ended += self._ended()
        bad = [worker for worker in ended if worker.serving and worker.process.returncode]
        for worker in bad:
            log("worker_ended", worker=worker.number, reason=_reason(worker))
        if bad:
            raise SystemExit(1)

    # What workers say, in threads of their links

    def _planned(self, worker: WorkerProcess) -> dict[str, Any]:
        plan = TypeAdapter(Plan).dump_python(self._bundle.plan(worker), mode="json")
        return {"worker": worker.number, "plan": plan, "buckets": str(self._folder)}

    def _serving(self, worker: WorkerProcess, url: str, companion: str | None) -> None:
        self._where = {"url": url, "grpc": companion}
        worker.serving = True
        if self._stopping:  # it may have come before there was anybody to hear it
            worker.process.terminate()
        self._wake()

    def _failed(self, worker: WorkerProcess, reason: str) -> None:
        worker.reason = reason

    def _metrics(self) -> list[tuple[int, Any]]:
        told = ask(
            [worker for worker in list(self._workers.values()) if worker.admitted], "metrics", limit_s=_METRICS_S
        )
        return [
            (worker.number, done.result()) for worker, done in told.items() if done.done() and done.exception() is None
        ]


def _reason(ended: WorkerProcess) -> str:
    """Why a worker is no more."""
    code = ended.process.returncode
    return ended.reason or (signal.Signals(-code).name if code < 0 else f"exit code {code}")


def _give_up(ended: WorkerProcess) -> NoReturn:
    """Nobody serves, and nobody can be started."""
    print(f"error: {ended.reason or f'a worker could not start: {_reason(ended)}'}", file=sys.stderr)
    raise SystemExit(1)
