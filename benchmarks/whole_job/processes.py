"""Work in a process of its own: neither memory nor CPU time of anything else counts as its own."""

import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")


def in_process(work: Callable[..., Answer], *args: object) -> Answer:
    """Does the work in a new process and hands back what it gave."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args).result()


@contextmanager
def empty_folder(path: Path) -> Iterator[Path]:
    """A folder for what a job leaves; gone afterwards, and what an earlier one left goes before."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)
