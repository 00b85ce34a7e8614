"""Progress that people can follow: a bar on a terminal, plain lines anywhere else; always on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_INTERVAL_S = 5.0

Advance = Callable[..., None]  # advance(steps=1, note="")


def say(text: str) -> None:
    """A line for people."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


@contextmanager
def progress(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Yields `advance(steps=1, note="")`; shows done, rate and time left. `total` None: the end is not known."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console, what, total, unit) as advance:
            yield advance
    else:
        with _lines(what, total, unit) as advance:
            yield advance


@contextmanager
def _bar(console: Console, what: str, total: int | None, unit: str) -> Iterator[Advance]:
    started = time.monotonic()
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(what, total=total, rate="", note="")

        def advance(steps: int = 1, note: str = "") -> None:
            done = bars.tasks[0].completed + steps
            rate = f"{done / max(time.monotonic() - started, 1e-9):,.0f} {unit}/s"
            bars.update(task, advance=steps, rate=rate, note=note)

        yield advance


@contextmanager
def _lines(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    started = spoken = time.monotonic()
    done, last_note = 0, ""

    def line() -> str:
        elapsed = max(time.monotonic() - started, 1e-9)
        rate = done / elapsed
        of = f"/{total}" if total is not None else ""
        left = f", {(total - done) / rate:.0f} s left" if total is not None and done and total > done else ""
        return f"{what}: {done}{of} {unit}, {rate:,.0f} {unit}/s{left}{', ' + last_note if last_note else ''}"

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done, spoken, last_note
        done, last_note = done + steps, note or last_note
        if done != total and time.monotonic() - spoken >= LINE_INTERVAL_S:
            spoken = time.monotonic()
            print(line(), file=sys.stderr, flush=True)

    yield advance
    print(f"{line()}, {time.monotonic() - started:.1f} s in all", file=sys.stderr, flush=True)
