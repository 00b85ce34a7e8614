"""A run's figures as the tables of `docs/performance.md`, each kind of run in a form of its own.

Where it stands: `performance_page` puts them into the page. Names are those that the benchmarks give their measures;
what has another form than is looked for here stands in a plain table behind the others.
"""

import re
from collections.abc import Mapping, Sequence

from page.blocks import heading, measure_table, number, table, target
from report import Document, Measure

LOAD = "load when the job began"  # the first row of what the run took
CPU_MS, WALL_S, AT_SIZE = "ms CPU a segment", "s wall", ", at full size"
STARTER_PARTS = (", graph", ", text", ", lists")
LIMITS = ("read / ", "score, ", "select / ", "publish / ", "CSV / ")
SEARCH_RATIO = re.compile(r"(?P<row>k = [\d,]+, \w+, [\w ]+?), (?P<peer>\w+) / ours")
SEARCH_FASTEST = re.compile(r"(?P<row>k = [\d,]+, \w+, [\w ]+?), fastest \((?P<peer>\w+)\) / ours")
SEARCH_OURS = re.compile(r"k = [\d,]+, \w+, (median|99th percentile)")

SCALING_PICTURES = """![CPU time of a segment by the number of segments, and of classes](performance/scaling.svg)

![Time of a segment by who scores](performance/workers.svg)"""
SEARCH_PICTURE = "![Databases beside ours](performance/search-peers.svg)"
SERVING_PICTURE = "![Ours beside other servers](performance/serving-peers.svg)"


def headline(run: Document) -> str:
    """Claims, our stages, the starter manner's parts, distances to the limits, and what the run took."""
    measures = list(run.measures)
    costs = {m.name: m for m in measures if m.unit in (CPU_MS, WALL_S)}
    limits = [m for m in measures if m.name.startswith(LIMITS)]
    first = measures.index(next(m for m in measures if m.name == LOAD))
    claims = [m for m in measures[:first] if m.name not in costs and m not in limits]
    return "\n\n".join(
        [heading(run), measure_table(claims), _stages(costs), _starter(costs), measure_table(limits),
         measure_table(measures[first:])]
    )  # fmt: skip


def _stages(costs: Mapping[str, Measure]) -> str:
    stages = [name for name, cost in costs.items() if name.startswith("ours") and cost.unit == CPU_MS]
    rows = [
        (
            name.removeprefix("ours, ").replace("ours", "all"),
            _number(costs[name]),
            _number(costs.get(f"{name}{AT_SIZE}")),
        )
        for name in stages
    ]
    return table(("stage", f"{CPU_MS}, at full size", "s by the clock, at full size"), rows)


def _starter(costs: Mapping[str, Measure]) -> str:
    manners = [name for name in costs if name.startswith("starter") and not name.endswith(STARTER_PARTS)]
    rows = [(name, *(_number(costs.get(f"{name}{part}")) for part in ("", *STARTER_PARTS))) for name in manners]
    return table((CPU_MS, "all", *(part.removeprefix(", ") for part in STARTER_PARTS)), rows)


def scaling(run: Document) -> str:
    """By the number of segments, of classes, and by who scores."""
    return f"{heading(run)}\n\n{measure_table(run.measures)}\n\n{SCALING_PICTURES}"


def search_peers(run: Document) -> str:
    """A row a question, a column a database: how many times as long as ours it takes."""
    ours = {m.name: m for m in run.measures if SEARCH_OURS.fullmatch(m.name)}
    fastest = {found["row"]: m for m, found in _matching(run.measures, SEARCH_FASTEST)}
    ratios = {(found["row"], found["peer"]): m for m, found in _matching(run.measures, SEARCH_RATIO)}
    peers = list(dict.fromkeys(peer for _, peer in ratios))
    rows = [
        (row, _with_unit(measure), *(_number(ratios.get((row, peer))) for peer in peers), _verdict(fastest.get(row)))
        for row, measure in ours.items()
    ]
    known = {id(measure) for measure in (*ours.values(), *fastest.values(), *ratios.values())}
    rest = [measure for measure in run.measures if id(measure) not in known]
    head = ("search", "ours", *(f"{peer} / ours" for peer in peers), "the fastest of them / ours")
    return "\n\n".join([heading(run), table(head, rows), *([measure_table(rest)] if rest else []), SEARCH_PICTURE])


def serving_peers(run: Document) -> str:
    """A row for each server that does the same: its rate, its CPU time, and how ours compares by both."""
    rates = {m.name: m for m in run.measures if m.unit.endswith("/s")}
    ratios = {m.name: m for m in run.measures if not m.unit and " / " in m.name}
    cpu = {m.name.rpartition(", CPU time of one ")[0]: m for m in run.measures if ", CPU time of one " in m.name}
    rows = []
    for name, rate in rates.items():
        what, _, side = name.partition(", ")
        ours = [other for other in _sides(rates, what) if other.startswith("ours")]
        compared = [(our, ratios.get(f"{what}, {our} / {side}")) for our in ours]
        wall = "; ".join(
            f"{our}: {number(m.value)}{', missed' if m.holds is False else ''}" for our, m in compared if m
        )
        less = "; ".join(_cpu_ratio(cpu, what, our, side) for our, m in compared if m)
        rows.append((what, side, _with_unit(rate), _with_unit(cpu[name]) if name in cpu else "", wall, less))
    head = ("what", "server", "rate", "CPU time of one", "ours / it, by the clock (≥ 1)", "it / ours, CPU time")
    known = {id(measure) for measure in (*rates.values(), *ratios.values(), *cpu.values())}
    rest = [measure for measure in run.measures if id(measure) not in known]
    tables = [table(head, rows)] if rows else []
    return "\n\n".join([heading(run), *tables, *([measure_table(rest)] if rest else []), SERVING_PICTURE])


def _sides(rates: dict[str, Measure], what: str) -> list[str]:
    return [name.removeprefix(f"{what}, ") for name in rates if name.startswith(f"{what}, ")]


def _cpu_ratio(cpu: dict[str, Measure], what: str, our: str, side: str) -> str:
    theirs, own = cpu[f"{what}, {side}"].value, cpu[f"{what}, {our}"].value
    return f"{our}: {number(theirs / own) if own else 'too short to tell'}"


def _matching(measures: Sequence[Measure], form: re.Pattern[str]) -> list[tuple[Measure, re.Match[str]]]:
    return [(measure, found) for measure in measures if (found := form.fullmatch(measure.name))]


def _number(measure: Measure | None) -> str:
    return number(measure.value) if measure else ""


def _with_unit(measure: Measure) -> str:
    return f"{number(measure.value)} {measure.unit}"


def _verdict(measure: Measure | None) -> str:
    return f"{number(measure.value)} ({target(measure)})" if measure else ""
