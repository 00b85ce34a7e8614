"""Runs a process under the shim, and reads what the shim noted."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

SOURCE = Path(__file__).with_name("shim.c")


@dataclass(frozen=True, slots=True)
class Record:
    """One call; `shim.c` says what each kind means."""

    kind: str
    inode: int
    offset: int
    flag: int
    content: bytes

    @property
    def paths(self) -> list[Path]:
        return [Path(os.fsdecode(name)) for name in self.content.split(b"\0")]

    @property
    def syncs(self) -> bool:
        """Whether something is on disk for good once the call has returned."""
        return (self.kind == "S" and not self.flag) or (self.kind == "W" and self.flag == 1)


def compiled(folder: Path) -> Path | None:
    """The shim as a library; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = folder / "shim.so"
    words = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-pthread", "-o", str(library), str(SOURCE)]
    subprocess.run(words, check=True)
    return library


def record(library: Path, root: Path, log: Path, *module_and_arguments: object, fail: str = "") -> int:
    """Runs a module of the tests and notes what it does below `root`, an empty folder; returns its exit code."""
    own = {"LD_PRELOAD": str(library), "POWER_CUT_ROOT": str(root), "POWER_CUT_LOG": str(log)}
    own |= {"POWER_CUT_FAIL": fail} if fail else {}
    words = [sys.executable, "-m", *map(str, module_and_arguments)]
    heard = subprocess.DEVNULL if fail else None
    done = subprocess.run(words, cwd=ROOT, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=heard, check=False)
    return done.returncode


def records(log: Path) -> list[Record]:
    found = []
    with log.open("rb") as file:
        while head := file.readline():
            kind, *numbers = head.split()
            inode, offset, flag, length = map(int, numbers)
            found.append(Record(kind.decode(), inode, offset, flag, file.read(length)))
    return found


def lines_said(done: list[Record]) -> list[list[str]]:
    """The words of each line that the process had written to its standard output."""
    said = b"".join(record.content for record in done if record.kind == "P")
    return [line.decode().split() for line in said.splitlines()]
