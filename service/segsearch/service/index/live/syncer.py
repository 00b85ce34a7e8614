"""Brings value files to the disk beside the thread that prepares the commit which will refer to them.

Where it stands: `group_commit` begins a sync with each batch and waits for it before it commits. One runs at a time.
"""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread

from segsearch.service.index.live.record import Place


class Syncing:
    """One sync, under way or done."""

    def __init__(self, places: Sequence[Place]):
        self._places, self._failed = places, False
        self._running = Lock()
        self._running.acquire()

    def carry_out(self, sync: Callable[[Sequence[Place]], None]) -> None:
        try:
            sync(self._places)
        except Exception:
            self._failed = True  # who hears of it is the file's affair
        finally:
            self._running.release()

    def has_failed(self) -> bool:
        """Whether something may not be on disk; waits until that is known."""
        with self._running:
            return self._failed


class Syncer:
    """A thread that syncs, from the first sync until it is closed."""

    def __init__(self, sync: Callable[[Sequence[Place]], None]):
        self._sync = sync
        self._asked: SimpleQueue[Syncing | None] = SimpleQueue()
        self._thread: Thread | None = None

    def begin(self, places: Sequence[Place]) -> Syncing:
        """Syncs what was appended there. For one thread at a time, which waits for it before it begins another."""
        syncing = Syncing(places)
        if self._is_running():
            self._asked.put(syncing)
        else:
            syncing.carry_out(self._sync)
        return syncing

    def close(self) -> None:
        """Ends the thread once it has nothing to do."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()

    def _is_running(self) -> bool:
        """Whether there is the thread; the system may have none to give, and the caller has to do it."""
        if self._thread is None:
            # A daemon: who forgets to close the store can end all the same, also while the disk hangs.
            thread = Thread(target=self._run, name="live-store-sync", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        while self._carry_out_next():
            pass  # a call each, so that nothing is held while the next is waited for

    def _carry_out_next(self) -> bool:
        syncing = self._asked.get()
        if syncing is not None:
            syncing.carry_out(self._sync)
        return syncing is not None
