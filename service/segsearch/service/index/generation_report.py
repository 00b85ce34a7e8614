"""What `segsearch index list` says of each generation: read from its manifest, no array is opened."""

from contextlib import suppress
from typing import Any

from segsearch.core.errors import GenerationCorrupt, NoGeneration
from segsearch.service.index.format import EMBEDDINGS, SCORES
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.manifest import Manifest


def described(index: IndexDirectory) -> list[dict[str, Any]]:
    """A row a generation, oldest first; one whose manifest is damaged says so in `fault` and knows nothing else.

    Raises NoGeneration for a directory without any.
    """
    numbers = index.numbers()
    if not numbers:
        raise NoGeneration(index.root)
    current = None
    with suppress(NoGeneration, GenerationCorrupt):
        current = index.current()
    return [_row(index, number, number == current) for number in numbers]


def _row(index: IndexDirectory, number: int, is_current: bool) -> dict[str, Any]:
    facts = ("created_at", "bundle", "segments", "classes", "limit", "bytes", "scores", "embeddings")
    row: dict[str, Any] = dict.fromkeys(facts, "")
    row = {"generation": number, "current": is_current, **row, "fault": ""}
    try:
        manifest = Manifest.read(index.root / str(number))
    except GenerationCorrupt as error:
        return {**row, "fault": error.reason}
    return {
        **row,
        "created_at": manifest.created_at,
        "bundle": f"{manifest.bundle.name}/{manifest.bundle.version}",
        "segments": manifest.segment_count,
        "classes": manifest.class_count,
        "limit": manifest.limit,
        "bytes": sum(file.bytes for file in manifest.files.values()),
        "scores": SCORES in manifest.files,
        "embeddings": EMBEDDINGS in manifest.files,
    }
