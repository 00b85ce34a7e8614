"""What a stage measured, step by step: `metrics.jsonl` for programs, TensorBoard events for people.

A run that was killed has written lines about steps it will take again; opening the journal at a step drops them.
TensorBoard shows such steps once as well: the repeated values are equal. `tracking` may send the numbers on.
"""

import json
import os
from pathlib import Path
from types import TracebackType

import tensorflow as tf

from segsearch.core.files import write_atomically
from segsearch.training.resume import saving
from segsearch.training.tracking import Tracking

METRICS, EVENTS = "metrics.jsonl", "events"


class Journal:
    """One line and one set of scalars for each `write`."""

    def __init__(self, directory: Path, step: int, quiet: bool = False, tracking: Tracking | None = None):
        """Goes on after `step`: lines about later steps, or cut short, are dropped. quiet: writes nothing at all."""
        self._tracking = tracking
        self.path = Path(os.devnull) if quiet else directory / METRICS
        if self.path.is_file():
            write_atomically(self.path, "".join(line + "\n" for line in _lines_until(self.path, step)))
        self._file = self.path.open("a")
        self._events = (
            tf.summary.create_noop_writer() if quiet else tf.summary.create_file_writer(str(directory / EVENTS))
        )

    def write(self, step: int, **values: float) -> None:
        """Numbers measured when `step` steps had been taken."""
        with saving(self.path):
            print(json.dumps({"step": step, **values}), file=self._file, flush=True)
        with self._events.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        if self._tracking:
            self._tracking.write(step, values)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._file.close()
        self._events.close()
        if self._tracking:
            self._tracking.close(failed=error is not None)


def _lines_until(path: Path, step: int) -> list[str]:
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:  # the line the kill cut short
            continue
    return kept
