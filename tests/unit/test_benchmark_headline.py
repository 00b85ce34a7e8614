"""The headline benchmark's own arithmetic: what library it makes up, how it reckons, what it calls a regression."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segsearch.core.features import YOUTUBE8M
from segsearch.core.segments import segment_count
from segsearch.core.videos import read_videos
from tests.conftest import ROOT


@pytest.fixture(scope="module", autouse=True)
def bench():
    """Scripts find their neighbours in their own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield


@pytest.fixture(scope="module")
def library():
    from whole_job import library

    return library


def job_of(segments, keep=100):
    """A run of so many segments in 10 classes; each stage has taken seconds of its own."""
    from whole_job.job import Job, Stage

    growths = ("nothing", "segments", "segments", "segments", "segments", "postings", "postings", "postings")
    names = ("open", "read", "score", "pieces", "select", "rank", "publish", "CSV")
    spent = tuple(
        Stage(name, 2.0 * n, 1.0 * n, grows)
        for n, (name, grows) in enumerate(zip(names, growths, strict=True), start=1)
    )
    return Job(
        stages=spent, segments=segments, classes=10, keep=keep, postings=10 * min(keep, segments), peak_bytes=10**6,
        shard_count=1, shard_bytes=3, index_bytes=4, csv_bytes=5, reading_codes_s=0.5, curve=((segments, 9.0),),
        tuning={"batch": 32}, load=0.5,
    )  # fmt: skip


def test_the_library_has_the_test_sets_videos_and_segments(library):
    counts = library.frame_counts()
    assert len(counts) == 44_740
    assert sum(map(segment_count, counts.tolist())) == 2_062_258
    assert counts.min() >= 120
    assert counts.max() <= 300
    assert len({library.video_id(number) for number in range(len(counts))}) == len(counts)


def test_shards_are_the_same_at_every_scale_and_no_two_videos_are_alike(library, tmp_path):
    (one,) = library.shards(tmp_path / "one", 1 / library.SHARDS)
    first, second = library.shards(tmp_path / "two", 2 / library.SHARDS)
    assert one.read_bytes() == first.read_bytes()
    videos = list(read_videos([first, second], YOUTUBE8M))
    assert len({video.frames.tobytes() for video in videos}) == len(videos) == 2 * library.SHARD_VIDEOS
    assert [len(video.frames) for video in videos] == library.frame_counts()[: len(videos)].tolist()


def test_shards_that_are_there_are_used_again(library, tmp_path):
    (path,) = library.shards(tmp_path, 1 / library.SHARDS)
    written = path.stat().st_mtime_ns
    library.shards(tmp_path, 2 / library.SHARDS)
    assert path.stat().st_mtime_ns == written


@given(st.integers(1, 10**6), st.integers(1, 500))
def test_a_run_of_everything_is_reckoned_to_be_what_it_was(segments, keep):
    from whole_job.extrapolation import at_size, peak_bytes_at_size

    job = job_of(segments, keep)
    assert at_size(job, segments) == job.stages
    assert peak_bytes_at_size(job, segments) == job.peak_bytes


def test_each_stage_is_reckoned_by_what_it_grows_with():
    from whole_job.extrapolation import at_size

    before, after = job_of(50), at_size(job_of(50), 1000)  # lists of 100, half of it filled by 50 segments
    factors = {then.name: now.cpu_s / then.cpu_s for then, now in zip(before.stages, after, strict=True)}
    assert factors == {
        "open": 1, "read": 20, "score": 20, "pieces": 20, "select": 20, "rank": 2, "publish": 2, "CSV": 2,
    }  # fmt: skip


def test_the_rest_of_the_lists_counts_as_memory_with_its_slack():
    from whole_job.extrapolation import peak_bytes_at_size

    job = job_of(50)
    assert peak_bytes_at_size(job, 1000) - job.peak_bytes == 10 * 50 * 6 * 1.5


def test_what_lies_around_scoring_is_a_share_of_all_cpu_time():
    from whole_job.extrapolation import cpu_share

    assert cpu_share(job_of(10).stages, ("read", "CSV")) == (2 + 8) / 36


