"""Who reads a generation: a shared lock on its manifest, held as long as the generation is open.

Where it stands: `generation` takes it, `index_directory` asks before it removes an old generation. On a local disk a
removed file stays readable where it is mapped; on a network file system another machine's reader may lose it.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from segsearch.service.index.format import MANIFEST


class Hold:
    """Says that this process reads a generation, until nobody refers to this object any more."""

    def __init__(self, directory: Path):
        """Raises OSError if there is no manifest that can be read."""
        self._descriptor = os.open(directory / MANIFEST, os.O_RDONLY | os.O_CLOEXEC)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def is_held(directory: Path) -> bool:
    """Whether some process, this one included, reads the generation."""
    try:
        # Network file systems grant an exclusive lock only to those who may write.
        with (directory / MANIFEST).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
