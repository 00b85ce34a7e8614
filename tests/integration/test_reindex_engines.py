"""Whoever scores the shards, in whatever number, and whoever dies meanwhile: the generation is the same to the bit."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from segsearch.core.errors import BadRecord, BundleRefused, ConfigError, DataError
from segsearch.core.records import write_records
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.engines import EngineWishes, InProcess, engine_for
from segsearch.service.jobs.local_processes import LocalProcesses
from segsearch.service.jobs.reindex import reindex
from segsearch.service.jobs.work_folder import PREFIX
from segsearch.service.jobs.workers import WorkerScorer


@pytest.fixture
def worker_scorer(scorer):
    return WorkerScorer.like(scorer, "auto", threads=1)


def workers_of(process):
    """Ids of the worker processes that a process has now."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                status, line = (folder / "stat").read_text(), (folder / "cmdline").read_text()
            except OSError:
                continue  # it ended meanwhile
            if int(status.rsplit(")", 1)[1].split()[1]) == process and "spawn_main" in line:
                found.append(int(folder.name))
    return sorted(found)


def workers_once(process, index, piece_count):
    """The same, as soon as so many shards are finished."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        workers = workers_of(process)
        if workers and len(list(index.root.glob(f"{PREFIX}*/*.scores"))) >= piece_count:
            return workers
        time.sleep(0.001)
    raise TimeoutError


def kill_worker(index, piece_count):
    os.kill(workers_once(os.getpid(), index, piece_count)[-1], signal.SIGKILL)


def test_two_processes_publish_what_one_does(tmp_path, scorer, many_shards, alone, worker_scorer, capsys):
    index = IndexDirectory(tmp_path / "index")
    reindex(scorer, many_shards, index, keep=9, scores=True, engine=LocalProcesses(worker_scorer, 2))
    assert index.open_current().manifest.files == alone
    assert "reindex: 30/30 videos" in capsys.readouterr().err


@pytest.mark.parametrize("piece_count", [0, 1])
def test_a_process_that_is_killed_leaves_no_trace(tmp_path, scorer, many_shards, alone, worker_scorer, piece_count):
    index = IndexDirectory(tmp_path / "index")
    killer = threading.Thread(target=kill_worker, args=(index, piece_count))
    killer.start()
    reindex(scorer, many_shards, index, keep=9, scores=True, engine=LocalProcesses(worker_scorer, 2))
    killer.join()
    assert index.open_current().manifest.files == alone


def test_a_shard_that_no_process_survives_is_named(tmp_path, scorer, many_shards, worker_scorer):
    index, stop = IndexDirectory(tmp_path / "index"), threading.Event()

    def kill_all():
        while not stop.is_set():
            for worker in workers_of(os.getpid()):
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            time.sleep(0.001)

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        with pytest.raises(DataError, match=r"library00\.tfrecord, scoring: 3 workers were lost"):
            reindex(scorer, many_shards, index, keep=9, engine=LocalProcesses(worker_scorer, 2))
    finally:
        stop.set()
        killer.join()


def test_workers_of_a_reindex_that_is_killed_end_too_and_another_number_of_them_goes_on(
    tmp_path, scorer, tiny_bundle, many_shards, alone
):
    index = IndexDirectory(tmp_path / "index")
    line = [Path(sys.executable).with_name("segsearch"), "reindex", "--bundle", tiny_bundle.directory]
    line += ["--data", many_shards[0].with_name("*.tfrecord"), "--index", index.root, "--batch", "8", "--workers", "3"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    workers = workers_once(process.pid, index, 1)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    done = reindex(scorer, many_shards, index, keep=9, scores=True)
    assert done.resumed or done.manifest.number == 2  # it may have published before it was killed
    assert index.open_current().manifest.files == alone


def test_a_bad_record_that_a_process_meets_is_named_here(tmp_path, scorer, many_shards, worker_scorer):
    write_records(tmp_path / "z.tfrecord", [b"\xff\xff\xff"])
    with pytest.raises(BadRecord, match=r"z\.tfrecord, record 0") as caught:
        reindex(
            scorer, [*many_shards, tmp_path / "z.tfrecord"], IndexDirectory(tmp_path / "index"), keep=9,
            engine=LocalProcesses(worker_scorer, 2),
        )  # fmt: skip
    assert caught.value.record == 0
    assert workers_of(os.getpid()) == []


def test_a_worker_that_finds_another_bundle_refuses(tmp_path, scorer, many_shards, worker_scorer):
    other = LocalProcesses(replace(worker_scorer, digest="0" * 64), 2)
    with pytest.raises(BundleRefused, match="wanted 000000000000"):
        reindex(scorer, many_shards, IndexDirectory(tmp_path / "index"), keep=9, engine=other)


def test_a_worker_whose_model_runs_on_something_else_refuses(worker_scorer):
    with pytest.raises(ConfigError, match="provider of a worker is 'CPUExecutionProvider', wanted CUDA"):
        replace(worker_scorer, provider="CUDAExecutionProvider").open()


def test_one_worker_is_this_process(scorer):
    assert engine_for(scorer, EngineWishes()) == InProcess(scorer)
    assert engine_for(scorer, EngineWishes(workers=2), threads=3).scorer.threads == 3


@pytest.mark.parametrize(
    ("wishes", "field"),
    [
        ({"workers": 0}, "workers"),
        ({"actors": 0}, "actors"),
        ({"gpus_per_actor": -1.0}, "gpus_per_actor"),
        ({"address": "auto"}, "engine"),
        ({"gpus_per_actor": 0.5}, "engine"),
        ({"kind": "ray", "workers": 2}, "engine"),
    ],
)
def test_wishes_that_do_not_go_together_are_named(wishes, field):
    with pytest.raises(ConfigError, match=f"^{field} is "):
        EngineWishes(**wishes)
