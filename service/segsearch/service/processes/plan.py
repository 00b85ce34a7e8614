"""All that `segsearch serve` was told, in one piece, so that another process can be told the same."""

from dataclasses import dataclass
from pathlib import Path

from segsearch.core.bundle import Precision
from segsearch.service.scoring.provider import ProviderChoice
from segsearch.service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is served, and how."""

    settings: Settings
    index: Path
    bundle: Path
    cache: Path  # where tunings are remembered
    live: bool = True  # whether uploads can be added
    batch: int = 0  # see `scoring.opening.Wishes`
    threads: int = 0
    provider: ProviderChoice = "auto"
    precision: Precision = "float32"
