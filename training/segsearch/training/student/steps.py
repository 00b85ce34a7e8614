"""Commands one after the other or side by side, each done once: what `line` is made of.

A step is a command and the file that it makes last. A step whose file is there is done; a run that was stopped goes on
with the first that is not. What a command says goes to a log of its own.
"""

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from segsearch.core.errors import SegsearchError
from segsearch.core.progress import say
from segsearch.training.ablation.queue import ONE_CORE


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
        failures = list(pool.map(lambda step: _run(step, logs), waiting))
    failed = next((failure for failure in failures if failure is not None), None)
    if failed is not None:
        raise failed


def _run(step: Step, logs: Path) -> StepFailed | None:
    say(f"{step.name}: {' '.join(map(str, step.command))[:200]}")
    log = logs / f"{step.name.replace(' ', '_')}.log"
    with log.open("a") as file:
        done = subprocess.run([*map(str, step.command)], stdout=file, stderr=file, env={**os.environ, **ONE_CORE})
    if done.returncode or not step.done:
        return StepFailed(step.name, done.returncode, log)
    say(f"{step.name}: done")
    return None
