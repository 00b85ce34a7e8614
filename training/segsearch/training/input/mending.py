"""Shards without their bad records: what `input.on_error = "skip"` trains on.

A damaged shard is read once more and its good records are copied beside the run; whole shards are read where they lie.
Why copies: TensorFlow's reader drops the rest of a file at a wrong checksum and tells nobody, while the order of the
examples, and with it going on exactly after a kill, must not depend on when a fault is met. The price is that every
record is read once before training starts.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from segsearch.core.errors import BadRecord, BadShard, DataError
from segsearch.core.files import write_atomically
from segsearch.core.progress import progress
from segsearch.core.records import read_records, write_records

CHECKED = "checked.json"  # what was found in which file, so that a run that goes on need not look again

Check = Callable[[Path, int, bytes], object]  # (file, record number, payload); raises BadRecord


class Mending:
    """Copies of damaged shards in one folder, and what is left out of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / CHECKED
        self._known: dict[str, list[str]] = json.loads(path.read_text()) if path.exists() else {}
        self.skipped: list[str] = []  # one line a fault: file, record, field, what was found and wanted

    def mended(self, part: str, files: Iterable[Path], check: Check) -> tuple[Path, ...]:
        """The files, damaged ones replaced by copies of their good records. part: of the data, for which `check` is."""
        files = tuple(files)
        with progress("checking shards", len(files), "files") as advance:
            kept = []
            for file in files:
                kept.append(self._mended(part, file, check))
                advance()
        return tuple(kept)

    def _mended(self, part: str, file: Path, check: Check) -> Path:
        # Under its own name, as folds go by name; shards of other folders may have the same.
        place = f"{part}-{sha256(str(file.parent.resolve()).encode()).hexdigest()[:16]}"
        stat, copy = file.stat(), self.folder / place / file.name
        key = f"{place}/{file.name} {stat.st_size} {stat.st_mtime_ns}"
        faults = self._known.get(key)
        if faults is None or (faults and not copy.exists()):
            found = list(_faults(file, check))
            if found:
                copy.parent.mkdir(parents=True, exist_ok=True)
                write_records(copy, _without(file, found))
            faults = [str(fault) for fault in found]
            self._remember(key, faults)
        self.skipped += faults
        return copy if faults else file

    def _remember(self, key: str, faults: list[str]) -> None:
        self._known[key] = faults
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / CHECKED, json.dumps(self._known, indent=1) + "\n")


def _faults(file: Path, check: Check) -> Iterator[DataError]:
    """Every bad record; where the framing breaks, that, and nothing behind it can be found."""
    try:
        for number, payload in enumerate(read_records(file)):
            try:
                if isinstance(payload, BadRecord):
                    raise payload
                check(file, number, payload)
            except BadRecord as fault:
                yield fault
    except BadShard as fault:
        yield fault


def _without(file: Path, faults: list[DataError]) -> Iterator[bytes]:
    bad = {fault.record for fault in faults}
    end = next((fault.record for fault in faults if isinstance(fault, BadShard)), None)
    for number, payload in enumerate(itertools.islice(read_records(file), end)):
        if number not in bad:
            assert isinstance(payload, bytes)
            yield payload
