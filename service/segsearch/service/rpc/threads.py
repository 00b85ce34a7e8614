"""The threads that answer calls, and a way for a call to be answered later that keeps none of them.

A method raises `Later`, and is run again at that moment. To gRPC the first run has not ended the call; it keeps the
call's context variables, by which a method knows that it was here before. gRPC has no word of its own for this where
there is one answer: a method that waits keeps its thread.

Where it stands: `server` gives these threads to gRPC; `calls` says `Later` to callers who are to be refused.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Final

ROOM: Final = 1000  # calls that may wait; what comes beyond is run again at once


class Later(BaseException):
    """The call is to be answered at a time of `time.monotonic`. No Exception: with such a one gRPC would answer it."""

    def __init__(self, at_s: float):
        super().__init__(at_s)
        self.at_s = at_s


class Threads(ThreadPoolExecutor):
    """So many threads, and one that looks at the clock: calls come back in the order in which they said `Later`."""

    def __init__(self, count: int):
        super().__init__(count, "rpc")
        self._waiting: SimpleQueue[tuple[float, Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._in_haste = Event()
        Thread(target=self._look_at_the_clock, name="rpc-later", daemon=True).start()

    def submit(self, run: Callable[..., Any], /, *given: Any) -> Future[Any]:  # type: ignore[override]
        """See ThreadPoolExecutor."""
        return super().submit(self._run, run, given)

    def make_haste(self) -> None:
        """From now on nobody waits."""
        self._in_haste.set()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See ThreadPoolExecutor."""
        self._waiting.put(None)
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _run(self, run: Callable[..., Any], given: tuple[Any, ...]) -> None:
        try:
            run(*given)
        except Later as later:
            if self._waiting.qsize() < ROOM:
                self._waiting.put((later.at_s, run, given))
            else:
                run(*given)

    def _look_at_the_clock(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            at_s, run, given = waiting
            self._in_haste.wait(at_s - time.monotonic())
            with suppress(RuntimeError):  # the server has ended
                self.submit(run, *given)
