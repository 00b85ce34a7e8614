"""The ordered classes of a model or data set, and how people name them.

Reads YouTube-8M's `vocabulary.csv` (Index, KnowledgeGraphId, Name, ...), `segment_label_ids.csv` (header `Index`, one
id a line), and any CSV with an Index and a Name column. Columns beyond these are left alone.
"""

import csv
import difflib
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NewType

from segsearch.core.errors import DataError, UnknownTag

ClassOrdinal = NewType("ClassOrdinal", int)  # column 0..C-1; never to be mixed with a label index
LARGEST_LABEL_INDEX = (1 << 63) - 1  # records hold labels as int64
_READABLE = "a readable UTF-8 CSV file"
_INDEX_DIGITS = len(str(LARGEST_LABEL_INDEX))  # looked at first: int() refuses thousands with an error of its own


@dataclass(frozen=True, slots=True)
class Entry:
    """One class: YouTube-8M's number for it, its name, and its knowledge-graph id where it has one."""

    label_index: int
    name: str
    knowledge_graph_id: str = ""


class Vocabulary:
    """Classes in output order. Equal vocabularies have equal digests; the digest ties models, postings and labels."""

    def __init__(self, entries: Iterable[Entry]):
        self.entries: tuple[Entry, ...] = tuple(entries)
        self._ordinals = {entry.label_index: ClassOrdinal(row) for row, entry in enumerate(self.entries)}
        if len(self._ordinals) < len(self.entries):
            raise ValueError("a label index stands twice in the vocabulary")

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """Reads a vocabulary CSV; raises DataError naming file, line and column."""
        return cls.parsed(_bytes(path, "vocabulary"), path)

    @classmethod
    def parsed(cls, content: bytes, path: Path) -> "Vocabulary":
        """Of a CSV file's content; path: the file, for errors. Raises DataError."""
        header, rows = _table(_text(content, path, "vocabulary"), path)
        for column in ("Index", "Name"):
            if column not in header:
                raise DataError(path, 0, "header", ",".join(header)[:80], f"a column {column}")
        index_at, name_at = header.index("Index"), header.index("Name")
        id_at = header.index("KnowledgeGraphId") if "KnowledgeGraphId" in header else None
        entries: dict[int, Entry] = {}
        for number, row in enumerate(rows, start=1):
            index = _label_index(row[index_at] if index_at < len(row) else "", path, number)
            if index in entries:
                raise DataError(path, number, "Index", f"{index} a second time", "each index once")
            if name_at >= len(row):
                raise DataError(path, number, "Name", "missing", "a cell for each column of the header")
            name = row[name_at].strip() or f"label {index}"  # a few of YouTube-8M's have none
            known_as = row[id_at].strip() if id_at is not None and id_at < len(row) else ""
            entries[index] = Entry(index, name, known_as)
        if not entries:
            raise DataError(path, None, "rows", "none", "at least one class")
        return cls(entries.values())

    def to_csv(self) -> str:
        """The vocabulary as CSV text, `read`'s inverse."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["Index", "KnowledgeGraphId", "Name"])
        writer.writerows([entry.label_index, entry.knowledge_graph_id, entry.name] for entry in self.entries)
        return out.getvalue()

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, label_index: int) -> bool:
        return int(label_index) in self._ordinals

    def __getitem__(self, ordinal: int) -> Entry:
        return self.entries[ordinal]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the classes in order."""
        return hashlib.sha256(self.to_csv().encode()).hexdigest()

    def extent(self) -> str:
        """For error messages: how many classes, from which index to which."""
        return f"one of {len(self)} label indices from {min(self._ordinals)} to {max(self._ordinals)}"

    def ordinal_of(self, label_index: int) -> ClassOrdinal:
        """The column of a label index; KeyError if it is not in the vocabulary (test with `in` first)."""
        return self._ordinals[int(label_index)]

    def subset(self, label_indices: Sequence[int]) -> "Vocabulary":
        """The classes with these label indices, in the order given; KeyError for one that is not here."""
        return Vocabulary(self.entries[self.ordinal_of(index)] for index in label_indices)

    def find(self, tag: str) -> ClassOrdinal:
        """The class that a tag means: its name (in any case), label index or knowledge-graph id.

        Raises UnknownTag with the names nearest to it.
        """
        meant = self._meant(tag)
        if meant is None:
            raise UnknownTag(tag, self.nearest(tag))
        return meant

    def knows(self, tag: str) -> bool:
        """Whether `find` would find it."""
        return self._meant(tag) is not None

    def _meant(self, tag: str) -> ClassOrdinal | None:
        wanted = tag.strip().casefold()
        if wanted in self._by_name:
            return self._by_name[wanted]
        if wanted.isascii() and wanted.isdecimal() and len(wanted) <= _INDEX_DIGITS:
            return self._ordinals.get(int(wanted))
        return None

    def nearest(self, tag: str, limit: int = 3) -> list[str]:
        """Names that look like `tag`: containing it, sharing its beginning, or a few letters apart."""
        wanted = tag.strip().casefold()
        names = [entry.name for entry in self.entries]
        folded = {name.casefold(): name for name in reversed(names)}
        containing = [name for name in names if wanted and wanted in name.casefold()]
        alike = [folded[name] for name in difflib.get_close_matches(wanted, folded, limit, cutoff=0.5)]
        # A longer word for the same thing ("kitten" for "kit") has the tag's first letters but few in common.
        starting = [name for name in names if len(wanted) >= 3 and name.casefold()[:3] == wanted[:3]]
        return list(dict.fromkeys([*containing, *alike, *starting]))[:limit]

    def starting_with(self, prefix: str, limit: int) -> list[ClassOrdinal]:
        """Classes with a word that begins with `prefix`; names that themselves begin so come first, then by name."""
        wanted = prefix.strip().casefold()
        ranked = []
        for ordinal, entry in enumerate(self.entries):
            name = entry.name.casefold()
            if name.startswith(wanted):
                ranked.append((0, name, ordinal))
            elif any(word.startswith(wanted) for word in name.replace("(", " ").split()):
                ranked.append((1, name, ordinal))
        return [ClassOrdinal(ordinal) for _, _, ordinal in sorted(ranked)[:limit]]

    @cached_property
    def _by_name(self) -> dict[str, ClassOrdinal]:
        names: dict[str, ClassOrdinal] = {}
        for ordinal, entry in enumerate(self.entries):
            for alias in (entry.name, entry.knowledge_graph_id):
                if alias:
                    # YouTube-8M has a few names twice: the first class keeps the name, the label index reaches both.
                    names.setdefault(alias.casefold(), ClassOrdinal(ordinal))
        return names


