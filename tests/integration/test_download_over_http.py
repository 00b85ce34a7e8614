"""Downloads from a real server on the loopback that behaves as the net does: it cuts, lies, fails and forgets Range."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
import typer
from typer.testing import CliRunner

from segsearch.core.errors import ConfigError
from segsearch.training.download.cli import download
from segsearch.training.download.transfer import Transfer
from segsearch.training.download.youtube8m import Shard, Source, fetch_part
from segsearch.training.errors import DownloadDamaged, DownloadFailed, DownloadRefused

PLAN = "/2/download_plans/frame_train.json"
FILES = "/2/frame/train/"
CONTENT = {f"traina{digit}.tfrecord": os.urandom(300_000 + ord(digit)) for digit in "abc"}  # train0000 to train0002
FIRST, SECOND, THIRD = sorted(CONTENT)
HALF = len(CONTENT[FIRST]) // 2


class Mirror(ThreadingHTTPServer):
    """Serves `content`; each request of a path takes the next of its `faults`, if there is one."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        digests = {name: hashlib.md5(content).hexdigest() for name, content in CONTENT.items()}
        self.content = {FILES + name: content for name, content in CONTENT.items()}
        self.content[PLAN] = json.dumps({"files": digests}).encode()
        self.faults = defaultdict(list)
        self.knows_range = True
        self.tells_length = True
        self.asked = []  # (path, Range or None)
        self.resumed = Event()  # what a fault "hang" waits for
        self.url = f"http://127.0.0.1:{self.server_port}"

    def fail(self, name, *faults):
        self.faults[FILES + name] = list(faults)

    def ranges(self, name):
        return [asked for path, asked in self.asked if path == FILES + name]


class Answer(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        mirror = self.server
        mirror.asked.append((self.path, self.headers["Range"]))
        fault = mirror.faults[self.path].pop(0) if mirror.faults[self.path] else None
        if isinstance(fault, int):
            return self.send_error(fault)
        content = mirror.content.get(self.path)
        if content is None:
            return self.send_error(404)
        if fault == "lie":
            content = bytes(len(content))
        return self.send_body(content, self.start(fault), fault)

    def start(self, fault):
        match = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if match is None or not self.server.knows_range:
            return 0
        return int(match[1]) + (1000 if fault == "other range" else 0)

    def send_body(self, content, start, fault):
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.server.tells_length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) // 2 if fault in ("cut", "hang") else len(content)
        self.wfile.write(content[start:end])
        if fault == "hang":
            self.server.resumed.wait(30)
        return None


