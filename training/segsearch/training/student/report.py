"""What `make student` measured, as blocks of a Markdown file and pictures: renewed, while the words around them stay.

Where it stands: `findings` has the figures; nothing is trained or scored here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from segsearch.core.errors import DataError
from segsearch.core.files import write_atomically
from segsearch.core.progress import say
from segsearch.training.ablation.queue import SECONDS
from segsearch.training.ablation.report import renewed
from segsearch.training.ablation.rows import Row
from segsearch.training.student import variants
from segsearch.training.student.findings import COST_HEADER, LEVEL_HEADER, Findings, Level, cost_of, read_json
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

    Without further students nothing was compared, and what the file tells of that stays.
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
            "contexts": variants_table("ensemble", findings, variants.contexts(findings.line)),
            "trees": variants_table("level two", findings, variants.trees(findings.line)),
        }
    write_atomically(path, renewed(path, blocks))
    say(f"{path} written")


def levels_table(findings: Findings) -> str:
    rows = [(level.name, *level.cells, *cost_of(level).cells) for level in findings.levels.values()]
    seeds = ", ".join(str(line.seed) for line in findings.lines)
    told = f"Means over seeds {seeds}, ± their deviation." if len(findings.lines) > 1 else f"Seed {seeds}."
    return f"{_table(('level', *LEVEL_HEADER, *COST_HEADER), rows)}\n\n{told}"


def gains_table(levels: Mapping[str, Level]) -> str:
    """What the levels bring, against the targets that were set for them."""
    rows = [
        (levels[upper].name, levels[lower].name, *levels[upper].gain_over(levels[lower]), target)
        for upper, lower, target in TARGETS
    ]
    header = ("level", "over", "mean of folds ± standard error", "seed by seed", "pooled", "at least")
    share = cost_of(levels["student"]).cpu_us / cost_of(levels["ensemble"]).cpu_us
    told = f"The student costs {share:.3f} of the ensemble's CPU time a segment; wanted 0.2 at most."
    return f"{_table(header, rows)}\n\n{told}"


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
    return _table(header, sorted(rows))


def variants_table(what: str, findings: Findings, found: Sequence[variants.Variant]) -> str:
    if not found:
        return "Not trained here: `make ablation` has the members."
    return _table((what, *LEVEL_HEADER), [(each.label, *findings.variant(each).cells) for each in found])


def cost_table(findings: Findings) -> str:
    """CPU minutes of all that was run for these figures."""
    rows = [(what, seconds / 60) for what, seconds in _seconds(findings) if seconds]
    total = sum(minutes for _, minutes in rows)
    return _table(("what was run", "CPU min"), [(w, f"{m:.1f}") for w, m in (*rows, ("all of it", total))])


def _seconds(findings: Findings) -> list[tuple[str, float]]:
    line, students, logs = findings.line, findings.students, findings.line.logs
    own = [cpu_seconds(logs, f"student {student} ") for student in (line.student, *students)]
    bundles = cpu_seconds(logs, f"bundle {line.student}")
    return [
        ("base models", sum(_trained_s(line, row) for row in BASE)),
        (f"{line.student} on labels alone", _trained_s(line, twin_of(line.student))),
        ("base models' scores", cpu_seconds(logs, "scores ")),
        ("ensemble, lessons, level two", cpu_seconds(logs, "ensemble") + cpu_seconds(logs, "level-two")),
        (f"{line.student}, taught", own[0]),
        ("bundle, indices, submissions", bundles + sum(cpu_seconds(logs, name) for name in ("index ", "submit "))),
        ("other students on labels alone", sum(_trained_s(line, twin_of(student)) for student in students)),
        ("other students, taught", sum(own[1:])),
        (
            "other ensembles and trees, bundles to weigh",
            cpu_seconds(logs, "variant ") + cpu_seconds(logs, "bundle ") - bundles,
        ),
        *((f"all levels from seed {one.seed}", _all_s(one)) for one in findings.lines[1:]),
    ]


def _all_s(line: Line) -> float:
    return cpu_seconds(line.logs, "") + sum(_trained_s(line, row) for row in (*BASE, twin_of(line.student)))


def _trained_s(line: Line, row: Row) -> float:
    path = line.folder_of(row) / SECONDS
    return float(read_json(path)["cpu_seconds"]) if path.exists() else 0.0


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
    write_atomically(picture, _text(source.with_suffix(".svg")))
    table = "\n".join(_text(source).splitlines()[: 2 + IMPORTANCE_ROWS])
    return f"{table}\n\n![Each feature's share of the gain]({picture.parent.name}/{picture.name})"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise DataError(path, None, "results", str(error), "what a step of `make student` leaves") from None


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows))
