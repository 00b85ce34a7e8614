"""Many writers, one fsync: what threads hand in while a commit is under way is committed together by the next one.

Where it stands: `store` hands operations in and waits, one thread carries them out. A caller hears of success only
after the fsync. Where a commit of several fails, each is tried alone: a bad one cannot fail its neighbours, and an
error reaches exactly those whose change is not stored.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread

from segsearch.core.errors import StorageFailed, StorageFull
from segsearch.service.index.live.environment import Environment
from segsearch.service.index.live.format import BATCH_BYTES, BATCH_CHANGES
from segsearch.service.index.live.operations import Edit, Operation, Stored
from segsearch.service.index.live.snapshot import Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    operation: Operation
    answer: "Future[Stored | None]" = field(default_factory=Future)


class GroupCommit:
    """Carries operations out in the order they came, as many as are there in each commit."""

    def __init__(self, environment: Environment):
        self._environment = environment
        self._queue: deque[_Waiting] = deque()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._closed = False
        self._moved_on_at = -1  # revision

    def carry_out(self, operation: Operation) -> Stored | None:
        """Returns when the operation is on disk; raises what kept it from there."""
        waiting = _Waiting(operation)
        with self._changed:
            if self._closed:
                raise StorageFailed(self._environment.path, "it is closed")
            if self._thread is None:
                self._thread = Thread(target=self._work, name="live-store-commit", daemon=True)
                self._thread.start()
            self._queue.append(waiting)
            self._changed.notify()
        return waiting.answer.result()

    def close(self) -> None:
        """Waits until all that was handed in is answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._commit(batch)

    def _next_batch(self) -> list[_Waiting]:
        """Waits for work; empty when there will be none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            fitting = _fitting([waiting.operation for waiting in self._queue])
            return [self._queue.popleft() for _ in range(fitting)]

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = self._transact([waiting.operation for waiting in batch])
        except Exception as error:  # whatever it is, it belongs to the callers
            if isinstance(error, StorageFull) and self._moved_on():
                self._commit(batch)
            elif len(batch) == 1:
                batch[0].answer.set_exception(error)
            else:
                for waiting in batch:
                    self._commit([waiting])
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                waiting.answer.set_result(answer)

    def _transact(self, operations: Sequence[Operation]) -> list[Stored | None]:
        with self._environment.writing() as transaction:
            edit = Edit(Snapshot(self._environment, transaction))
            answers = [operation.apply(edit) for operation in operations]
            added_bytes = sum(operation.size_bytes for operation in operations)
            if added_bytes:
                self._environment.keep_reserve(transaction, added_bytes)
            if not edit.finish():
                transaction.abort()  # nothing was written: nothing to wait for
        return answers

    def _moved_on(self) -> bool:
        """Commits nothing, where something was committed since it last did so: LMDB gives what one commit freed to
        the commit after the next.
        """
        with suppress(StorageFailed), self._environment.writing() as transaction:
            edit = Edit(Snapshot(self._environment, transaction))
            if edit.counters.revision == self._moved_on_at:
                transaction.abort()
                return False
            edit.changed = True
            edit.finish()
            self._moved_on_at = edit.counters.revision
            return True
        return False


def _fitting(operations: Sequence[Operation]) -> int:
    """How many of the first operations go into one commit: bounded, and no video twice."""
    videos: set[str] = set()
    size_bytes = 0
    for count, operation in enumerate(operations[:BATCH_CHANGES]):
        size_bytes += operation.size_bytes
        if count and (operation.video_id is None or operation.video_id in videos or size_bytes > BATCH_BYTES):
            return count
        if operation.video_id is None:
            return 1
        videos.add(operation.video_id)
    return min(len(operations), BATCH_CHANGES)
