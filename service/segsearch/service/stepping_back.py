"""Threads that let others go first: where searches and the work around scoring want a processor, searches have it.

Where it stands: threads of `scoring` and of `rest.edge` call it as they start.
"""

import os
import threading
from contextlib import suppress
from typing import Final

# With less, Linux more often lets a thread keep a processor until the clock's next tick, 4 ms, whoever wakes. With much
# more, one that holds the interpreter's lock could wait for its turn on a busy machine, and all others for the lock.
_NICENESS: Final = 10


def step_back() -> None:
    """Lets the system prefer other threads to this one, which takes a processor from nobody as it wakes.

    It would take one from its own kind, too: whoever then holds the interpreter's lock may wait for the clock's next
    tick, and all others for the lock.
    """
    with suppress(OSError, AttributeError):  # where threads have no niceness, or no policy, of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        if os.sched_getscheduler(0) == os.SCHED_OTHER:  # else whoever started us has said how we run
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
