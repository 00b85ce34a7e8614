"""Other ensembles and other trees of the models that `make student` has: what its own choice is to be held against.

Where it stands: `line` has made scores, ensemble and level two; `report` reads what these steps leave. Ensembles read
runs as trained, so that rows of the ablation (every structure with and without context) can be members as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segsearch.training.ablation.queue import is_done
from segsearch.training.ablation.rows import alone
from segsearch.training.student.line import BASE, ENSEMBLE, Line
from segsearch.training.student.steps import Step

SEARCHED = ("--way", "rank", "--weights", "searched")
# Of the base models; what is not named: equal weights, no rule.
ENSEMBLES = {
    "mean of probabilities, equal weights": ("--weights", "equal"),
    "geometric mean": ("--way", "geometric", "--weights", "equal"),
    "mean of logits": ("--way", "logit", "--weights", "equal"),
    "mean of ranks": ("--way", "rank", "--weights", "equal"),
    "mean of ranks, forward selection": ("--way", "rank", "--weights", "greedy"),
    "mean of ranks, searched weights": SEARCHED,
    "searched weights, a tenth of the neighbours": (*SEARCHED, "--smoothing", "0.1"),
    "searched weights, a tenth of the video": (*SEARCHED, "--video-power", "0.1"),
    "searched weights, without a video's first five seconds": (*SEARCHED, "--skip-first-s", "5"),
    "searched weights, without its last five": (*SEARCHED, "--skip-last-s", "5"),
}
STRUCTURES = ("soft_dbof", "gated_dbof", "mixdbof", "mixnextvlad", "netvlad")
BAGS = (*STRUCTURES, "dbof", "nextvlad", "netfv", "netvlagd", "netvlad_light")
CONTEXTS = {
    "five structures with context": STRUCTURES,
    "the same five without": tuple(map(alone, STRUCTURES)),
    "all ten": (*STRUCTURES, *map(alone, STRUCTURES)),
    "ten structures, with and without": tuple(name for bag in BAGS for name in (bag, alone(bag))),
}
TREES = {
    "binary, a tenth of the say": ("--weight", "0.1"),
    "binary, half": ("--weight", "0.5"),
    "binary, all of it": ("--weight", "1"),
    "LambdaRank, a quarter": ("--weight", "0.25", "--objective", "lambdarank"),
}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One more ensemble, or level two."""

    label: str
    folder: Path
    step: Step


def ensembles(line: Line) -> list[Variant]:
    """Ways, weights and rules, each of the base models."""
    runs = [line.folder_of(row) for row in BASE]
    return [_ensemble(line, label, runs, words) for label, words in ENSEMBLES.items()]


def contexts(line: Line) -> list[Variant]:
    """Members with and without context, put together as the line's own ensemble; where all of them are trained."""
    return [_ensemble(line, label, runs, ENSEMBLE) for label, runs in _trained(line)]


def trees(line: Line) -> list[Variant]:
    """Level two above the line's own ensemble."""
    return [
        _variant(line, "level-two", label, (line.out / "ensemble", *line.score_folders), words, "level_two.json")
        for label, words in TREES.items()
    ]


def steps(line: Line) -> list[Step]:
    return [variant.step for variant in (*trees(line), *ensembles(line), *contexts(line))]


def _trained(line: Line) -> Iterator[tuple[str, list[Path]]]:
    for label, names in CONTEXTS.items():
        if line.trained is not None and all(is_done(line.trained, name) for name in names):
            yield label, [line.trained / name for name in names]


def _ensemble(line: Line, label: str, runs: Sequence[Path], words: Sequence[str]) -> Variant:
    return _variant(line, "ensemble", label, runs, words, "ensemble.json")


def _variant(
    line: Line, command: str, label: str, folders: Sequence[Path], words: Sequence[str], makes: str
) -> Variant:
    name = f"{command} {label}".replace(",", "").replace(" ", "_").replace("'", "")
    folder = line.out / "variants" / name
    step = line.command(
        command, *folders, "--data", line.data, "--out", folder, *words, makes=folder / makes, name=f"variant {name}"
    )
    return Variant(label=label, folder=folder, step=step)
