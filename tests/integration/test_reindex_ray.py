"""Shards scored by Ray actors: the generation is the same to the bit, and an actor may die.

Ray listens on the machine's address, whatever it is told. Here it gets a network of its own, with nothing but loopback,
and process ids of its own, so that nothing it starts is left.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from segsearch.core.records import write_records
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.work_folder import PREFIX
from tests.conftest import ROOT

TIMEOUT_S = 600


@pytest.fixture
def short_folder():
    """For sockets, whose paths end at 107 letters."""
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield folder


def start(bundle, shards, index, *options, before=":"):
    """`segsearch reindex` by two actors, in a network of its own; before: a command that runs there first."""
    segsearch = Path(sys.executable).with_name("segsearch")
    words = [segsearch, "reindex", "--bundle", bundle.directory, "--index", index.root, "--batch", 8, "--threads", 1]
    words += ["--keep", 9, "--scores", "--engine", "ray", "--actors", 2, *options]
    line = " ".join(f"'{word}'" for word in words) + "".join(f" --data '{shard}'" for shard in shards)
    script = f"ip link set lo up; {before} && {line}; exit $?"
    apart = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("no network of its own can be had here")
    return subprocess.Popen(
        [*apart, "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def finish(process):
    """Exit code, and what was told on stdout and stderr."""
    told, talk = process.communicate(timeout=TIMEOUT_S)
    print(told, talk)
    return process.returncode, told, talk


def below(process, name):
    """Ids of the processes below this one whose command line begins with a name."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                line, status = (folder / "cmdline").read_text(), (folder / "stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            parents[int(folder.name)] = int(status.rsplit(")", 1)[1].split()[1]), line
    found = []
    for number, (parent, line) in parents.items():
        while parent not in (0, process):
            parent = parents.get(parent, (0, ""))[0]
        if parent == process and line.startswith(name):
            found.append(number)
    return found


def kill_actor(process, index, killed):
    """Kills an actor as soon as a first shard is finished."""
    while process.poll() is None:
        actors = below(process.pid, "ray::ShardActor")
        if actors and any(index.root.glob(f"{PREFIX}*/*.scores")):
            os.kill(actors[0], signal.SIGKILL)
            killed.append(actors[0])
            return
        time.sleep(0.001)


def test_an_actor_that_is_killed_leaves_no_trace(tmp_path, tiny_bundle, many_shards, alone):
    index, killed = IndexDirectory(tmp_path / "index"), []
    process = start(tiny_bundle, many_shards, index)
    killer = threading.Thread(target=kill_actor, args=(process, index, killed))
    killer.start()
    code, told, _ = finish(process)
    killer.join()
    assert (code, len(killed)) == (0, 1)
    assert json.loads(told)["segments"] == index.open_current().manifest.segment_count
    assert index.open_current().manifest.files == alone


@pytest.mark.slow
def test_a_bad_record_that_an_actor_meets_is_named(tmp_path, tiny_bundle, many_shards):
    write_records(tmp_path / "z.tfrecord", [b"\xff\xff\xff"])
    process = start(tiny_bundle, [*many_shards, tmp_path / "z.tfrecord"], IndexDirectory(tmp_path / "index"))
    code, told, talk = finish(process)
    assert (code, told) == (1, "")
    assert f"error: {tmp_path / 'z.tfrecord'}, record 0, payload: not a protobuf message" in talk
    assert "Traceback" not in talk


@pytest.mark.slow
def test_actors_that_ask_for_more_than_there_is_are_refused(tmp_path, tiny_bundle, many_shards):
    process = start(tiny_bundle, many_shards, IndexDirectory(tmp_path / "index"), "--gpus-per-actor", 9)
    code, _, talk = finish(process)
    assert code == 1
    assert "error: actors is 2, wanted at most" in talk


@pytest.mark.slow
def test_a_cluster_that_runs_is_used(tmp_path, tiny_bundle, many_shards, alone, short_folder):
    ray = Path(sys.executable).with_name("ray")
    options = "--head --num-cpus 2 --include-dashboard false --disable-usage-stats"
    head = f"'{ray}' start {options} --temp-dir '{short_folder}' >&2"
    index = IndexDirectory(tmp_path / "index")
    process = start(tiny_bundle, many_shards, index, "--ray-address", "auto", before=head)
    code, *_ = finish(process)
    assert code == 0
    assert index.open_current().manifest.files == alone


@pytest.mark.slow
def test_actors_fetch_shards_from_a_server(tmp_path, tiny_bundle, many_shards, alone):
    port, folder = 8123, many_shards[0].parent  # of a network that nobody else is in
    server = f"{{ '{sys.executable}' -m http.server {port} --bind 127.0.0.1 --directory '{folder}' >&2 & }} && sleep 1"
    urls = [f"http://127.0.0.1:{port}/{shard.name}" for shard in many_shards]
    index = IndexDirectory(tmp_path / "index")
    code, *_ = finish(start(tiny_bundle, urls, index, before=server))
    assert code == 0
    assert index.open_current().manifest.files == alone


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_named(tmp_path, tiny_bundle, many_shards):
    process = start(tiny_bundle, many_shards, IndexDirectory(tmp_path / "index"), "--ray-address", "auto")
    code, _, talk = finish(process)
    assert code == 1
    assert "error: ray_address is 'auto', wanted a cluster that answers" in talk


def test_where_ray_is_not_installed_the_extra_is_named():
    python = ROOT / ".venv-serve/bin/python"
    if not python.exists():
        pytest.fail("no serving environment: run `make test`, which builds it")
    code = (
        "from segsearch.core.errors import MissingExtra;"
        "from segsearch.service.jobs.ray_actors import RayActors\n"
        "try: RayActors(None, 2)\n"
        "except MissingExtra as error: print(error)"
    )
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "segsearch[cluster" in told
