"""Remembers what a search found: one small JSON file for each model on each kind of machine.

A file that is damaged, or speaks of another model or machine, is passed over with a word; nothing else depends on it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from segsearch.core.bundle import Bundle, Precision
from segsearch.core.errors import ConfigError
from segsearch.core.files import write_atomically
from segsearch.core.progress import say
from segsearch.service.scoring import machine
from segsearch.service.scoring.tuning import Best, Tuning

FORMAT_VERSION: Final = 1

Facts = Mapping[str, str | int | list[str]]


def facts_of(bundle: Bundle, precision: Precision, provider: str, runs: int) -> Facts:
    """What a tuning holds for: the model, the machine, and how many runs were asked for (0: any)."""
    import onnxruntime

    return {
        "bundle": bundle.digest, "precision": precision, "provider": provider, "runs": runs,
        "processor": machine.processor(), "cores": machine.core_count(), "accelerators": machine.accelerators(),
        "onnxruntime": str(onnxruntime.__version__),
    }  # fmt: skip


def file_of(folder: Path, facts: Facts) -> Path:
    """Where a tuning for these facts lies."""
    text = json.dumps(facts, sort_keys=True)
    return folder / f"tuning-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def recall(folder: Path, facts: Facts) -> Tuning | None:
    """The tuning found before; None where there is none, or none that can be trusted, which is said."""
    file = file_of(folder, facts)
    try:
        return _read(file, facts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError, ConfigError) as error:
        say(f"{file} is ignored: {error or type(error).__name__}")
        return None


def remember(folder: Path, facts: Facts, best: Best) -> None:
    """Writes it down, at once or not at all; a folder that cannot be written to is only said."""
    document = {"format_version": FORMAT_VERSION, "facts": facts, **dataclasses.asdict(best)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file_of(folder, facts), json.dumps(document, indent=1) + "\n")
    except OSError as error:
        say(f"the tuning is not remembered: {error}")


def _read(file: Path, facts: Facts) -> Tuning:
    document: Any = json.loads(file.read_bytes())
    if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"no object of format version {FORMAT_VERSION}")
    if document["facts"] != facts:
        raise ValueError("it is of another model or machine")
    fields = document["tuning"]
    if not isinstance(fields, dict) or not all(type(value) is int for value in fields.values()):
        raise ValueError(f"tuning is {fields!r}, wanted whole numbers")
    return Tuning(**fields)
