"""What parts of a long run have found, kept as JSON until the next run begins, so that one that was killed goes on.

Where it stands: `headline` and `scaling` do nothing for minutes that is not written down here when it is done. A part
that was killed in its middle is done again from its beginning, as half of it would be no measurement.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from segsearch.core.files import write_atomically

Found = TypeVar("Found")


class Notes:
    """A folder of them. Unless a run goes on where an earlier one ended, it begins with none."""

    def __init__(self, folder: Path, *, go_on: bool):
        if not go_on:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def take(self, name: str, read: Callable[[Mapping[str, Any]], Found], find: Callable[[], Found]) -> Found:
        """What is noted under the name, else what `find` finds, a dataclass or a named tuple, which is noted then."""
        path = self.folder / f"{name}.json"
        if path.exists():
            return read(json.loads(path.read_text()))
        found: Any = find()
        fields = asdict(found) if is_dataclass(found) else found._asdict()
        write_atomically(path, json.dumps(fields, indent=1) + "\n")
        return found
