"""Is what lies in a folder of the run that is to go on there? Settings and data as documents, compared field by field.

Where it stands: `stages` asks before it trains anything, for its output folder and for another run's stage 1.
"""

import json
from pathlib import Path
from typing import Any

from segsearch.core.errors import DataError
from segsearch.core.files import write_atomically
from segsearch.training.config import NetworkConfig
from segsearch.training.documents import document_of
from segsearch.training.errors import OtherRun

RUN = "run.json"


def agree(out: Path, document: dict[str, Any]) -> None:
    """Writes run.json, or raises OtherRun naming the first field in which an older one differs."""
    path = out / RUN
    if not path.exists():
        write_atomically(path, json.dumps(document, indent=1) + "\n")
        return
    try:
        older = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(path, None, "settings", str(error), "JSON as `segsearch train` writes it") from None
    if not isinstance(older, dict):
        raise DataError(path, None, "settings", f"a {type(older).__name__}", "JSON as `segsearch train` writes it")
    difference = first_difference("", older, document)
    if difference is not None:
        raise OtherRun(out, *difference)


def weights_of(network: NetworkConfig) -> dict[str, Any]:
    """The network's document without what only says how it learns: another stage 1 may have learnt otherwise."""
    document = document_of(network)
    if document["mix"] is not None:
        del document["mix"]["distillation"]
    return document


def first_difference(where: str, older: Any, newer: Any) -> tuple[str, Any, Any] | None:
    """The path of the first field in which two documents differ, and both values; None where they are equal."""
    if isinstance(older, dict) and isinstance(newer, dict):
        for key in [*newer, *(older.keys() - newer.keys())]:
            difference = first_difference(f"{where}.{key}".strip("."), older.get(key), newer.get(key))
            if difference is not None:
                return difference
        return None
    return None if older == newer else (where, older, newer)