@pytest.fixture
def mirror(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Mirror() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.resumed.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def fetch(mirror, tmp_path):
    """Downloads the mirror's part into tmp_path / "out"; `fetch.pauses` are the waits it asked for."""

    def call(retries=2, **settings):
        source = Source(**{"part": "2/frame/train", "base_url": mirror.url, **settings})
        return fetch_part(source, tmp_path / "out", Transfer(retries, call.pauses.append))

    call.pauses = []
    return call


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def visible(folder):
    """What a glob over the folder finds: shards, and nothing half-done."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


WHOLE = {f"train000{number}.tfrecord": CONTENT[name] for number, name in enumerate(sorted(CONTENT))}


def test_every_file_of_the_plan_arrives_under_its_number(fetch, out):
    result = fetch()
    assert (result.files, result.fetched, result.skipped, result.failures) == (3, 3, 0, [])
    assert visible(out) == WHOLE


def test_the_command_ends_with_one_json_line(mirror, out):
    app = typer.Typer()
    app.command()(download)
    arguments = ["yt8m", "--part", "2/frame/train", "--out", str(out), "--base-url", mirror.url]
    done = CliRunner().invoke(app, arguments)
    assert json.loads(done.stdout) == {
        "dataset": "yt8m", "part": "2/frame/train", "shard": "1,1", "out": str(out), "files": 3, "fetched": 3,
        "skipped": 0, "bytes": sum(map(len, CONTENT.values())), "failed": [],
    }  # fmt: skip


def test_the_command_fails_after_its_json_line_when_a_file_is_missing(mirror, out):
    mirror.fail(SECOND, 404)
    app = typer.Typer()
    app.command()(download)
    arguments = ["yt8m", "--part", "2/frame/train", "--out", str(out), "--base-url", mirror.url]
    done = CliRunner().invoke(app, arguments)
    assert json.loads(done.stdout)["failed"] == [mirror.url + FILES + SECOND]
    assert isinstance(done.exception, DownloadRefused)


def test_the_command_knows_one_data_set(out):
    with pytest.raises(ConfigError, match="wanted yt8m"):
        download("imagenet", "2/frame/train", out)


def test_a_shard_asks_for_its_own_files_alone(fetch, mirror):
    shard = Shard(2, 3)
    fetch(shard=shard)
    assert {path for path, _ in mirror.asked} == {PLAN, *(FILES + name for name in CONTENT if shard.holds(name))}


def test_a_cut_line_is_taken_up_where_it_broke(fetch, mirror, out):
    mirror.fail(FIRST, "cut")
    result = fetch()
    assert mirror.ranges(FIRST) == [None, f"bytes={HALF}-"]
    assert result.received_bytes == sum(map(len, CONTENT.values()))
    assert visible(out) == WHOLE


def test_a_download_that_was_killed_goes_on_with_the_bytes_it_had(fetch, mirror, out):
    mirror.fail(FIRST, "hang")
    code = "import typer; from segsearch.training.download.cli import download; typer.run(download)"
    arguments = ["yt8m", "--part", "2/frame/train", "--out", out, "--base-url", mirror.url]
    part = out / ".train0000.tfrecord.part"
    running = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    # Less than the half that was sent: the client reads in pieces and waits for the next one to be full.
    while not (part.exists() and part.stat().st_size >= 128 << 10) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    had = part.stat().st_size
    fetch()
    assert mirror.ranges(FIRST) == [None, f"bytes={had}-"]
    assert visible(out) == WHOLE


def test_a_part_that_was_complete_when_the_kill_came_is_not_asked_for_again(fetch, mirror, out):
    (out / ".train0000.tfrecord.part").write_bytes(CONTENT[FIRST])
    fetch()
    assert mirror.ranges(FIRST) == []
    assert visible(out) == WHOLE


@pytest.mark.parametrize("part", [CONTENT[FIRST] + b"more", bytes(len(CONTENT[FIRST]))])
def test_a_part_that_has_nothing_to_go_on_with_is_begun_anew(fetch, mirror, out, part):
    (out / ".train0000.tfrecord.part").write_bytes(part)
    fetch(retries=0)
    assert mirror.ranges(FIRST) == [f"bytes={len(part)}-", None]
    assert visible(out) == WHOLE


def test_a_server_without_range_sends_the_file_from_its_start(fetch, mirror, out):
    mirror.knows_range = False
    (out / ".train0000.tfrecord.part").write_bytes(CONTENT[FIRST][:HALF])
    fetch(retries=0)
    assert visible(out) == WHOLE


def test_a_server_that_sends_another_range_is_asked_for_the_whole_file(fetch, mirror, out):
    mirror.fail(FIRST, "other range")
    (out / ".train0000.tfrecord.part").write_bytes(CONTENT[FIRST][:HALF])
    fetch(retries=0)
    assert mirror.ranges(FIRST) == [f"bytes={HALF}-", None]
    assert visible(out) == WHOLE


def test_a_server_that_tells_no_length_is_checked_by_md5(fetch, mirror, out):
    mirror.tells_length = False
    mirror.fail(FIRST, "cut")
    fetch()
    assert visible(out) == WHOLE


def test_wrong_bytes_are_fetched_again_from_the_start(fetch, mirror, out):
    mirror.fail(FIRST, "lie")
    fetch()
    assert mirror.ranges(FIRST) == [None, None]
    assert visible(out) == WHOLE


def test_wrong_bytes_behind_right_ones_spoil_the_part(fetch, mirror, out):
    mirror.fail(FIRST, "lie")
    (out / ".train0000.tfrecord.part").write_bytes(CONTENT[FIRST][:HALF])
    fetch()
    assert mirror.ranges(FIRST) == [f"bytes={HALF}-", None]
    assert visible(out) == WHOLE


def test_a_file_that_stays_wrong_is_named_with_both_digests_and_the_others_arrive(fetch, mirror, out):
    mirror.content[FILES + FIRST] = b"something else"
    [error] = fetch(retries=2).failures
    assert isinstance(error, DownloadDamaged)
    assert error.url.endswith(FIRST)
    assert hashlib.md5(b"something else").hexdigest() in error.found
    assert hashlib.md5(CONTENT[FIRST]).hexdigest() in error.wanted
    assert len(mirror.ranges(FIRST)) == 3
    assert visible(out) == {name: content for name, content in WHOLE.items() if name != "train0000.tfrecord"}
    assert not (out / ".train0000.tfrecord.part").exists()


def test_a_missing_file_is_asked_for_once_and_the_others_arrive(fetch, mirror, out):
    mirror.fail(SECOND, 404)
    result = fetch()
    assert [error.url for error in result.failures] == [mirror.url + FILES + SECOND]
    assert len(mirror.ranges(SECOND)) == 1
    assert visible(out).keys() == {"train0000.tfrecord", "train0002.tfrecord"}


def test_a_server_error_passes(fetch, mirror, out):
    mirror.fail(FIRST, 500, 503)
    fetch()
    assert fetch.pauses == [1, 2]
    assert visible(out) == WHOLE


def test_pauses_between_attempts_grow_to_a_bound(fetch, mirror):
    mirror.fail(FIRST, *[429] * 7)
    fetch(retries=7)
    assert fetch.pauses == [1, 2, 4, 8, 16, 30, 30]


def test_a_server_that_is_gone_ends_the_download_without_trying_every_file(fetch, mirror, out):
    mirror.fail(SECOND, *[500] * 3)
    result = fetch(retries=2)
    assert [type(error) for error in result.failures] == [DownloadFailed]
    assert mirror.ranges(THIRD) == []
    assert visible(out).keys() == {"train0000.tfrecord"}


def test_a_plan_is_tried_for_as_a_file_is(fetch, mirror, out):
    mirror.faults[PLAN] = ["cut", 500]
    fetch()
    assert visible(out) == WHOLE


def test_a_part_that_the_server_does_not_have_is_an_error(fetch):
    with pytest.raises(DownloadRefused, match="HTTP 404"):
        fetch(part="2/video/train")


def test_nobody_listening_is_an_error_that_names_the_address(fetch):
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1:1/2/download_plans.*refused"):
        fetch(base_url="http://127.0.0.1:1", retries=0)


def test_a_rerun_asks_for_the_plan_alone(fetch, mirror):
    fetch()
    mirror.asked.clear()
    assert fetch().skipped == 3
    assert mirror.asked == [(PLAN, None)]


def test_a_file_that_was_copied_here_is_taken_under_either_name_once_its_md5_agrees(fetch, out):
    (out / "train0000.tfrecord").write_bytes(CONTENT[FIRST])
    (out / SECOND).write_bytes(CONTENT[SECOND])
    result = fetch()
    assert (result.skipped, result.fetched) == (2, 1)
    assert visible(out).keys() == {"train0000.tfrecord", SECOND, "train0002.tfrecord"}


def test_a_finished_file_that_was_damaged_since_is_fetched_again(fetch, out):
    fetch()
    (out / "train0001.tfrecord").write_bytes(CONTENT[SECOND][:-1] + b"?")
    assert fetch().fetched == 1
    assert visible(out) == WHOLE


def test_a_full_disk_is_not_taken_for_a_bad_line(mirror, out):
    def no_space(_):
        raise OSError(28, "No space left on device")

    transfer = Transfer(5, pause=lambda _: pytest.fail("tried again"))
    with pytest.raises(OSError, match="No space left"):
        transfer.file(mirror.url + FILES + FIRST, "0" * 32, out / "train0000.tfrecord", no_space)


def test_two_downloads_into_one_folder_are_refused(fetch, mirror, out):
    refused = []

    def second(_):
        with pytest.raises(ConfigError, match="no other download"):
            fetch()
        refused.append(True)

    mirror.fail(FIRST, 500)
    fetch_part(Source(part="2/frame/train", base_url=mirror.url), out, Transfer(1, second))
    assert refused == [True]
