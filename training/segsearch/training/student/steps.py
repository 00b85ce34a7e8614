"""Commands one after the other or side by side, each done once: what `line` is made of.

A step is a command and the file that it makes last. A step whose file is there is done; a run that was stopped goes on
with the first that is not. What a command says goes to a log of its own, and its CPU time beside it.
"""

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from segsearch.core.errors import SegsearchError
from segsearch.core.progress import say
from segsearch.training.ablation.cpu_time import run_counted
from segsearch.training.ablation.queue import ONE_CORE

SECONDS = ".seconds.json"


class StepFailed(SegsearchError):
    """A command of `make student` that ended with an error; what others made stays."""

    code = "step-failed"

    def __init__(self, step: str, status: int, log: Path):
        super().__init__(f"{step} ended with status {status}; wanted 0; see {log}, then give the same command again")
        self.step, self.status, self.log = step, status, log


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command."""

    name: str
    command: Sequence[object]
    makes: Path

    @property
    def done(self) -> bool:
        return self.makes.exists()


def run_steps(steps: Sequence[Step], logs: Path, workers: int = 1) -> None:
    """Runs what is not done yet, `workers` at once, a core each. Raises StepFailed for the first that fails."""
    waiting = [step for step in steps if not step.done]
    logs.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        numbered = enumerate(waiting, start=1)
        failures = list(pool.map(lambda each: _run(each[1], logs, f"{each[0]} of {len(waiting)}"), numbered))
    failed = next((failure for failure in failures if failure is not None), None)
    if failed is not None:
        raise failed


def cpu_seconds(logs: Path, name: str) -> float:
    """What the steps whose names begin so took in all, of all tries; 0 where none was run here."""
    files = logs.glob(f"{name.replace(' ', '_')}*{SECONDS}")
    return sum((json.loads(path.read_text())["cpu_seconds"] for path in files), 0.0)


def _run(step: Step, logs: Path, place: str) -> StepFailed | None:
    say(f"{step.name} ({place}): {' '.join(map(str, step.command))[:200]}")
    started, name = time.monotonic(), step.name.replace(" ", "_")
    log = logs / f"{name}.log"
    with log.open("a") as file:
        command = [*map(str, step.command)]
        status = run_counted(command, logs / f"{name}{SECONDS}", file, {**os.environ, **ONE_CORE})
    if status or not step.done:
        return StepFailed(step.name, status, log)
    say(f"{step.name}: done in {time.monotonic() - started:.0f} s")
    return None