def test_the_stages_of_a_reindex_add_up_to_it():
    from whole_job.job import stages
    from whole_job.seams import Clocks, Spent

    clocks = Clocks(
        read=Spent(2, 1), wait=Spent(10, 1.5), select=Spent(3, 3), reading_codes=Spent(0.5, 0.5), rank=Spent(1, 2),
        began=(0, 0, 0), selected=(16, 6, 20),
    )  # fmt: skip
    parts = {stage.name: stage for stage in stages(clocks, Spent(20, 24))}
    assert sum(stage.wall_s for stage in parts.values()) == 20 - 0.5
    assert sum(stage.cpu_s for stage in parts.values()) == 24 - 0.5
    assert (parts["pieces"].wall_s, parts["pieces"].cpu_s) == (16 - 10 - 3 - 0.5, 6 - 1.5 - 3 - 0.5)
    assert parts["score"].wall_s == 10 - 2
    assert (parts["publish"].wall_s, parts["publish"].cpu_s) == (3, 2)


def test_operations_of_a_segment_count_each_frame_once(library):
    size = library.Size(clusters=10, hidden=4, classes=3)
    assert size.operations == 2 * (5 * 1152 * 10 + 10 * 4 + 4 * 3 * 5)


def document_of(*rows):
    """What a benchmark writes with --json."""

    return {
        "measures": [
            {"name": m.name, "value": m.value, "unit": m.unit, "at_most": m.at_most, "at_least": m.at_least,
             "target": m.target} for m in rows
        ]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "target", "is_worse"),
    [
        (20.0, {"at_least": 25}, True),
        (27.0, {"at_least": 25}, False),
        (40.0, {"at_most": 25}, True),
        (33.0, {"at_most": 25}, False),
    ],
)
def test_a_ratio_is_a_regression_where_it_moved_the_wrong_way_by_more_than_the_slack(value, target, is_worse):
    from ratios import worse
    from report import Measure

    assert bool(worse(document_of(Measure("a / b", value, **target)), {"a / b": 30.0}, slack=0.2)) is is_worse


@pytest.mark.parametrize(("value", "is_worse"), [(0.01, False), (0.06, True)])
def test_a_ratio_that_is_next_to_nothing_beside_its_target_may_double(value, is_worse):
    from ratios import worse
    from report import Measure

    assert bool(worse(document_of(Measure("a / b", value, at_most=1)), {"a / b": -0.002}, slack=0.2)) is is_worse


def test_a_ratio_that_is_no_longer_measured_is_a_regression():
    from ratios import worse

    assert worse(document_of(), {"a / b": 30.0}, slack=0.2) == ["a / b: not measured, was 30"]


def test_only_ratios_with_a_target_are_kept_and_compared_with(tmp_path):
    from ratios import main
    from report import Measure

    run, kept = tmp_path / "headline.json", tmp_path / "ratios.json"
    good = document_of(Measure("a / b", 30.0, at_least=25), Measure("a", 3.0, "ms", at_most=5), Measure("b", 4.0))
    run.write_text(json.dumps(good))
    assert main([str(run), "--kept", str(kept), "--keep"]) == 0
    assert json.loads(kept.read_text()) == {"headline": {"a / b": 30.0}}
    assert main([str(run), "--kept", str(kept)]) == 0
    run.write_text(json.dumps(document_of(Measure("a / b", 10.0, at_least=25))))
    assert main([str(run), "--kept", str(kept)]) == 1


def test_a_full_run_says_so_and_a_fraction_says_what_it_is():
    from headline import title

    assert "reckoned" not in title(job_of(2_062_258))
    assert "reckoned from 1,000" in title(replace(job_of(2_062_258), segments=1000))


def test_without_options_the_network_is_the_papers():
    from headline import parser, size_of
    from whole_job.library import Size

    assert size_of(parser().parse_args([])) == Size(8192, 1024, 1000, context=5)


def test_cost_a_segment_counts_what_grows_only():
    from headline import Run, growth
    from whole_job.library import Size
    from whole_job.limits import Limits

    run = Run(Size(), job_of(1000), job_of(100), Limits(1, 1, 1, 1, 1, 1), {})
    many = (2 + 3 + 4 + 5) / 1000 + (6 + 7 + 8) / 2_062_258
    np.testing.assert_allclose(growth(run), many / ((2 + 3 + 4 + 5 + 6 + 7 + 8) / 100))


def test_memory_is_that_of_all_processes_where_it_was_seen():
    from whole_job.usage import Usage

    job = job_of(10)
    assert job.memory_bytes == 10**6
    assert replace(job, usage=Usage(memory_bytes=3 * 10**6)).memory_bytes == 3 * 10**6


