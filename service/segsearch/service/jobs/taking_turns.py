"""Whose turn it is: of the processes that servers start to write to an index, one at a time.

Where it stands: `reindex_process` and `background_compaction` ask here before they start one. The index directory has a
lock of its own, which the process takes once it has come so far; the turn is its from the start, so that it meets no
other there but one that was started by hand.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from segsearch.core.errors import IndexBusy
from segsearch.service.index.index_directory import IndexDirectory

JOBS: Final = "jobs"  # in the index directory: what is known of the processes that servers started
LOCK: Final = ".lock"
_TRIES, _PAUSE_S = 10, 0.02  # for the lock, which somebody may have for a moment only to see that the index is busy


@contextmanager
def turn(index: IndexDirectory) -> Iterator[int]:
    """A descriptor of the lock, which lasts until the process that it is passed on to has ended, too, whatever becomes
    of this one. Raises IndexBusy.
    """
    folder = index.root / JOBS
    folder.mkdir(exist_ok=True)
    with (folder / LOCK).open("w") as file:
        for tried in range(_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if tried + 1 == _TRIES:
                    raise IndexBusy(index.root) from None
                time.sleep(_PAUSE_S)
        yield file.fileno()
