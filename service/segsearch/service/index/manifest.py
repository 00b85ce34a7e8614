"""The manifest of a generation: what it was made from, how large it is, and a checksum of every file.

Where it stands: `writer` fills it in, `generation` holds the files against it, the API names parts of it in answers.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import xxhash

from segsearch.core.errors import GenerationCorrupt
from segsearch.core.files import write_atomically
from segsearch.service.index.format import EMBEDDINGS, FILES, FORMAT_VERSION, MANIFEST, NEIGHBOURS, SCORES

NeighbourKind = Literal["flat", "ivf-sq8", "ivf-pq", "pq-scan"]

_PIECE_BYTES = 4 << 20
_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class FileSum:
    """Size and xxh3 (64 bit, hex) of one file."""

    bytes: int
    xxh3: str

    @classmethod
    def of(cls, path: Path) -> "FileSum":
        """Reads the whole file, in pieces."""
        with path.open("rb") as file:
            return cls.read(file)

    @classmethod
    def read(cls, file: BinaryIO) -> "FileSum":
        """The same for a file that is open, from where it stands."""
        sum_, size = xxhash.xxh3_64(), 0
        while piece := file.read(_PIECE_BYTES):
            sum_.update(piece)
            size += len(piece)
        return cls(size, sum_.hexdigest())


@dataclass(frozen=True, slots=True)
class BundleName:
    """Which bundle scored the segments."""

    name: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class BlendPart:
    """One score matrix of several: its file's name, its checkpoint's digest, and what it counts."""

    matrix: str
    checkpoint: str
    weight: float


@dataclass(frozen=True, slots=True)
class Blend:
    """Which matrices a generation is the mean of, where no bundle scored it."""

    way: str
    parts: tuple[BlendPart, ...]


@dataclass(frozen=True, slots=True)
class Probing:
    """How an index is asked for candidates."""

    cells: int  # one where all are looked at
    probes: int  # cells that are looked into, at least
    candidates: int  # compared by their embeddings, for each one that is wanted


@dataclass(frozen=True, slots=True)
class NeighbourIndex:
    """How neighbours are found among a generation's embeddings, and how many of them."""

    kind: NeighbourKind
    embedding_size: int
    recall: float = 1.0  # share of the 100 nearest that is found, measured against comparing all
    queries: int = 0  # segments that it was measured by; none where all are compared
    parameters: Probing | None = None  # None where all are compared

    @property
    def files(self) -> tuple[str, ...]:
        """What it adds to a generation."""
        return (EMBEDDINGS,) if self.parameters is None else (EMBEDDINGS, NEIGHBOURS)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Records that the reindex passed over: how many, and the reasons of the first ones.

    A broken file counts once, whatever its rest held: `broken_files` and `unread_bytes` say how much that may be.
    """

    count: int = 0
    reasons: tuple[str, ...] = ()
    broken_files: int = 0
    unread_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a reader must know before it trusts the arrays."""

    number: int
    created_at: str  # ISO 8601, UTC
    bundle: BundleName
    feature_space: str
    vocabulary_digest: str
    class_count: int
    video_count: int
    segment_count: int
    posting_count: int
    id_bytes: int  # length of all video ids together
    limit: int  # postings kept a class
    skipped: Skipped = field(default_factory=Skipped)
    files: Mapping[str, FileSum] = field(default_factory=dict)
    blend: Blend | None = None
    live_sequence: int = 0  # uploads and deletions up to this one are in here
    neighbours: NeighbourIndex | None = None  # None: no embeddings are kept

    def write(self, directory: Path) -> None:
        """Writes `manifest.json`, sealed with a checksum of its own content."""
        document: dict[str, Any] = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        for name in ("blend", "live_sequence", "neighbours"):  # what a generation does not have goes without saying
            if not document[name]:
                del document[name]
        document["checksum"] = _checksum(document)
        write_atomically(directory / MANIFEST, json.dumps(document, indent=1) + "\n")

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Raises GenerationCorrupt if the manifest is missing, damaged, or of a format this release does not know."""
        document = _load(directory)
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise GenerationCorrupt(
                directory, f"{MANIFEST} has format version {version!r}; this release reads {FORMAT_VERSION}"
            )
        if document.pop("checksum", None) != _checksum(document):
            raise GenerationCorrupt(directory, f"{MANIFEST} does not match its own checksum")
        try:
            return _manifest_of(document)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{MANIFEST} is not usable: {type(error).__name__} {error}"
            raise GenerationCorrupt(directory, reason) from None


def _load(directory: Path) -> dict[str, Any]:
    try:
        with (directory / MANIFEST).open("rb") as file:
            document = json.loads(file.read(_LIMIT_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        reason = f"{MANIFEST} cannot be read: {_plain(error)}"
        raise GenerationCorrupt(directory, reason) from None
    if not isinstance(document, dict):
        raise GenerationCorrupt(directory, f"{MANIFEST} is a {type(document).__name__}, wanted an object")
    return document


def _plain(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _manifest_of(document: dict[str, Any]) -> Manifest:
    numbers = {
        name: int(document[name])
        for name in (
            "number", "class_count", "video_count", "segment_count", "posting_count", "id_bytes", "limit",
        )
    }  # fmt: skip
    least = min(count for name, count in numbers.items() if name != "posting_count")
    if least < 1 or numbers["posting_count"] < 0:  # of short lists compaction may leave none
        raise ValueError(f"counts {numbers}, wanted 1 or more each, or no postings")
    neighbours = _neighbours_of(document["neighbours"]) if "neighbours" in document else None
    wanted = (*FILES, *(neighbours.files if neighbours else ()))
    if set(document["files"]) - {SCORES} != set(wanted):
        raise ValueError(f"files {sorted(document['files'])}, wanted {sorted(wanted)}")
    return Manifest(
        **numbers,
        created_at=str(document["created_at"]),
        bundle=BundleName(**document["bundle"]),
        feature_space=str(document["feature_space"]),
        vocabulary_digest=str(document["vocabulary_digest"]),
        skipped=Skipped(**{**document["skipped"], "reasons": tuple(document["skipped"]["reasons"])}),
        blend=_blend_of(document["blend"]) if "blend" in document else None,
        live_sequence=int(document.get("live_sequence", 0)),
        files={name: FileSum(**sum_) for name, sum_ in document["files"].items()},
        neighbours=neighbours,
    )


def _blend_of(document: Mapping[str, Any]) -> Blend:
    return Blend(document["way"], tuple(BlendPart(**part) for part in document["parts"]))


def _neighbours_of(document: Mapping[str, Any]) -> NeighbourIndex:
    told = document["parameters"]
    found = NeighbourIndex(**{**document, "parameters": Probing(**told) if told is not None else None})
    numbers = (found.embedding_size, *(told.values() if told else ()))
    sound = all(isinstance(number, int) and number >= 1 for number in numbers)
    if not sound or found.kind not in get_args(NeighbourKind) or (found.kind == "flat") != (told is None):
        raise ValueError(f"neighbours {document}, wanted one of {get_args(NeighbourKind)} with counts of 1 or more")
    return found


def _checksum(document: Mapping[str, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
