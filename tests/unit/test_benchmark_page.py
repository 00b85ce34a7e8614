"""The performance page: its tables and pictures follow from what runs have left, and nothing else in it changes."""

import pytest

from tests.conftest import ROOT

RESULTS = ROOT / "docs" / "performance"


@pytest.fixture(scope="module", autouse=True)
def bench():
    """Scripts find their neighbours in their own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield


def run_of(*rows, command="python benchmarks/x.py"):
    """A run with measures, each given as name, value, unit and targets."""
    from report import Document, Measure

    return Document("A run", "a machine, 2 cores", command, 0.25, [Measure(*row[:3], **row[3]) for row in rows], {})


SEARCHES = (
    ("k = 100, first, median", 30.0, "µs", {}),
    ("k = 100, first, median, fastest (SQLite) / ours", 2.0, "", {"at_least": 10}),
    ("k = 100, first, median, Redis / ours", 9.0, "", {}),
    ("k = 100, first, median, SQLite / ours", 2.0, "", {}),
    ("k = 100, first, CPU time", 31.0, "µs", {}),
    ("DuckDB is missing: pip install", 0.0, "found", {"at_least": 1}),
)
SERVERS = (
    ("k = 10,000, ours / Flask", 3.0, "", {"at_least": 1}),
    ("k = 10,000, ours", 600.0, "answers/s", {}),
    ("k = 10,000, ours, CPU time of one answer", 2.0, "ms", {}),
    ("k = 10,000, Flask", 200.0, "answers/s", {}),
    ("k = 10,000, Flask, CPU time of one answer", 7.0, "ms", {}),
)
HEADLINE = (
    ("whole job at full size, wall", 2_062_258 * 0.5 / 60e3, "min", {}),  # so that a core is held for 1 ms
    ("ours, pieces", 0.01, "ms CPU a segment", {}),
    ("ours, select", 0.026, "ms CPU a segment", {}),
    ("this run, shards", 6.0, "GB", {}),
    ("segments of this run", 1e6, "", {}),
)


def plan_for(*extra, classes=1000, more=1.0):
    from page.plan import Assumed, Measured, Plan

    serving = run_of(*extra) if extra else None
    return Plan(Measured.of(run_of(*HEADLINE), serving), Assumed(), classes, more)


def test_the_committed_page_shows_the_committed_runs():
    from performance_page import found, renewed

    text = (ROOT / "docs" / "performance.md").read_text()
    assert "headline" in found(RESULTS)
    assert renewed(text, found(RESULTS)) == text


def test_each_run_on_the_page_has_its_command():
    from performance_page import found

    text = (ROOT / "docs" / "performance.md").read_text()
    for run in found(RESULTS).values():
        assert f"    {run.command}\n" in text


def test_a_page_keeps_its_words_and_gets_the_new_block():
    from page.blocks import renew

    text = "before\n<!-- measured: a -->\nold\n<!-- /measured: a -->\nafter <!-- measured: b --><!-- /measured: b -->"
    assert renew(text, "a", "new") == text.replace("old", "new")


def test_a_page_without_the_block_is_refused():
    from page.blocks import renew

    with pytest.raises(ValueError, match="no <!-- measured: a -->"):
        renew("words", "a", "new")


def test_a_run_that_is_missing_leaves_its_block_as_it_was(tmp_path):
    from performance_page import found, renewed

    text = (ROOT / "docs" / "performance.md").read_text()
    assert renewed(text, found(tmp_path)) == text


def test_what_a_run_writes_is_read_as_it_was(tmp_path):
    from report import Document

    run = run_of(*SEARCHES)
    run.write(tmp_path / "new" / "run.json")
    assert Document.read(tmp_path / "new" / "run.json") == run


def test_a_table_says_what_missed_its_target():
    from page.blocks import measure_table

    rows = (("a / b", 20.0, "", {"at_least": 25}), ("a", 1.5, "ms", {}), ("b", 12345.0, "ms", {}))
    assert measure_table(run_of(*rows).measures) == (
        "| measure | value | target |\n| --- | --- | --- |\n"
        "| a / b | 20 | ≥ 25, missed |\n| a | 1.5 ms |  |\n| b | 12,345 ms |  |"
    )


def test_databases_stand_side_by_side_and_what_is_missing_below():
    from page.tables import search_peers

    block = search_peers(run_of(*SEARCHES))
    assert "| search | ours | Redis / ours | SQLite / ours | the fastest of them / ours |" in block
    assert "| k = 100, first, median | 30 µs | 9 | 2 | 2 (≥ 10, missed) |" in block
    assert "| k = 100, first, CPU time | 31 µs |  |" in block
    assert "| DuckDB is missing: pip install | 0 found | ≥ 1, missed |" in block


def test_servers_are_compared_by_the_clock_and_by_cpu_time():
    from page.tables import serving_peers

    block = serving_peers(run_of(*SERVERS))
    assert "| k = 10,000 | Flask | 200 answers/s | 7 ms | ours: 3 | ours: 3.5 |" in block
    assert "| k = 10,000 | ours | 600 answers/s | 2 ms |  |  |" in block


def test_servers_that_are_not_installed_are_named():
    from page.tables import serving_peers

    assert "| flask is missing | 0 found | ≥ 1, missed |" in serving_peers(
        run_of(("flask is missing", 0.0, "found", {"at_least": 1}))
    )


def test_the_plan_holds_cores_as_long_as_the_run_did():
    plan = plan_for()
    assert plan.core_hours == pytest.approx(1e9 * 1e-3 / 3600)
    assert plan.hours(10) == pytest.approx(plan.core_hours / 160)
    assert plan.frame_tb == pytest.approx(6.0)
    assert plan.read_mb_a_second * 10 * plan.hours(10) * 3600 == pytest.approx(6e6)


def test_the_plan_takes_as_long_as_its_slowest_part():
    plan = plan_for()
    assert plan.selecting_hours == pytest.approx(10.0)  # 0.036 ms a segment, on one thread
    assert plan.all_hours == plan.selecting_hours > plan.hours(10)
    assert plan.machine_dollars == pytest.approx((plan.core_hours + 160) * 0.04)


def test_the_plan_for_more_classes_has_larger_lists_and_as_large_a_table():
    small, large = plan_for(), plan_for(classes=2000, more=1.5)
    assert (small.list_gb, large.list_gb) == pytest.approx((0.6, 1.2))
    assert (small.code_tb, large.code_tb) == pytest.approx((2.0, 4.0))
    assert large.table_gb == small.table_gb
    assert large.core_hours == pytest.approx(1.5 * small.core_hours)
    assert large.selecting_hours == pytest.approx(2 * small.selecting_hours)


def test_replicas_are_as_many_as_searches_need_and_one_to_spare():
    assert plan_for(("k = 100, ours, anew", 400.0, "answers/s", {})).replicas == 3 + 1
    assert plan_for(("k = 100, ours, anew", 1000.0, "answers/s", {})).replicas == 1 + 1


def test_a_plan_without_measured_searches_or_classes_says_so():
    from page.plan import block

    text = block(run_of(*HEADLINE), None, None)
    assert "reckoned by operations" in text
    assert "| searches a second that one replica answers | *not measured yet* | *not measured yet* |" in text


def test_the_plan_takes_classes_and_ray_from_the_run_by_size():
    from page.plan import block

    scaling = run_of(
        ("1,000 classes / 1,000, CPU", 1.0, "", {}),
        ("3,862 classes / 1,000, CPU", 1.5, "", {}),
        ("two Ray actors / this process, wall", 1.25, "", {}),
    )
    text = " ".join(block(run_of(*HEADLINE), scaling, None).split())
    assert "in 3,862 classes 1.5 times as long, as measured" in text
    assert "Two Ray actors took 1.25 times as long" in text
    assert "| core hours | 278 | 417 |" in text


def test_pictures_of_runs_appear_and_are_the_same_each_time(tmp_path):
    from page import figures

    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        figures.search_peers(folder, run_of(*SEARCHES))
        figures.serving_peers(folder, run_of(*SERVERS))
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["search-peers.svg", "serving-peers.svg"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
