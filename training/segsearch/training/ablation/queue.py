"""Trains rows as `segsearch train` commands, several at once, one core each; goes on where it was stopped.

A row's folder is the command's `--out`, so a row that was killed goes on in it, and `folds.json` says that it is done.
Beside it, `seconds.json` adds up the CPU time of all tries.
"""

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from segsearch.core.cli import own_process
from segsearch.core.errors import SegsearchError
from segsearch.core.progress import say
from segsearch.training.ablation.cpu_time import run_counted
from segsearch.training.ablation.rows import Row

DONE, SECONDS, LOG = "folds.json", "seconds.json", "train.log"
ONE_CORE = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


class RowFailed(SegsearchError):
    """A row's training ended with an error; the others are trained all the same."""

    code = "row-failed"

    def __init__(self, rows: Sequence[str], log: Path):
        super().__init__(f"{len(rows)} rows failed: {', '.join(rows)}; wanted all done; see {log}")
        self.rows, self.log = rows, log


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Rows to train on one data folder, below `out`."""

    rows: Sequence[Row]
    data: str
    out: Path
    workers: int
    seed: int = 0

    def run(self) -> None:
        """Trains what is not done yet, each row after the one it starts from. Raises RowFailed at the end."""
        waiting = [row for row in self.rows if not is_done(self.out, row.name)]
        running: dict[Future[int], Row] = {}
        failed: list[str] = []
        with ThreadPoolExecutor(self.workers) as pool:
            while waiting or running:
                for row in self._ready(waiting, self.workers - len(running)):
                    waiting.remove(row)
                    running[pool.submit(self._train, row)] = row
                if not running:  # what is left starts from a row that failed
                    failed += [row.name for row in waiting]
                    break
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    row = running.pop(done)
                    if done.result():
                        failed.append(row.name)
                    left = len(waiting) + len(running)
                    say(f"{row.name}: {'failed' if done.result() else 'done'}; {left} of {len(self.rows)} rows left")
        if failed:
            raise RowFailed(failed, self.out / failed[0] / LOG)

    def _ready(self, waiting: Sequence[Row], count: int) -> list[Row]:
        return [row for row in waiting if row.start is None or is_done(self.out, row.start)][:count]

    def _train(self, row: Row) -> int:
        """The command's exit status."""
        folder = self.out / row.name
        folder.mkdir(parents=True, exist_ok=True)
        command = own_process("train", row.run)
        command += ["--data", self.data, "--out", str(folder), "--fold", "all", "--seed", str(self.seed)]
        command += ["--stage1", str(self.out / row.start)] if row.start else []
        command += [part for change in row.changes for part in ("--set", change)]
        with (folder / LOG).open("a") as log:
            return run_counted(command, folder / SECONDS, log, {**os.environ, **ONE_CORE})


def is_done(out: Path, name: str) -> bool:
    """Whether a row has its results."""
    return (out / name / DONE).exists()
