"""What a process and all that it starts take: memory, processor, disks. Looked at from outside, twice a second.

Where it stands: `processes.watched` runs a job in a process of its own under a `Watch`. A process counts with those of
its children that it has waited for, as the system counts them; the largest sum over all that live is what is told, so
that workers whose parent never waits for them (Ray's) count, too, as long as they were looked at.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from proc import TICKS_PER_S, fields, stat


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all processes together."""

    memory_bytes: int = 0  # resident, at the worst moment; what several map or share counts for each of them
    cpu_s: float = 0.0
    disk_read_bytes: int = 0
    disk_written_bytes: int = 0

    def most(self, other: "Usage") -> "Usage":
        return Usage(
            max(self.memory_bytes, other.memory_bytes), max(self.cpu_s, other.cpu_s),
            max(self.disk_read_bytes, other.disk_read_bytes), max(self.disk_written_bytes, other.disk_written_bytes),
        )  # fmt: skip

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.memory_bytes + other.memory_bytes, self.cpu_s + other.cpu_s,
            self.disk_read_bytes + other.disk_read_bytes, self.disk_written_bytes + other.disk_written_bytes,
        )  # fmt: skip


@dataclass(slots=True)
class Watch:
    """The process of this number, and its descendants."""

    pid: int
    most: Usage = field(default_factory=Usage)

    def look(self) -> None:
        now = Usage()
        for pid in family(self.pid):
            with suppress(ProcessLookupError, FileNotFoundError, PermissionError):  # it ended meanwhile
                now += usage_of(pid)
        self.most = self.most.most(now)


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError, FileNotFoundError):
            parent = int(stat(int(entry.name))[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:  # grows as it goes
        found += children.get(member, [])
    return found


def usage_of(pid: int) -> Usage:
    """Of one process by itself, and of children that it has waited for, but for their memory."""
    resident_kb = fields(pid, "status").get("VmRSS", "0 kB").split()[0]
    disks = fields(pid, "io")
    ticks = sum(int(count) for count in stat(pid)[11:15])  # user and system, own and children's
    return Usage(
        int(resident_kb) * 1024, ticks / TICKS_PER_S, int(disks["read_bytes"]), int(disks["write_bytes"])
    )  # fmt: skip
