"""One bundle for all workers: all of them load it, or none, and whoever starts later gets it.

Where it stands: `workers` starts processes and ends them; what these ask about bundles comes here, in threads of their
links.
"""

import subprocess
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from segsearch.service.events import log
from segsearch.service.processes.link import Link, LinkEnded
from segsearch.service.processes.plan import Plan

# A model with an endless loop is ended after two minutes by the golden check. Reading a large bundle from a slow disk,
# in all workers at once, may take as long again; nobody can start or load meanwhile, so it must end.
PROOF_S: Final = 600.0
_SWITCH_S: Final = 30.0  # a proved model is at hand, or let go: that takes milliseconds


@dataclass(eq=False, slots=True)
class WorkerProcess:
    """A worker, as its parent knows it."""

    number: int
    process: subprocess.Popen[bytes]
    started_s: float
    link: Link = field(init=False)
    planned: str | None = None  # digest of the bundle that was in use when it asked what to serve; None: none yet
    admitted: bool = False  # has the bundle that is in use, and takes part in what all do
    behind: bool = False  # another bundle came into use since: it ends, and is to be started again
    serving: bool = False
    reason: str = ""  # why it could not serve, or could not go on


class CommonBundle:
    """The plan that all workers follow, and the bundle that they have."""

    def __init__(self, plan: Plan, workers: Callable[[], Collection[WorkerProcess]], proof_s: float = PROOF_S):
        """workers: those that run now. proof_s: how long one may take to prove a bundle."""
        self._plan, self._workers, self._proof_s = plan, workers, proof_s
        self._lock = threading.Lock()  # guards plan and digest: nobody starts with another bundle while one is loaded
        self._digest: str | None = None  # of the bundle in use
        self._refused: dict[str, str] | None = None  # the last load, where it was

    def plan(self, worker: WorkerProcess) -> Plan:
        """What a worker that starts is to serve."""
        with self._lock:
            worker.planned = self._digest
            return self._plan

    def admit(self, worker: WorkerProcess, directory: str, digest: str) -> bool:
        """Whether it may serve: not with another bundle than the others have, as when one was loaded meanwhile."""
        with self._lock:
            if self._digest is None:
                self._keep_to(directory, digest)
            worker.admitted = digest == self._digest
            if not worker.admitted:
                worker.behind, worker.reason = worker.planned != self._digest, "another bundle is in use"
            return worker.admitted

    def load(self, path: str) -> str | None:
        """Why a bundle could not be loaded; None: all workers have it, and whoever starts later, too."""
        with self._lock:
            crew = [worker for worker in self._workers() if worker.admitted]
            asked = ask(crew, "prove", path, limit_s=self._proof_s)
            told = [self._proof(worker, done) for worker, done in asked.items()]
            refused = [each["refused"] for each in told if "refused" in each]
            if len({each.get("digest") for each in told}) != 1:
                refused.append("its files changed while it was loaded")
            if refused:
                ask(crew, "forget", limit_s=_SWITCH_S)
                return refused[0]
            self._keep_to(told[0]["directory"], told[0]["digest"])
            _have_used(crew, told[0]["digest"])
            return None

    def refused_load(self) -> dict[str, str] | None:
        """The last load of whichever worker was asked, where it was refused."""
        return self._refused

    def load_ended(self, refused: dict[str, str] | None) -> None:
        """A worker says how a load ended."""
        self._refused = refused

    def _keep_to(self, directory: str, digest: str) -> None:
        self._plan, self._digest = replace(self._plan, bundle=Path(directory)), digest

    def _proof(self, worker: WorkerProcess, done: Future[dict[str, str]]) -> dict[str, str]:
        failed = _failure(worker, "prove", done, self._proof_s)
        if failed is None:
            return done.result()
        return {"refused": f"worker {worker.number} {failed.partition('(')[0]}"}  # what follows may name our folders


def ask(workers: Collection[WorkerProcess], what: str, *given: Any, limit_s: float) -> dict[WorkerProcess, Future[Any]]:
    """Has every worker do something; returns when all have, or are gone, or it took too long."""
    begun = {worker: worker.link.begin(what, *given) for worker in workers}
    wait(begun.values(), limit_s)
    return begun


def _have_used(crew: Collection[WorkerProcess], digest: str) -> None:
    """Whoever cannot is started again: its parent sees it end."""
    for worker, done in ask(crew, "use", digest, limit_s=_SWITCH_S).items():
        failed = _failure(worker, "use", done, _SWITCH_S)
        if failed is not None:
            worker.admitted, worker.behind, worker.reason = False, True, f"{failed} when a bundle came into use"
            worker.process.terminate() if done.done() else worker.process.kill()  # who hangs may not hear of the end


def _failure(worker: WorkerProcess, asked: str, done: Future[Any], limit_s: float) -> str | None:
    """What kept a worker from doing what it was asked to, which the log hears, too; None where it did."""
    if not done.done():
        failed = f"did not answer in {limit_s:g} s"
    elif error := done.exception():
        failed = "ended meanwhile" if isinstance(error, LinkEnded) else f"failed: {error}"
    else:
        return None
    log("worker_failed", worker=worker.number, asked=asked, reason=failed)
    return failed
