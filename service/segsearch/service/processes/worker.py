"""One of several processes that answer as one: all of a server but its port, which they share.

Where it stands: `workers`, the parent, starts it and tells it what to serve. Over their link the parent has it load
bundles and tell its metrics; the worker asks for what concerns all.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from pydantic import TypeAdapter

from segsearch.core.errors import ModelNotLoaded, SegsearchError
from segsearch.service import events
from segsearch.service.processes.link import Answers, Link, LinkEnded
from segsearch.service.processes.plan import Plan
from segsearch.service.processes.serving import Crew, Serving, assembled
from segsearch.service.refused_load import RefusedLoad
from segsearch.service.scoring.batching_scorer import BatchingScorer
from segsearch.service.security.shared_buckets import SharedBuckets

_LOOK_EVERY_S: Final = 1.0  # for another generation


class Worker:
    """What this process does when the parent, or another worker by way of it, asks for it."""

    def __init__(self, joined: socket.socket):
        self._serving: Serving | None = None  # the parent asks for nothing before
        self._proved: BatchingScorer | None = None
        self._proving = threading.Lock()  # guards it: the parent may give up on a proof before that has ended
        answers: Answers = {"prove": self._prove, "use": self._use, "forget": self._forget, "metrics": self._metrics}
        self._link = Link(joined, answers, _end_by_oneself)

    def run(self) -> None:
        """Serves until told to stop; where it cannot, the parent is told why."""
        told = self._link.call("plan")
        events.to_stderr(worker=told["worker"])
        try:
            with closing(SharedBuckets(Path(told["buckets"]))) as buckets:
                metrics, last_load = _Everywhere(self._link), _CommonLastLoad(self._link)
                crew = Crew(load=self._load, last_load=last_load, metrics=metrics, buckets=buckets)
                with assembled(TypeAdapter(Plan).validate_python(told["plan"]), crew) as self._serving:
                    self._serve(self._serving, compacts=told["worker"] == 0)
        except (SegsearchError, OSError) as error:
            with suppress(LinkEnded):
                self._link.call("failed", str(error))
            raise SystemExit(1) from None

    def _serve(self, serving: Serving, *, compacts: bool) -> None:
        bundle = serving.library.scorer.bundle
        if self._link.call("admit", str(bundle.directory), bundle.digest):
            with _looking(serving):
                serving.until_stopped(self._ready, compacts=compacts, shares_port=True)

    def _ready(self, url: str, companion: str | None) -> None:
        self._link.call("serving", url, companion)

    def _load(self, path: str) -> None:
        reason = self._link.call("load", path)
        if reason is not None:
            raise ModelNotLoaded(path, reason)

    def _prove(self, path: str) -> dict[str, str]:
        assert self._serving is not None
        with self._proving:
            self._let_go()
            try:
                self._proved = self._serving.library.prove(path)
            except SegsearchError as error:
                return {"refused": error.reason if isinstance(error, ModelNotLoaded) else str(error)}
            bundle = self._proved.bundle
        return {"directory": str(bundle.directory), "digest": bundle.digest}

    def _use(self, digest: str) -> None:
        assert self._serving is not None
        with self._proving:
            assert self._proved is not None
            assert self._proved.bundle.digest == digest
            self._serving.library.use(self._proved)
            self._proved = None

    def _forget(self) -> None:
        with self._proving:
            self._let_go()

    def _let_go(self) -> None:
        if self._proved is not None:
            self._proved.close()
            self._proved = None

    def _metrics(self) -> list[Any]:
        assert self._serving is not None
        return [
            [each.name, each.documentation, each.type, each.unit, [[s.name, s.labels, s.value] for s in each.samples]]
            for each in self._serving.metrics.registry.collect()
        ]


class _Everywhere(Collector):
    """The metrics of all workers, each with its number as a label."""

    def __init__(self, link: Link):
        self._link = link

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        families: dict[str, Metric] = {}
        for worker, told in self._link.call("metrics"):
            for name, meaning, kind, unit, samples in told:
                family = families.setdefault(name, Metric(name, meaning, kind, unit))
                for sample, labels, value in samples:
                    family.add_sample(sample, {**labels, "worker": str(worker)}, value)
        return iter(families.values())


class _CommonLastLoad:
    """How the last load ended, whichever worker was asked for it: the parent keeps it."""

    def __init__(self, link: Link):
        self._link = link

    def refused(self) -> RefusedLoad | None:
        """See LastLoad."""
        told = self._link.call("refused_load")
        return RefusedLoad(**told) if told else None

    def ended(self, refused: RefusedLoad | None) -> None:
        """See LastLoad."""
        self._link.call("load_ended", asdict(refused) if refused else None)


@contextmanager
def _looking(serving: Serving) -> Iterator[None]:
    """Another generation is noticed, also where nobody asks for anything."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_EVERY_S):
            with suppress(SegsearchError, OSError):
                serving.library.view()

    thread = threading.Thread(target=look, name="look")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _end_by_oneself() -> None:
    """Nobody is left to tell this process when to end, and whoever takes the parent's place needs its port."""
    os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    """What the parent runs: the socket's number is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until it serves, there is nothing to finish
    Worker(socket.socket(fileno=int(sys.argv[1]))).run()