def read_segment_labels(path: Path, within: Vocabulary | None = None) -> list[int]:
    """The label indices of `segment_label_ids.csv`, in file order; a line that is no number is a header.

    The starter code (google/youtube-8m inference.py) skips such lines wherever they stand; here only the first may be
    one, as any other is more likely damage. within: a label outside this vocabulary is an error.
    """
    indices, what = [], "segment labels"
    for number, line in enumerate(_text(_bytes(path, what), path, what).split("\n")):
        if line.strip() and (number or line.strip().isdecimal()):
            indices.append(_label_index(line, path, number))
            if within is not None and indices[-1] not in within:
                raise DataError(path, number, "Index", f"label {indices[-1]} is unknown", within.extent())
    if not indices or len(set(indices)) < len(indices):
        raise DataError(path, None, "Index", f"{len(indices)} numbers, {len(set(indices))} distinct", "distinct ones")
    return indices


def _table(text: str, path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file, without empty lines."""
    reader = csv.reader(io.StringIO(text))
    try:
        header, *rows = [row for row in reader if row] or [[]]
        return header, rows
    except csv.Error as error:
        raise DataError(path, reader.line_num, "row", str(error), "a row of CSV") from None


def _bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(path, None, what, str(error), _READABLE) from None


def _text(content: bytes, path: Path, what: str) -> str:
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise DataError(path, None, what, str(error), _READABLE) from None


def _label_index(text: str, path: Path, number: int) -> int:
    digits = text.strip()
    if digits.isdecimal() and len(digits) <= _INDEX_DIGITS and (index := int(digits)) <= LARGEST_LABEL_INDEX:
        return index
    raise DataError(path, number, "Index", repr(digits[:80]), f"a whole number from 0 to {LARGEST_LABEL_INDEX}")
