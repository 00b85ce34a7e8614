"""A process as `/proc` has it: what it takes of processors and memory."""

import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int | str) -> float:
    """CPU time that a process has taken, in hundredths."""
    user, system = stat(pid)[11:13]
    return (int(user) + int(system)) / TICKS_PER_S


def memory_mb(pid: int | str) -> float:
    """What of its memory is resident."""
    return int(fields(pid, "status")["VmRSS"].split()[0]) / 1024


def stat(pid: int | str) -> list[str]:
    """`/proc/<pid>/stat` from the third field on: the second is a name with whatever in it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def fields(pid: int | str, name: str) -> dict[str, str]:
    """A file of `/proc/<pid>` that has a line `name: value` each."""
    lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
