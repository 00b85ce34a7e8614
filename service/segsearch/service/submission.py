"""Kaggle's submission CSV: `Class,Segments`, a line a class, segment ids best first.

Written from a generation and read back for judging, both line by line: a full one is near a gigabyte.
Format: the 3rd YouTube-8M challenge, as google/youtube-8m inference.py writes it.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from segsearch.core.errors import DataError, InvalidInput
from segsearch.core.files import writing_atomically
from segsearch.core.segments import parse_segment_id, segment_id
from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.index.format import POSTINGS_CAP
from segsearch.service.index.generation import Generation

HEADER = "Class,Segments"
_LABEL = re.compile(r"[0-9]{1,19}")  # int() refuses thousands of digits with an error of its own
_LINE = re.compile(_LABEL.pattern + r",(?:[^\s,]+:\d+(?: [^\s,]+:\d+)*)?")


class RankedClass(NamedTuple):
    """One line of a submission."""

    label_index: int
    segments: list[str]  # segment ids, best first


def ranked_classes(
    generation: Generation, limit: int = POSTINGS_CAP, labels: Iterable[int] | None = None
) -> Iterator[RankedClass]:
    """Each class's best segments, in vocabulary order; only those of these `labels` of the vocabulary, if given."""
    wanted = None if labels is None else {generation.vocabulary.ordinal_of(label) for label in labels}
    for row, entry in enumerate(generation.vocabulary.entries):
        if wanted is None or row in wanted:
            ids, starts = generation.segments(generation.postings(ClassOrdinal(row), limit)[0])
            yield RankedClass(entry.label_index, list(map(segment_id, ids, starts.tolist())))


def write_submission(path: Path, ranked: Iterable[RankedClass]) -> int:
    """Writes the CSV and returns its number of class lines; `path` appears only when it is whole."""
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_atomically(path) as file:
        file.write(f"{HEADER}\n".encode())
        for label_index, segments in ranked:
            file.write(f"{label_index},{' '.join(segments)}\n".encode())
            count += 1
    return count


def read_submission(path: Path) -> Iterator[RankedClass]:
    """The classes of a submission, in file order; raises DataError naming file and line."""
    seen: set[int] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline().rstrip("\r\n")
            if header != HEADER:
                raise DataError(path, None, "line 1", repr(header[:80]), repr(HEADER))
            for number, line in enumerate(file, start=2):
                yield _parse(path, number, line.rstrip("\r\n"), seen)
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(path, None, "submission", found, "a readable UTF-8 CSV file") from None


def _parse(path: Path, number: int, line: str, seen: set[int]) -> RankedClass:
    place = f"line {number}"
    label, _, segments = line.partition(",")
    if not _LINE.fullmatch(line):
        raise DataError(path, None, place, _fault(label, segments), "<label index>,<segment id> <segment id> ...")
    if int(label) in seen:
        raise DataError(path, None, place, f"class {label} a second time", "a line a class")
    seen.add(int(label))
    return RankedClass(int(label), segments.split())


def _fault(label: str, segments: str) -> str:
    if not _LABEL.fullmatch(label):
        return f"class {label[:80]!r}"
    for segment in segments.split(" "):
        try:
            parse_segment_id(segment)
        except InvalidInput as error:
            return f"{error.field} {error.found}"
    return repr(segments[:80])
