"""The view that answers now: the published generation, with what the live store knows beyond it.

Where it stands: `library` asks it before every answer. A generation that is published later is opened and verified in
the background and takes over between two answers, never within one; an upload is in the next view that is asked for.
One that cannot be served is left alone, but tried again after a while where that may be the machine's fault.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Final

from segsearch.core.errors import FeatureSpaceMismatch, GenerationCorrupt, NoGeneration, VocabularyMismatch
from segsearch.service.events import log
from segsearch.service.index.generation import Generation
from segsearch.service.index.index_directory import IndexDirectory, Stamp
from segsearch.service.index.live.delta import Delta
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.view import View, live_over

_LOOK_EVERY_S: Final = 0.01  # at the disk, for another generation: a look takes longer than an answer at hand
_FIRST_PAUSE_S: Final = 1.0  # before a generation is tried again; twice as long each time
_LONGEST_PAUSE_S: Final = 60.0
_ITS_OWN: Final = (GenerationCorrupt, VocabularyMismatch, FeatureSpaceMismatch, NoGeneration)  # the same another time
_NOT_THERE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class CurrentView:
    """Follows an index directory and a live store. Methods may be called from any number of threads."""

    def __init__(self, index: IndexDirectory, store: LiveStore | None, check: Callable[[Generation], None]):
        """Opens and verifies the published generation; an index without one answers when one is published.

        check: raises where a generation cannot be served. What it raises, and GenerationCorrupt, is raised here, too.
        """
        self.index, self._store, self._check = index, store, check
        self._refreshing = threading.Lock()
        self._seen: Stamp | None = index.stamp()
        self._looked: tuple[float, Stamp | None] = (time.monotonic(), self._seen)  # when, and what was there
        self._again_at_s, self._pause_s = math.inf, _FIRST_PAUSE_S  # when what was seen is tried once more
        self._served: _Served | None = None
        try:
            self._served = self._open()
        except NoGeneration:
            log("index_is_empty", level=logging.WARNING, index=index.root)

    def view(self) -> View:
        """What the library holds now; whoever has it may keep reading it after a switch.

        Notices within ten milliseconds that another generation was published, and has it opened in the background, so
        that no query waits for that. Raises NoGeneration.
        """
        if self._is_due() and self._refreshing.acquire(blocking=False):
            self._start_refresh()
        served = self._served
        if served is None:
            raise NoGeneration(self.index.root)
        return served.view()

    def at_hand(self) -> View | None:
        """What `view` would give, where that takes no more than a look: an event loop may ask. None where it may take
        longer, as something was published or committed since, or nothing is served.
        """
        served = self._served
        return served.at_hand() if served is not None and not self._is_due() else None

    def refresh(self) -> None:
        """Switches to the published generation before it returns, if that can be served; see `view`."""
        with self._refreshing:
            self._switch()

    def _is_due(self) -> bool:
        """Whether a generation is to be tried: by the index directory's stamp, not older than ten milliseconds."""
        at, stamp = self._looked
        now = time.monotonic()
        if now - at > _LOOK_EVERY_S:
            stamp = self.index.stamp()
            self._looked = now, stamp
        return stamp != self._seen or now >= self._again_at_s

    def _start_refresh(self) -> None:
        """Starts the background thread; the caller took the lock for it."""
        try:
            threading.Thread(target=self._refresh, name="refresh", daemon=True).start()
        except RuntimeError as error:  # the system has none to give
            self._seen = self._looked[1]
            self._refuse(error)
            self._refreshing.release()

    def _refresh(self) -> None:
        """The background thread's work; its starter took the lock for it."""
        try:
            self._switch()
        finally:
            self._refreshing.release()

    def _switch(self) -> None:
        stamp, now = self.index.stamp(), time.monotonic()
        self._looked = now, stamp
        if stamp != self._seen:
            self._pause_s = _FIRST_PAUSE_S
        elif now < self._again_at_s:
            return
        self._seen, self._again_at_s = stamp, math.inf  # before anything can go wrong
        try:
            served = self._open()
        except Exception as error:  # whatever it is: the old one answers on, and the next one is tried
            self._refuse(error)
        else:
            log("generation_switched", number=served.generation.number, before=self._number())
            self._served = served

    def _refuse(self, error: Exception) -> None:
        """Says why the old one serves on, and has what was seen tried again where it may go well another time."""
        pause_s = None
        if _may_pass(error):
            pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._again_at_s = time.monotonic() + pause_s
        reason = f"{type(error).__name__}: {error}"
        log("generation_refused", level=logging.ERROR, reason=reason, serving=self._number(), again_in_s=pause_s)

    def _number(self) -> int | None:
        return self._served.generation.number if self._served is not None else None

    def _open(self) -> "_Served":
        generation = self.index.open_current()
        self._check(generation)
        generation.verify()
        served = _Served(generation, self._store)
        served.view().find_heads()  # what is live is read, and the best of each tag found, before a query needs it
        return served


def _may_pass(error: Exception) -> bool:
    """Whether the same generation may be served another time: always, where the error is not of the generation itself.

    What the disk or a lack of descriptors does is told as GenerationCorrupt, too, and is the context of that.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and not isinstance(cause, _NOT_THERE):
            return True
        cause = cause.__context__
    return not isinstance(error, _ITS_OWN)


class _Served:
    """One generation and the changes that it does not hold yet; makes a view anew only where one of them changed."""

    def __init__(self, generation: Generation, store: LiveStore | None):
        self.generation = generation
        manifest = generation.manifest
        self._live = live_over(generation, store) if store is not None else None
        self._view: View | None = None
        if self._live is None:
            self._view = View.of(generation, Delta.empty(manifest.class_count, manifest.live_sequence))

    def at_hand(self) -> View | None:
        view = self._view
        if view is None or self._live is None or self._live.at_hand() is view.delta:
            return view
        return None

    def view(self) -> View:
        view = self._view
        if self._live is None:
            assert view is not None
            return view
        delta = self._live.current()
        if view is None or view.delta is not delta:
            # Two threads may both make it; either one is right, and a later question looks again.
            self._view = view = View.of(self.generation, delta, before=view)
        return view
