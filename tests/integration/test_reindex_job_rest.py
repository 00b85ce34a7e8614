"""A reindex as a job over the API: a process of its own, one at a time, told of by every server of the index."""

import fcntl
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import typer.main

from segsearch.core.bundle import Bundle
from segsearch.core.cli import build as command_group
from segsearch.core.errors import ConfigError, IndexBusy, InvalidInput, UnknownJob
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex_process import KEPT, Progress, ReindexJobs, State, Wish, _progress, _reason
from segsearch.service.jobs.taking_turns import LOCK
from segsearch.service.library import SegmentLibrary
from segsearch.service.processes.plan import Plan
from segsearch.service.processes.serving import _as_here
from segsearch.service.scoring.bundle_folder import BundleFolder
from segsearch.service.settings import Settings
from tests.integration.test_model_reload import open_scorer
from tests.library_fixtures import make_videos, serving, write_shards
from tests.rest_bodies import problem
from tests.tiny_model import NAMES, write_tiny_bundle

TIMEOUT_S = 300  # of a process that starts on a busy machine
OPTIONS = ("--batch", "8", "--threads", "1", "--cache", "unused")


@pytest.fixture
def data(tmp_path) -> Path:
    """A folder with shards in folders of their own."""
    write_shards(tmp_path / "data/new", make_videos(8, seed=4, prefix="n"), 2)
    return tmp_path / "data"


@pytest.fixture
def root(tmp_path) -> Path:
    write_tiny_bundle(tmp_path / "bundles/two", seed=8)
    write_tiny_bundle(tmp_path / "bundles/reversed", names=NAMES[::-1])
    return tmp_path / "bundles"


@pytest.fixture
def jobs(index, data, root) -> ReindexJobs:
    return ReindexJobs(index, data, BundleFolder(root, open_scorer), OPTIONS)


@pytest.fixture
def client(scorer, index, jobs) -> Iterator[httpx.Client]:
    with serving(SegmentLibrary(scorer, index, jobs=jobs)) as opened:
        yield opened


