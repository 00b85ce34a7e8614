"""Many uploads, one fsync: what threads hand in while a commit is under way is committed together by the next one.

Where it stands: `store` hands operations in and waits. One thread writes, from the first operation until the store is
closed, and wakes each caller when its operation is on disk; meanwhile others prepare theirs, and write what is long
into value files. One sync brings all that to the disk before the commit that refers to it, by a thread of its own while
that commit is prepared. LMDB takes memory for all that a commit writes and gives it back: to one thread it is the same
memory each time, while threads that took turns would have the kernel map it anew. Where a commit of several fails, each
is tried alone: a bad one cannot fail its neighbours, and an error reaches exactly those whose change is not stored.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Condition, Lock, Thread
from typing import Final

from segsearch.core.errors import StorageFailed, StorageFull
from segsearch.service.index.live.edit import Edit
from segsearch.service.index.live.environment import Environment
from segsearch.service.index.live.format import COMMIT_BYTES, COMMIT_CHANGES
from segsearch.service.index.live.operations import MakeRoom, Operation, Stored
from segsearch.service.index.live.record import Place
from segsearch.service.index.live.snapshot import Snapshot
from segsearch.service.index.live.syncer import Syncer, Syncing

_PATIENCE: Final = 0.5  # of the last commit's time, spent waiting for as many as came then
_PATIENCE_COMING: Final = 2.0  # the same, for those that are on their way
_PATIENCE_CAP_S: Final = 0.02
_ROUNDS: Final = 1_000  # of making room for one commit, while others go on freeing


@dataclass(slots=True, eq=False)
class _Waiting:
    """One caller."""

    operation: Operation
    answer: Stored | None = None
    error: Exception | None = None
    is_finished: bool = False
    _waits: Lock = field(default_factory=Lock)  # taken until there is an answer

    def __post_init__(self) -> None:
        self._waits.acquire()

    def finish(self, answer: Stored | None, error: Exception | None = None) -> None:
        self.answer, self.error, self.is_finished = answer, error, True
        self._waits.release()

    def answered(self) -> Stored | None:
        """Waits for the answer, once; raises what kept the operation from the disk."""
        self._waits.acquire()
        if self.error is not None:
            raise self.error
        return self.answer


class _NotSynced(Exception):
    """What a commit would refer to may not be on disk, and it was given up."""


class _InDoubt(Exception):
    """A commit that failed and may be there all the same."""

    def __init__(self, why: Exception):
        super().__init__(str(why))
        self.why = why


class GroupCommit:
    """Carries operations out in the order they came, as many as are there in each commit."""

    def __init__(self, environment: Environment):
        self._environment = environment
        self._queue: deque[_Waiting] = deque()
        self._changed = Condition()
        self._writer: Thread | None = None  # until the first operation
        self._syncer = Syncer(environment.sync)
        self._coming = 0  # operations that are being made
        self._closed = False
        self._last_count, self._last_s = 1, 0.0  # of the last commit: its operations, its duration
        self._moved_on_at = -1  # revision
        self._on_disk = 0  # LMDB's number of the last commit from here; 0: none yet, or one that failed may be there

    def carry_out(self, making: Callable[[], Operation]) -> Stored | None:
        """Makes an operation, and returns when it is on disk; raises what kept it from there.

        It is made again where what it writes finds no room, as long as there is some to be given back.
        """
        self._environment.check_process()  # a forked child has no writer, and a lock that may be shut for ever
        while True:
            try:
                waiting = self._made(making)
            except StorageFull:
                if not self._more_room():
                    raise
            else:
                return waiting.answered()

    def _more_room(self) -> bool:
        with suppress(StorageFailed):
            return self._made(MakeRoom).answered() is not None
        return False

    def _made(self, making: Callable[[], Operation]) -> _Waiting:
        """Makes an operation and hands it in."""
        self._announce()
        waiting = None
        try:
            waiting = _Waiting(making())
        finally:
            self._hand_in(waiting)
        return waiting

    def _announce(self) -> None:
        with self._changed:
            if self._closed:
                raise StorageFailed(self._environment.path, "it is closed")
            if self._writer is None:
                self._writer = _started(self._write)
            self._coming += 1

    def _hand_in(self, waiting: _Waiting | None) -> None:
        """What was announced; None: it could not be made."""
        with self._changed:
            self._coming -= 1
            if waiting is not None:
                self._queue.append(waiting)
            if len(self._queue) in (1, self._last_count) or not self._coming:  # what the writer waits for
                self._changed.notify()

    def close(self) -> None:
        """Waits until all that was handed in is answered."""
        if self._environment.is_forked():
            return
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._writer is not None:
            self._writer.join()
        self._syncer.close()

    def _write(self) -> None:
        """Commits until the store is closed and all is answered."""
        while self._write_batch():
            pass  # a call each, so that nothing that was written is held while the next is waited for

    def _write_batch(self) -> bool:
        """Commits what is there, or comes next; False where nothing will."""
        batch = self._gathered()
        if not batch:
            return False
        started = time.monotonic()
        try:
            self._commit(batch)
        except Exception as error:  # nobody may wait for ever
            for waiting in batch:
                if not waiting.is_finished:
                    waiting.finish(None, error)
        self._last_count, self._last_s = len(batch), time.monotonic() - started
        return True

    def _gathered(self) -> list[_Waiting]:
        """What goes into the next commit, nothing after the last one: as many as last time came together are worth a
        short wait, and those that are on their way a longer one.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._queue or (self._closed and not self._coming))
            as_many_s, coming_s = (
                min(share * self._last_s, _PATIENCE_CAP_S) for share in (_PATIENCE, _PATIENCE_COMING)
            )
            self._changed.wait_for(lambda: len(self._queue) >= self._last_count or self._closed, as_many_s)
            self._changed.wait_for(lambda: not self._coming or self._closed, coming_s)
            fitting = _fitting([waiting.operation for waiting in self._queue])
            return [self._queue.popleft() for _ in range(fitting)]

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        """Answers each; whatever goes wrong belongs to the callers."""
        places = [place for waiting in batch for place in waiting.operation.places]
        syncing = self._syncer.begin(places) if places else None
        try:
            self._commit_once_synced(batch, syncing)
        except _NotSynced:
            synced = [waiting for waiting in batch if self._is_synced(waiting)]
            if synced:
                self._commit_once_synced(synced)

    def _is_synced(self, waiting: _Waiting) -> bool:
        """Brings what an operation will refer to to the disk; one for which that fails is refused."""
        try:
            self._environment.sync(waiting.operation.places)
        except Exception as error:
            self._refuse(waiting, error)
            return False
        return True

    def _commit_once_synced(
        self, batch: Sequence[_Waiting], syncing: Syncing | None = None, *, again: bool = False
    ) -> None:
        """syncing: brings what they will refer to to the disk; None: it is there. again: room was made for them.

        Raises _NotSynced, and has answered nobody then.
        """
        try:
            answers, unused = self._transact([waiting.operation for waiting in batch], syncing)
        except _InDoubt as doubt:
            self._answer_failed(self._refused_in_doubt(batch, doubt.why), doubt.why, again=again)
        except Exception as error:
            _check_synced(syncing)  # before anybody is tried again
            self._answer_failed(batch, error, again=again)
        else:
            self._environment.values.empty(unused)
            for waiting, answer in zip(batch, answers, strict=True):
                waiting.finish(answer)

    def _refused_in_doubt(self, batch: Sequence[_Waiting], error: Exception) -> list[_Waiting]:
        """Refuses those that have written into value files, and returns the others. Their places may be referred to
        already: neither may they be used twice, nor emptied.
        """
        for waiting in batch:
            if waiting.operation.places:
                waiting.finish(None, error)
        return [waiting for waiting in batch if not waiting.operation.places]

    def _answer_failed(self, batch: Sequence[_Waiting], error: Exception, *, again: bool) -> None:
        """Tries them once more if there is more room now, or each alone."""
        if isinstance(error, StorageFull) and not again and self._made_room():
            if batch:
                self._commit_once_synced(batch, again=True)
        elif len(batch) == 1:
            self._refuse(batch[0], error)
        else:
            for waiting in batch:
                self._commit_once_synced([waiting])

    def _refuse(self, waiting: _Waiting, error: Exception) -> None:
        self._environment.values.empty(waiting.operation.places)
        waiting.finish(None, error)

    def _transact(
        self, operations: Sequence[Operation], syncing: Syncing | None
    ) -> tuple[list[Stored | None], list[Place]]:
        """Answers, and places that were written to for nothing. Raises _NotSynced, or _InDoubt: it may be there all the
        same.
        """
        with self._editing() as edit:
            answers = [operation.apply(edit) for operation in operations]
            edit.added_bytes = sum(operation.size_bytes for operation in operations)
            _check_synced(syncing)
        written = [place for operation in operations for place in operation.places]
        return answers, [place for place in written if place not in edit.kept]

    @contextmanager
    def _editing(self) -> Iterator[Edit]:
        """What is written within the block is on disk behind it; where it is nothing, nothing is waited for."""
        committing, may_be_there = 0, self._environment.doubts()
        try:
            with self._environment.writing() as transaction:
                edit = Edit(Snapshot(self._environment, transaction), self._on_disk)
                yield edit
                if edit.finish():
                    committing = transaction.id()
                else:
                    transaction.abort()
        except Exception as error:
            if committing:
                self._on_disk = 0
                if may_be_there(committing):
                    raise _InDoubt(error) from error
            raise
        if committing:
            self._on_disk = committing

    def _made_room(self) -> bool:
        """Commits nothing, so that LMDB gives out what commits before the last one freed, and as often as places can be
        emptied; whether it did.
        """
        made = self._moved_on(lambda edit: edit.counters.revision != self._moved_on_at)
        for _ in range(_ROUNDS):
            if not self._moved_on(Edit.can_make_room):
                break
            made = True
        return made

    def _moved_on(self, worth_it: Callable[[Edit], bool]) -> bool:
        """Commits nothing, if that is worth it."""
        with suppress(StorageFailed, _InDoubt):
            with self._editing() as edit:
                edit.changed = worth_it(edit)
            if edit.changed:
                self._moved_on_at = edit.counters.revision
                return True
        return False


def _started(work: Callable[[], None]) -> Thread:
    # A daemon: who forgets to close the store can end all the same, as after a kill.
    thread = Thread(target=work, name="live-store", daemon=True)
    thread.start()
    return thread


def _check_synced(syncing: Syncing | None) -> None:
    """Waits for a sync; raises _NotSynced where it failed."""
    if syncing is not None and syncing.has_failed():
        raise _NotSynced


def _fitting(operations: Sequence[Operation]) -> int:
    """How many of the first operations go into one commit: bounded, and no video twice."""
    videos: set[str] = set()
    size_bytes = 0
    for count, operation in enumerate(operations[:COMMIT_CHANGES]):
        size_bytes += operation.size_bytes
        if count and (operation.video_id is None or operation.video_id in videos or size_bytes > COMMIT_BYTES):
            return count
        if operation.video_id is None:
            return 1
        videos.add(operation.video_id)
    return min(len(operations), COMMIT_CHANGES)
