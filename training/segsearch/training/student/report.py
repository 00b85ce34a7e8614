"""What `make student` measured, as blocks of a Markdown file and pictures: renewed, while the words around them stay.

Where it stands: `findings` has the figures; nothing is trained or scored here.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from segsearch.core.files import write_atomically
from segsearch.core.progress import say
from segsearch.training.ablation.queue import SECONDS
from segsearch.training.ablation.report import renewed, table
from segsearch.training.ablation.rows import Row
from segsearch.training.student import variants
from segsearch.training.student.findings import COST_HEADER, LEVEL_HEADER, Findings, Level, cost_of, read, read_json
from segsearch.training.student.line import BASE, Line, twin_of
from segsearch.training.student.plots import draw_pareto
from segsearch.training.student.steps import cpu_seconds

IMPORTANCE_ROWS = 12  # of the table: the picture has all features
TARGETS = (
    ("ensemble", "single", "+0.010"), ("level_two", "ensemble", "+0.003"), ("student", "twin", "+0.008"),
    ("student", "ensemble", "-0.005"),
)  # fmt: skip


def write_report(findings: Findings, path: Path) -> None:
    """Renews the blocks of `path`, and draws its pictures into a folder of its name beside it.

    Without further students nothing was compared, and without the ablation's runs no members with and without context:
    what the file tells of that stays.
    """
    pictures = path.with_suffix("")
    blocks = {
        "levels": levels_table(findings),
        "gains": gains_table(findings.levels),
        "pareto": _pareto(findings, pictures / "pareto.svg"),
        "importance": _importance(findings.line, pictures / "importance.svg"),
        "student-cost": cost_table(findings),
    }
    if findings.students:
        blocks |= {
            "students": students_table(findings),
            "ensembles": variants_table("ensemble", findings, variants.ensembles(findings.line)),
            "trees": variants_table("level two", findings, variants.trees(findings.line)),
        }
        if members := variants.contexts(findings.line):
            blocks["contexts"] = variants_table("ensemble", findings, members)
    write_atomically(path, renewed(path, blocks))
    say(f"{path} written")


def levels_table(findings: Findings) -> str:
    rows = [(level.name, *level.cells, *cost_of(level).cells) for level in findings.levels.values()]
    seeds = ", ".join(str(line.seed) for line in findings.lines)
    told = (
        f"Means over seeds {seeds}, ± their deviation; the best base model is seed 0's."
        if len(findings.lines) > 1
        else f"Seed {seeds}."
    )
    return f"{table(('level', *LEVEL_HEADER, *COST_HEADER), rows)}\n\n{told}"


def gains_table(levels: Mapping[str, Level]) -> str:
    """What the levels bring, against the targets that were set for them."""
    rows = [
        (levels[upper].name, levels[lower].name, *levels[upper].gain_over(levels[lower]), target)
        for upper, lower, target in TARGETS
    ]
    header = ("level", "over", "mean of folds ± standard error", "seed by seed", "pooled", "at least")
    share = cost_of(levels["student"]).cpu_us / cost_of(levels["ensemble"]).cpu_us
    told = f"The student costs {share:.3f} of the ensemble's CPU time a segment; wanted 0.2 at most."
    return f"{table(header, rows)}\n\n{told}"


def students_table(findings: Findings) -> str:
    """All students of seed 0, the one that is deployed among them."""
    line = findings.line
    first = Findings(lines=(line,), dense=findings.dense, students=(line.student, *findings.students))
    rows = [
        (
            student,
            f"{twin.mean:.4f}",
            f"{taught.mean:.4f}",
            *taught.gain_over(twin)[::2],
            f"{taught.dense.mean() - twin.dense.mean():+.4f}",
            *cost_of(taught).cells,
        )
        for student, (twin, taught) in zip(first.students, first.others, strict=True)
    ]
    header = ("student", "labels alone", "taught", "gain ± standard error", "pooled gain", "dense gain", *COST_HEADER)
    return table(header, sorted(rows))


def variants_table(what: str, findings: Findings, found: Sequence[variants.Variant]) -> str:
    return table((what, *LEVEL_HEADER), [(each.label, *findings.variant(each).cells) for each in found])


def cost_table(findings: Findings) -> str:
    """CPU minutes of all that was run for these figures; what was run elsewhere and left no time behind is named."""
    parts = {what: steps for what, steps in _seconds(findings) if steps}
    minutes = {what: sum(steps.values()) / 60 for what, steps in parts.items()}
    rows = [(what, f"{took:.1f}" if took else "") for what, took in minutes.items()]
    told = table(("what was run", "CPU min"), [*rows, ("together", f"{sum(minutes.values()):.1f}")])
    missing = [name for steps in parts.values() for name, seconds in steps.items() if not seconds]
    return f"{told}\n\nNot in it, as their time was not noted here: {', '.join(missing)}." if missing else told


def _seconds(findings: Findings) -> list[tuple[str, dict[str, float]]]:
    """Parts of the line, and in each the CPU seconds of what it is made of; 0 where nobody noted them."""
    line, students, logs = findings.line, findings.students, findings.line.logs
    bundle = cpu_seconds(logs, f"bundle {line.student}")
    compared = {
        "other ensembles and trees": cpu_seconds(logs, "variant "),
        "bundles to weigh": cpu_seconds(logs, "bundle ") - bundle,
    }
    return [
        ("base models", _trained_s(line, BASE)),
        (f"{line.student} on labels alone", _trained_s(line, [twin_of(line.student)])),
        ("base models' scores", {f"scores of `{row.name}`": cpu_seconds(logs, f"scores {row.name}") for row in BASE}),
        ("ensemble, lessons, level two", {name: cpu_seconds(logs, name) for name in ("ensemble", "level-two")}),
        (f"{line.student}, taught", _taught_s(line, [line.student])),
        (
            "bundle, indices, submissions",
            {"bundle": bundle, "indices": cpu_seconds(logs, "index "), "submissions": cpu_seconds(logs, "submit ")},
        ),
        ("other students on labels alone", _trained_s(line, map(twin_of, students))),
        ("other students, taught", _taught_s(line, students)),
        ("other ensembles and trees, bundles to weigh", compared if students or any(compared.values()) else {}),
        *((f"all levels from seed {one.seed}", _all_s(one)) for one in findings.lines[1:]),
    ]


def _all_s(line: Line) -> dict[str, float]:
    trained = _trained_s(line, (*BASE, twin_of(line.student)))
    found = {**trained, "scores, ensembles, trees, students": cpu_seconds(line.logs, "")}
    return {f"{name} from seed {line.seed}": seconds for name, seconds in found.items()}


def _taught_s(line: Line, students: Sequence[str]) -> dict[str, float]:
    return {f"{student}, taught": cpu_seconds(line.logs, f"student {student} ") for student in students}


def _trained_s(line: Line, rows: Iterable[Row]) -> dict[str, float]:
    paths = {f"`{row.name}`": line.folder_of(row) / SECONDS for row in rows}
    return {name: float(read_json(path)["cpu_seconds"]) if path.exists() else 0.0 for name, path in paths.items()}


def _pareto(findings: Findings, picture: Path) -> str:
    levels = findings.levels
    taught = [student for _, student in findings.others]
    compared = [levels[name] for name in ("ensemble", "level_two", "twin", "student")]
    points = [*findings.base.values(), *compared, *taught]
    draw_pareto(picture, [(each.name, cost_of(each).cpu_us, each.mean) for each in points])
    return f"![Rated MAP against CPU time a segment]({picture.parent.name}/{picture.name})"


def _importance(line: Line, picture: Path) -> str:
    """The features that trees gained most from, and the picture of all that `level-two --importance` drew."""
    source = line.out / "level_two" / "importance.md"
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(picture, read(source.with_suffix(".svg"), str))
    table = "\n".join(read(source, str).splitlines()[: 2 + IMPORTANCE_ROWS])
    return f"{table}\n\n![Each feature's share of the gain]({picture.parent.name}/{picture.name})"
