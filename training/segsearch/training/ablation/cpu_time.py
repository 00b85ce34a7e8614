"""A command's CPU time, noted while it runs: a kill that takes the whole queue costs the figure a few seconds.

Where it stands: `queue` runs each row's training this way, `results` reads the file. Where there is no /proc, time is
noted at the command's end alone.
"""

import json
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from segsearch.core.files import write_atomically


def run_counted(
    command: Sequence[str],
    seconds: Path,
    log: IO[str],
    environment: Mapping[str, str] | None = None,
    noted_every_s: float = 5.0,
) -> int:
    """Runs a command to its end and adds its CPU time to what `seconds` holds; its exit status.

    environment: by default this process's own.
    """
    before = _noted(seconds)
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    ended = threading.Event()

    def note() -> None:
        while not ended.wait(noted_every_s):
            if (used := _seconds_of(process.pid)) is not None:
                _write(seconds, before + used)

    noting = threading.Thread(target=note)
    noting.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        ended.set()
        noting.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    _write(seconds, before + usage.ru_utime + usage.ru_stime)
    return process.returncode


def _noted(path: Path) -> float:
    return float(json.loads(path.read_text())["cpu_seconds"]) if path.exists() else 0.0


def _write(path: Path, seconds: float) -> None:
    write_atomically(path, json.dumps({"cpu_seconds": seconds}) + "\n")


def _seconds_of(process_id: int) -> float | None:
    """User and system time of a process that runs and of its ended children; None where nobody tells."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # behind the command's name, which may hold spaces
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
