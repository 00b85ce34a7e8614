"""Uploads by another model's scores are scored by the generation's own, as soon as that one is in use.

Where it stands: `serve` starts it beside the library, in one of its processes. Where a reindex publishes another
model's generation, a server scores uploads by the model before until it is told to load the new one; those show by
scores that stand in, and could not be compacted.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from segsearch.core.errors import NoGeneration
from segsearch.service.events import log
from segsearch.service.stepping_back import step_back

_LOOK_EVERY_S: Final = 1.0
_RETRY_S: Final = 60.0


class CatchingUp:
    """Looks after one library while its block lasts."""

    def __init__(
        self,
        catch_up: Callable[[], int | None],
        *,
        look_every_s: float = _LOOK_EVERY_S,
        retry_s: float = _RETRY_S,
    ):
        """catch_up: the library's."""
        self._catch_up, self._look_every_s, self._retry_s = catch_up, look_every_s, retry_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="catching-up")

    def __enter__(self) -> "CatchingUp":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        step_back()
        pause_s = self._look_every_s
        while not self._stopped.wait(pause_s):
            pause_s = self._caught_up()

    def _caught_up(self) -> float:
        """Does a few; returns how long to wait then."""
        try:
            count = self._catch_up()
        except NoGeneration:
            return self._look_every_s
        except Exception as error:  # a model, a disk: whatever it was may be over soon
            log("catching_up_failed", level=logging.WARNING, reason=str(error), again_in_s=self._retry_s)
            return self._retry_s
        if count:
            log("uploads_scored_again", videos=count)
        if count is None:
            return self._look_every_s
        return 0.0 if count else self._retry_s  # none could be scored
