"""A bundle's model card: what somebody must know before they let it rank their videos, as Markdown.

Where it stands: `python -m segsearch.export.model_card BUNDLE --facts FACTS.json` writes it to
`<name>/model-card-<version>.md` beside the version's folder, as `config.pbtxt` lies there: a bundle's own folder holds
what its manifest vouches for and nothing else. What the bundle knows of itself is taken from it; the facts are what
only its maker knows.
"""

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segsearch.core.bundle import Bundle
from segsearch.core.errors import ConfigError, DataError, SegsearchError
from segsearch.core.files import write_atomically
from segsearch.core.progress import say


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One measured figure. A figure without its split says nothing, so there is none without."""

    model: str  # what was measured: this model, or what it is compared with
    value: float
    metric: str
    split: str

    def __post_init__(self) -> None:
        for name in ("model", "metric", "split"):
            _check_told(f"quality.{name}", getattr(self, name))
        if not 0 <= self.value <= 1:
            raise ConfigError("quality.value", self.value, "from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the bundle's maker has to say, each a sentence or more."""

    data: str
    licence: str  # of the data and what follows from it for the model
    protocol: str  # how it was trained and judged
    cost: str  # of scoring a segment, with the machine
    use: str  # what it is for
    limits: str  # what it is not for, and where it errs
    quality: tuple[Quality, ...]

    def __post_init__(self) -> None:
        for name in ("data", "licence", "protocol", "cost", "use", "limits"):
            _check_told(name, getattr(self, name))
        if not self.quality:
            raise ConfigError("quality", (), "one measured figure at least")

    @classmethod
    def read(cls, path: Path) -> "Facts":
        """Facts as JSON, the fields by name; raises DataError naming what is missing, unknown or no text."""
        try:
            document = json.loads(path.read_text())
            quality = tuple(Quality(**each) for each in document.pop("quality"))
            return cls(quality=quality, **document)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, ConfigError) as error:
            fields = ", ".join(field.name for field in dataclasses.fields(cls))
            raise DataError(path, None, "facts", f"{type(error).__name__}: {error}", f"JSON with {fields}") from None


def write_card(bundle: Bundle, facts: Facts) -> Path:
    """Puts the card beside the version's folder and returns where."""
    path = bundle.directory.parent / f"model-card-{bundle.manifest.version}.md"
    write_atomically(path, card_of(bundle, facts))
    return path


def card_of(bundle: Bundle, facts: Facts) -> str:
    """The card's text."""
    manifest = bundle.manifest
    quality = [(each.model, each.metric, each.split, f"{each.value:.4f}") for each in facts.quality]
    parts = [
        f"# Model card: {manifest.name}, version {manifest.version}",
        f"Made {manifest.created_at or 'at a time nobody noted'}. It gives {manifest.class_count} probabilities for "
        f"each five-second segment of a video, from features `{manifest.features.space}` of the segment and up to "
        f"{manifest.context_frames} frames before and after it. Manifest: sha256 `{bundle.digest}`.",
        _section("Intended use", facts.use),
        _section("Limits", facts.limits),
        _section("Data", facts.data),
        _section("Licence", facts.licence),
        _section("Protocol", facts.protocol),
        _section("Quality", _table(("model", "metric", "split", "value"), quality)),
        _section(
            "Cost", f"{facts.cost}\n\n{_table(('model', 'precision', 'bytes', 'largest difference'), _graphs(bundle))}"
        ),
        _section("Training", _training(manifest.training)),
    ]
    return "\n\n".join(parts) + "\n"


def _graphs(bundle: Bundle) -> list[tuple[str, ...]]:
    return [
        (graph.file, graph.precision, f"{bundle.path_of(graph).stat().st_size:,}", f"{graph.difference:.1e}")
        for graph in bundle.manifest.graphs
    ]


def _training(training: Any) -> str:
    """What the checkpoint said of itself, its settings left to the manifest."""
    facts = {name: value for name, value in training.items() if name not in ("config", "teachers")}
    lines = [f"- `{name}`: {json.dumps(value)}" for name, value in facts.items()]
    return "\n".join([*lines, "- all settings: `training` in the manifest"])


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows))


def _check_told(name: str, text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(name, text, "a sentence at least")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m segsearch.export.model_card", description=__doc__)
    parser.add_argument("bundle", type=Path, help="bundle: <name>/<version>, or <name> for its highest version")
    parser.add_argument("--facts", type=Path, required=True, help="JSON file of what the bundle does not know itself")
    options = parser.parse_args()
    try:
        path = write_card(Bundle.open(options.bundle), Facts.read(options.facts))
    except SegsearchError as error:
        say(f"error: {error}")
        return 1
    say(f"{path} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