def ended(client: httpx.Client, job_id: str) -> dict:
    deadline = time.monotonic() + TIMEOUT_S
    while (answer := client.get(f"/jobs/{job_id}").json())["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return dict(answer)


def test_a_job_publishes_a_generation_by_the_bundle_it_was_told(client, index, root, jobs, data):
    started = client.post("/reindex", json={"shards": ["new/*.tfrecord"], "bundle": "two/tiny"})
    assert (started.status_code, started.json()["state"]) == (202, "running")
    job_id = started.json()["job"]
    assert started.headers["location"] == f"/jobs/{job_id}"
    # While it runs there is no other, whoever asks: this server, another one of the same index, or a command.
    problem(client.post("/reindex", json={"shards": ["new/*.tfrecord"]}), 409, "index-busy")
    with pytest.raises(IndexBusy):
        ReindexJobs(IndexDirectory(index.root), data).start(Wish(("new/*.tfrecord",)), Bundle.open(root / "two/tiny"))
    job = ended(client, job_id)
    assert (job["state"], job["error"], job["bundle"], job["shards"]) == ("done", None, "two/tiny", ["new/*.tfrecord"])
    assert (job["result"]["generation"], job["result"]["videos"], job["result"]["skipped"]) == (2, 8, 0)
    assert job["progress"]["done"] == job["progress"]["total"] == 8
    manifest = index.open_current().manifest
    assert (manifest.number, manifest.limit) == (2, 1000)  # as the generation before
    assert manifest.bundle.digest == Bundle.open(root / "two/tiny").digest
    # A server that is started later knows it too.
    assert ReindexJobs(index, data).job(job_id) == jobs.job(job_id)


def test_a_job_that_fails_says_why_without_a_path_and_the_index_stays(client, index, data, tmp_path):
    (data / "bad.tfrecord").write_bytes((data / "new/library00.tfrecord").read_bytes()[:-3])
    job_id = client.post("/reindex", json={"shards": ["bad.tfrecord"]}).json()["job"]
    job = ended(client, job_id)
    assert (job["state"], job["result"]) == ("failed", None)
    assert "bad.tfrecord, record 3" in job["error"]
    assert str(tmp_path) not in json.dumps(job)
    assert index.current() == 1


def test_a_job_that_is_cancelled_ends_and_the_next_one_can_start(client, index, data):
    write_shards(data / "many", make_videos(40, seed=5, prefix="m"), 2)
    job_id = client.post("/reindex", json={"shards": ["many/*.tfrecord"]}).json()["job"]
    assert client.post(f"/jobs/{job_id}:cancel").json()["state"] == "cancelled"
    assert client.post(f"/jobs/{job_id}:cancel").json()["state"] == "cancelled"  # once more changes nothing
    assert index.current() == 1
    job_id = client.post("/reindex", json={"shards": ["new/*.tfrecord"]}).json()["job"]
    assert ended(client, job_id)["state"] == "done"


def test_a_reindex_by_hand_keeps_a_job_from_starting(client, index):
    with index.building():
        problem(client.post("/reindex", json={"shards": ["new/*.tfrecord"]}), 409, "index-busy")


def test_the_lock_is_the_processs_and_outlives_who_started_it(index, jobs, root):
    """It is held while a process that has inherited it lives, whatever becomes of the file that took it."""
    (index.root / "jobs").mkdir()
    file = (index.root / "jobs/.lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    with subprocess.Popen(["sleep", "60"], pass_fds=[file.fileno()]) as process:
        file.close()
        with pytest.raises(IndexBusy):
            jobs.start(Wish(("new/*.tfrecord",)), Bundle.open(root / "two/tiny"))
        process.kill()


def test_a_job_that_has_ended_is_not_told_as_running_while_another_one_is_about_to_start(index, jobs):
    folder = index.root / "jobs/20260101-000000-00000000"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text('{"created_at": "", "wish": {"shards": []}}')
    (folder / "stdout").write_text('{"generation": 2}')
    (index.root / "jobs/.lock").write_text(folder.name)
    with (index.root / "jobs/.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert jobs.job(folder.name).state is State.done


SHARDS = ("../*.tfrecord", "/etc/*", "new/../../x", "nothing*", "new", "..", "out/*", "\0")


def test_shards_lie_below_the_folder_and_match(client, data, tmp_path):
    write_shards(tmp_path / "private", make_videos(1))
    (data / "out").symlink_to(tmp_path / "private")
    for pattern in SHARDS:
        answer = client.post("/reindex", json={"shards": [pattern]})
        assert problem(answer, 422, "invalid-input").startswith("shards: "), pattern
        assert str(tmp_path) not in answer.text


def test_bundles_lie_below_their_folder_and_fit_the_index(client):
    def asked(bundle: str) -> httpx.Response:
        return client.post("/reindex", json={"shards": ["new/*"], "bundle": bundle})

    problem(asked("../two"), 422, "invalid-input")
    problem(asked("nowhere"), 422, "model-not-loaded")
    assert "vocabulary" in problem(asked("reversed/tiny"), 409, "model-unfit")


@pytest.mark.parametrize("body", [{}, {"shards": []}, {"shards": "x"}, {"shards": ["x"], "on_error": "x"}])
def test_a_body_that_asks_for_no_reindex_says_what_is_wrong(client, body):
    assert problem(client.post("/reindex", json=body), 422, "invalid-input").startswith("body.")


@pytest.mark.parametrize("job_id", ["x", "20260101-000000-00000000", "..", "%2e%2e", "." * 90])
def test_a_job_that_never_was_is_unknown(client, job_id):
    for answer in (client.get(f"/jobs/{job_id}"), client.post(f"/jobs/{job_id}:cancel")):
        assert (answer.status_code, answer.json()["type"]) in [
            (404, "/problems/unknown-job"),
            (404, "/problems/not-found"),
        ]


def test_without_a_folder_of_shards_there_are_no_jobs(library):
    with serving(library) as client:
        assert "--data" in problem(client.post("/reindex", json={"shards": ["x"]}), 409, "not-configured")
        problem(client.get("/jobs/x"), 409, "not-configured")


def test_a_folder_that_is_none_is_named(index, tmp_path):
    with pytest.raises(ConfigError, match="data is"):
        ReindexJobs(index, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="bundles is"):
        BundleFolder(tmp_path / "nowhere", open_scorer)


def test_jobs_long_ended_are_forgotten_and_what_is_no_job_stays(index, jobs, root):
    folder = index.root / "jobs"
    (folder / "notes").mkdir(parents=True)
    for number in range(KEPT + 5):
        (folder / f"20260101-000000-{number:08x}").mkdir()
        (folder / f"20260101-000000-{number:08x}/job.json").write_text('{"created_at": "", "wish": {"shards": []}}')
    assert jobs.job("20260101-000000-00000000").state is State.failed
    started = jobs.start(Wish(("new/*.tfrecord",)), Bundle.open(root / "two/tiny"))
    jobs.cancel(started.id)
    assert (folder / "notes").exists()
    assert len(list(folder.glob("2*"))) == KEPT
    with pytest.raises(UnknownJob):
        jobs.job("20260101-000000-00000000")


@contextmanager
def job_that_runs(index: IndexDirectory, job_id: str) -> Iterator[subprocess.Popen]:
    """A process that does this job, as far as others see, but is not noted as the one that does."""
    folder = index.root / "jobs" / job_id
    folder.mkdir(parents=True)
    asked = {"created_at": "2026-01-01T00:00:00+00:00", "wish": {"shards": [], "bundle": None, "skip_bad": False}}
    (folder / "job.json").write_text(json.dumps(asked))
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            ["sleep", "60"], pass_fds=[lock.fileno()], process_group=0, env={**os.environ, "SEGSEARCH_JOB": job_id}
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_job_that_was_started_this_moment_can_be_cancelled(index, jobs):
    job_id = "20260101-000000-00000001"
    with job_that_runs(index, job_id) as process:
        note = index.root / "jobs" / job_id / "process"
        noted = threading.Timer(0.2, note.write_text, (str(process.pid),))
        noted.start()
        threading.Thread(target=process.wait).start()  # as a server does, or its end would not be seen
        assert jobs.cancel(job_id).state is State.cancelled
        noted.join()


def test_a_job_of_another_machine_cannot_be_cancelled(index, jobs):
    job_id = "20260101-000000-00000002"
    with job_that_runs(index, job_id) as process:
        (index.root / "jobs" / job_id / "process").write_text(str(os.getpid()))
        with pytest.raises(InvalidInput, match="another machine"):
            jobs.cancel(job_id)
        assert process.poll() is None


def test_where_the_clock_was_set_back_the_newest_job_is_not_the_first_to_be_forgotten(index, jobs, root):
    folder = index.root / "jobs"
    for number in range(KEPT):
        (folder / f"20990101-000000-{number:08x}").mkdir(parents=True)
    started = []
    for _ in range(2):
        started.append(jobs.start(Wish(("new/*.tfrecord",)), Bundle.open(root / "two/tiny")).id)
        jobs.cancel(started[-1])
    assert [jobs.job(each).state for each in started] == [State.cancelled] * 2
    assert sorted(each.name for each in folder.glob("2*"))[-2:] == started


def test_progress_is_read_from_what_the_command_says():
    line = "reindex: 40/300 videos, 12 videos/s, 21 s left, 1/2 shards, 120 segments, 1,300 segments/s"
    assert _progress(f"tuned: 3\n{line}\nsome word\n") == Progress("reindex", 40, 300, "videos", 21)
    assert _progress("reindex: uploads: 7/9 videos, 1 videos/s") == Progress("reindex: uploads", 7, 9, "videos", None)
    assert _progress("reindex: 5 videos, 2 videos/s\n") is None


def test_a_reason_names_files_without_their_folders():
    assert _reason("talk\nerror: /srv/data/a.tfrecord, record 3, framing: 1/2 of it\n") == (
        "a.tfrecord, record 3, framing: 1/2 of it"
    )
    assert "ended early" in _reason("Traceback ...\nValueError: /srv/secret\n")


def test_every_option_of_a_servers_jobs_is_one_of_reindex():
    command = typer.main.get_command(command_group()).commands["reindex"]
    known = {name for parameter in command.params for name in parameter.opts}
    as_here = _as_here(plan_of(Settings()))
    used = {"--keep", "--scores", "--embeddings", "--on-error", "--data", "--bundle", "--index"}
    assert used | set(as_here[::2]) <= known


def test_a_servers_jobs_keep_as_many_generations_as_it_was_told():
    options = _as_here(plan_of(Settings(keep_generations=10)))
    assert options[options.index("--keep-generations") + 1] == "10"


def plan_of(settings: Settings) -> Plan:
    return Plan(settings=settings, index=Path("index"), bundle=Path("bundle"), cache=Path("cache"))


def test_a_job_that_the_disk_refuses_to_note_is_no_job_and_no_bug(client, index):
    (index.root / "jobs").write_text("in the way")
    problem(client.post("/reindex", json={"shards": ["new/*.tfrecord"]}), 503, "storage-failed")
    (index.root / "jobs").unlink()
    started = client.post("/reindex", json={"shards": ["new/*.tfrecord"]})
    assert started.status_code == 202
    assert ended(client, started.json()["job"])["state"] == "done"