def test_shards_half_written_by_a_run_that_was_killed_go(library, tmp_path):
    (tmp_path / ".test0000.tfrecord.123.part").write_bytes(b"half")
    (path,) = library.shards(tmp_path, 1 / library.SHARDS)
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_without_room_is_known_before_anything_is_written(library, tmp_path):
    library.check_room(tmp_path, scale=1e-4, classes=10, keep=10)
    with pytest.raises(OSError, match=r"GB wanted, [\d.]+ GB free"):
        library.check_room(tmp_path, scale=1, classes=10**9, keep=10)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_goes_on_takes_what_was_found_and_another_begins_anew(tmp_path):
    from whole_job.job import Job
    from whole_job.notes import Notes

    def never():
        raise AssertionError("done again")

    found = job_of(10)
    assert Notes(tmp_path, go_on=False).take("job", Job.of, lambda: found) == found
    assert Notes(tmp_path, go_on=True).take("job", Job.of, never) == found
    with pytest.raises(AssertionError, match="done again"):
        Notes(tmp_path, go_on=False).take("job", Job.of, never)


def test_what_ends_in_an_error_is_not_noted(tmp_path):
    from starter_manner import Cost
    from whole_job.notes import Notes

    notes = Notes(tmp_path, go_on=False)
    with pytest.raises(ZeroDivisionError):
        notes.take("cost", lambda document: Cost(**document), lambda: 1 / 0)
    cost = Cost(5, 1.0, 2.0, 3.0)
    assert notes.take("cost", lambda document: Cost(**document), lambda: cost) == cost


def with_a_child(megabytes):
    """Holds so much itself, and as much in a process that it starts and that works for a while."""
    held = b"x" * (megabytes << 20)
    work = f"held = b'x' * ({megabytes} << 20); sum(range(6_000_000)); import time; time.sleep(0.8)"
    subprocess.run([sys.executable, "-c", work], check=True)
    return len(held)


def test_what_processes_of_a_job_start_counts_with_it():
    from whole_job.processes import watched

    _, usage = watched(with_a_child, 100)
    assert usage.memory_bytes > 200 << 20
    assert usage.cpu_s > 0.1


def test_a_job_ends_with_the_run_that_was_killed():
    from whole_job.usage import family

    script = (
        "import time\nfrom whole_job.processes import in_process\nif __name__ == '__main__': in_process(time.sleep, 60)"
    )
    command, environment = [sys.executable, "-c", script], {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}
    with subprocess.Popen(command, env=environment) as run:
        deadline = time.monotonic() + 20
        while len(members := family(run.pid)) < 3 and time.monotonic() < deadline:  # multiprocessing has one of its own
            time.sleep(0.05)
        time.sleep(0.5)  # until the job's process looks after its parent
        run.kill()
    while any(Path(f"/proc/{pid}").exists() for pid in members[1:]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in members[1:] if Path(f"/proc/{pid}").exists()] == []


def test_a_command_is_told_without_the_places_of_its_files():
    from report import command

    words = ["/somewhere/benchmarks/headline.py", "--scale", "0.1", "--json", "a.json", "--scratch=b", "--go-on"]
    assert command(words) == "python benchmarks/headline.py --scale 0.1"


def test_every_benchmark_is_run_and_all_of_them_end_within_half_an_hour():
    from everything import BENCHMARKS

    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "arguments(__doc__)" in path.read_text()}
    assert {each.name for each in BENCHMARKS} == scripts
    assert sum(each.seconds for each in BENCHMARKS) <= 30 * 60
    for each in BENCHMARKS:
        script = (ROOT / "benchmarks" / f"{each.name}.py").read_text()
        assert all(f'"{option}"' in script for option in each.options if option.startswith("--")), each.name


def test_a_segments_growth_is_told_beside_the_run_of_about_20_000():
    from scaling import by_segments

    jobs = {part: job_of(segments) for part, segments in ((0.005, 10_000), (0.01, 20_000), (1.0, 2_000_000))}
    ratio = by_segments(jobs)[0]
    assert ratio.value == pytest.approx(20_000 / 2_000_000)  # the same seconds for a hundred times as many


def test_parts_of_a_library_that_come_to_the_same_shards_are_run_once(library):
    from scaling import PARTS, parts

    assert parts(1.0) == PARTS
    counts = [max(1, round(library.SHARDS * 0.004 * part)) for part in parts(0.004)]
    assert counts == sorted(set(counts))


def test_classes_and_workers_are_never_compared_on_a_handful_of_segments():
    from scaling import at_least_few

    assert at_least_few(0.05, scale=1.0) == 0.05
    assert at_least_few(0.05, scale=1e-3) == 1.0
