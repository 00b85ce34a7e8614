"""What `make student` measured, as blocks of a Markdown file, a picture, and the facts for the student's model card.

Where it stands: `line` has run; this file reads what its steps left, and computes no score. Costs are one network a
member, as if it had been trained once on all shards; the ensemble that ranked the test split has five.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.errors import DataError
from segsearch.core.files import write_atomically
from segsearch.core.progress import say
from segsearch.training.ablation.queue import DONE
from segsearch.training.ablation.report import renewed
from segsearch.training.student.line import BASE, Line
from segsearch.training.student.plots import draw_pareto
from segsearch.training.student.scores import COST

FOLDS_MEAN, POOLED = "fold_rated_map_at_100k", "pooled_rated_map_at_100k"
MICRO = 1e6


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """One row: how good, and what a segment costs."""

    name: str
    folds: np.ndarray  # (5,) rated MAP
    pooled: float
    parameters: int | None = None
    cpu_us: float | None = None  # CPU microseconds a segment, float32

    def gain_over(self, other: "Level") -> str:
        """Mean over folds of the difference with its standard error, and that of the pooled lists."""
        difference = self.folds - other.folds
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        return f"{difference.mean():+.4f} ± {error:.4f} | {self.pooled - other.pooled:+.4f}"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that the line left."""

    line: Line

    @cached_property
    def base(self) -> dict[str, Level]:
        return {
            row.name: _level(row.name, self.line.folder_of(row) / DONE, self._cost(self.line.out / "scores" / row.name))
            for row in BASE
        }

    @cached_property
    def levels(self) -> dict[str, Level]:
        line, out = self.line, self.line.out
        cost = self._cost(out / "student")
        members = {
            "parameters": sum(level.parameters or 0 for level in self.base.values()),
            "cpu_us": sum(level.cpu_us or 0.0 for level in self.base.values()),
        }
        best = self.base[line.best.name]
        return {
            "single": dataclasses.replace(best, name=f"best base model ({best.name})"),
            "ensemble": _level(f"ensemble of {len(self.base)}", out / "ensemble" / "ensemble.json", members),
            "level_two": _level("level two", out / "level_two" / "level_two.json"),
            "twin": _level(f"{line.student} on labels alone", line.folder_of(line.twin) / DONE, cost),
            "student": _level(f"{line.student}, taught", out / "student" / DONE, cost),
        }

    def _cost(self, folder: Path) -> dict[str, Any]:
        found = _read(folder / COST)
        return {"parameters": found["parameters"], "cpu_us": MICRO * found["cpu_seconds_per_segment"]}


def write_report(line: Line, path: Path) -> None:
    """Renews the blocks of `path`, and draws its picture into a folder of its name beside it."""
    findings = Findings(line=line)
    picture = path.with_suffix("") / "pareto.svg"
    points = {**findings.base, **{name: findings.levels[name] for name in ("ensemble", "twin", "student")}}
    draw_pareto(picture, [(each.name, each.cpu_us or 0.0, float(each.folds.mean())) for each in points.values()])
    blocks = {
        "levels": levels_table(list(findings.levels.values())),
        "gains": gains_table(findings.levels),
        "pareto": f"![Rated MAP against CPU time a segment]({picture.parent.name}/{picture.name})",
    }
    write_atomically(path, renewed(path, blocks))
    say(f"{path} written")


def levels_table(levels: Sequence[Level]) -> str:
    rows = [
        (
            level.name,
            f"{level.folds.mean():.4f} ± {level.folds.std(ddof=1):.4f}",
            f"{level.pooled:.4f}",
            "" if level.parameters is None else f"{level.parameters:,}",
            "" if level.cpu_us is None else f"{level.cpu_us:.0f}",
        )
        for level in levels
    ]
    return _table(("level", "mean of folds ± deviation", "pooled", "parameters", "CPU µs a segment"), rows)


def gains_table(levels: Mapping[str, Level]) -> str:
    """What the levels bring, against the targets that were set for them."""
    pairs = (
        ("ensemble", "single", "+0.010"), ("level_two", "ensemble", "+0.003"), ("student", "twin", "+0.008"),
        ("student", "ensemble", "-0.005"),
    )  # fmt: skip
    rows = [(levels[a].name, levels[b].name, *levels[a].gain_over(levels[b]).split(" | "), t) for a, b, t in pairs]
    share = (levels["student"].cpu_us or 0.0) / (levels["ensemble"].cpu_us or 1.0)
    table = _table(("level", "over", "mean of folds ± standard error", "pooled", "at least"), rows)
    return f"{table}\n\nThe student costs {share:.3f} of the ensemble's CPU time a segment; wanted 0.2 at most."


def write_facts(line: Line, path: Path) -> None:
    """What the model card needs and the bundle does not know, as JSON (`export.model_card`)."""
    levels = Findings(line=line).levels
    compared = [levels[name] for name in ("student", "twin", "ensemble")]
    quality = [
        {
            "model": level.name,
            "value": value,
            "metric": f"rated MAP@100k, {how}",
            "split": "validate, five folds by file",
        }
        for level in compared
        for how, value in (("mean of folds", float(level.folds.mean())), ("pooled", level.pooled))
    ]
    microseconds = levels["student"].cpu_us or 0.0
    words = (
        f"{microseconds:.0f} µs of one core a segment in float32, as TensorFlow computes it in batches of 512 on the "
        "machine that trained it. What a whole library takes, `segsearch reindex` tells."
    )
    write_atomically(path, json.dumps({**CARD, "cost": words, "quality": quality}, indent=1) + "\n")


CARD = {
    "use": "Ranking five-second segments of videos by sound, for search by tag. The score of a segment is comparable "
    "with that of other segments of the same class.",
    "limits": "100 classes of sound; no picture is seen. Scores are no calibrated probabilities, and scores of "
    "different classes are not comparable. Segments that people never rated were labelled by an ensemble, so what the "
    "ensemble gets wrong everywhere, the student has learned. Classes with a dozen ratings (bicycle, sirens, electric "
    "toothbrush) are judged by chance as much as by skill. Not for surveillance, nor for decisions about persons.",
    "data": "AudioSet-Segments: AudioSet clips joined into videos, as VGGish features; 1,600 videos with video labels, "
    "709 with rated segments, 659 without labels. Ratings of the DCASE 2017 and 2018 tasks. The teachers' scores of "
    "the unlabelled videos were learned from as well, so that these are not unseen.",
    "licence": "AudioSet (Gemmeke et al., 2017), Google: CC BY 4.0; its ontology CC BY-SA 4.0; ratings as kept in "
    "DESED (MIT) and DCASE 2017 task 4 (Apache-2.0). Keep this attribution with the model.",
    "protocol": "Two stages: video labels, then every segment with the scores of an ensemble and people's ratings "
    "where there are any. Judged in five folds by file: a fold's student and all of its teachers knew nothing of the "
    "fold's ratings, and the student none of its videos. It took one epoch; of the models compared with it the best "
    "of ten on the fold counts. The exported model learned from all five folds and was not judged by itself.",
}


def _level(name: str, path: Path, cost: Mapping[str, Any] | None = None) -> Level:
    found = _read(path)
    return Level(name=name, folds=np.array(found[FOLDS_MEAN]), pooled=found[POOLED], **(cost or {}))


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(path, None, "results", str(error), "JSON that a step of `make student` leaves") from None
    return found


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows))
