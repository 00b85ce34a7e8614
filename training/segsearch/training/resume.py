"""Where a stage stands, saved so that a killed run goes on as if nothing had happened.

One file holds the network, its average, the optimiser and the counters of one moment, and is replaced at once. The
order of the data follows from seed, epoch and step, so nothing of the input has to be saved. With several machines the
chief saves and all restore.
"""

import dataclasses
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.errors import CheckpointMismatch
from segsearch.core.files import writing_atomically
from segsearch.training.errors import NotSaved

STATE = "state.npz"


@dataclass(slots=True)
class Progress:
    """How far a stage has come."""

    epoch: int = 0  # the one under way
    epoch_step: int = 0  # batches of it already taken
    step: int = 0  # batches taken in all
    best: float | None = None  # of the metric that chooses the checkpoint
    best_epoch: int = 0  # how many epochs were done when it was last bettered
    finished: bool = False


def save(directory: Path, progress: Progress, variables: Sequence[Any]) -> None:
    """Replaces the saved state at once. A finished stage needs no variables any more, only the fact."""
    kept = [] if progress.finished else variables
    arrays = {f"{number:04d}": np.asarray(variable) for number, variable in enumerate(kept)}
    with saving(directory / STATE), writing_atomically(directory / STATE) as file:
        np.savez(file, progress=np.array(json.dumps(dataclasses.asdict(progress))), **arrays)


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turns an operating system's refusal to write into NotSaved."""
    try:
        yield
    except OSError as error:
        raise NotSaved(path, error.strerror or str(error)) from None


def restore(directory: Path, variables: Sequence[Any]) -> Progress:
    """Sets the variables as they were saved and says where the stage stood; a stage that is new starts at 0."""
    path = directory / STATE
    if not path.exists():
        return Progress()
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            saved = {name: arrays[name] for name in arrays.files}
        progress = Progress(**json.loads(str(saved.pop("progress"))))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CheckpointMismatch(path, str(error), "a state as `segsearch train` saves it") from None
    if progress.finished:
        return progress
    if len(saved) != len(variables):
        raise CheckpointMismatch(path, f"{len(saved)} variables", f"{len(variables)}")
    for value, variable in zip(saved.values(), variables, strict=True):
        if value.shape != tuple(variable.shape):
            raise CheckpointMismatch(path, f"{variable.path} of shape {value.shape}", f"shape {tuple(variable.shape)}")
        variable.assign(value)
    return progress
