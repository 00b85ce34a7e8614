"""Work in a process of its own: neither memory nor CPU time of anything else counts as its own."""

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path
from typing import TypeVar

from whole_job.usage import Usage, Watch

Answer = TypeVar("Answer")
LOOK_S = 0.5


def in_process(work: Callable[..., Answer], *args: object) -> Answer:
    """Does the work in a new process and hands back what it gave."""
    return watched(work, *args)[0]


def watched(work: Callable[..., Answer], *args: object) -> tuple[Answer, Usage]:
    """The same, with what the new process and all that it started took meanwhile."""
    with pool_of(1) as pool:
        watch = Watch(pool.submit(os.getpid).result())
        answer = pool.submit(work, *args)
        while not answer.done():
            wait([answer], LOOK_S)
            watch.look()
        return answer.result(), watch.most


def pool_of(workers: int) -> ProcessPoolExecutor:
    """New processes, which end with this one however it ends: nobody would want their answers."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def empty_folder(path: Path) -> Iterator[Path]:
    """A folder for what a job leaves; gone afterwards, and what an earlier one left goes before."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)
