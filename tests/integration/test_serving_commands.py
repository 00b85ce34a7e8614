"""`segsearch reindex | submit | evaluate | serve` as a user runs them: processes, exit codes, JSON lines."""

import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from segsearch.core.bundle import Bundle
from segsearch.core.cli import main
from segsearch.service.index.index_directory import IndexDirectory
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_model import NAMES, SPEC, write_tiny_bundle

TIMEOUT_S = 120  # of a process that starts on a busy machine


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-c", "from segsearch.core.cli import main; main()", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def result(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The last JSON line of a command that went well."""
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def server(index: IndexDirectory, bundle: Bundle, *options: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A served index: its URL and process."""
    arguments = command("serve", "--index", index.root, "--bundle", bundle.directory, "--port", 0, *options)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield json.loads(line)["url"], process
        finally:
            process.terminate()
            process.communicate(timeout=TIMEOUT_S)


def test_the_line_from_shards_to_a_judged_submission(tmp_path, tiny_bundle, shards):
    data, index, csv = shards[0].parent / "library*.tfrecord", tmp_path / "index", tmp_path / "out.csv"
    done = result(run("reindex", "--bundle", tiny_bundle.directory, "--data", data, "--index", index, "--threads", 1))
    assert (done["generation"], done["videos"], done["skipped"]) == (1, 30, 0)
    assert result(run("submit", "--index", index, "--out", csv))["classes"] == 8
    by_index = result(run("evaluate", "--index", index, "--data", data, "--k", 20))
    assert by_index == result(run("evaluate", "--csv", csv, "--data", data, "--k", 20))
    assert 0 < float(str(by_index["map"])) <= 1


def test_evaluate_prints_a_line_for_each_class_on_demand(index, shards):
    done = run("evaluate", "--index", index.root, "--data", shards[0].parent / "*.tfrecord", "--per-class")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["map"] == pytest.approx(np.mean([line["average_precision"] for line in lines[:-1]]))


def test_a_pattern_without_files_fails_and_is_named(tmp_path, tiny_bundle):
    done = run("reindex", "--bundle", tiny_bundle.directory, "--data", tmp_path / "no*", "--index", tmp_path / "index")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path / 'no*'}: no file matches" in done.stderr


def test_a_misused_command_exits_with_two():
    assert run("evaluate", "--data", "x").returncode == 2


@pytest.mark.parametrize("command", ["submit", "evaluate"])
def test_a_label_that_the_index_does_not_know_is_named_with_its_file(tmp_path, index, shards, command):
    (tmp_path / "labels.csv").write_text("Index\n13\n4\n")
    more = ("--out", tmp_path / "out.csv") if command == "submit" else ("--data", shards[0])
    done = run(command, "--index", index.root, *more, "--labels", tmp_path / "labels.csv")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path / 'labels.csv'}, record 2, Index: label 4 is unknown; wanted one of 8" in done.stderr


OUT_OF_RANGE = {
    "reindex --bundle B --data D --index I": [
        ("keep", 0), ("keep", 1_000_001), ("batch", -1), ("batch", 4097), ("threads", -1), ("frame-limit", 0),
    ],
    "submit --index I --out O": [("limit", 0), ("limit", 100_001)],
    "evaluate --index I --data D": [("k", 0), ("k", 100_001)],
}  # fmt: skip


@pytest.fixture
def places(tmp_path, index, tiny_bundle, shards):
    """What the letters in OUT_OF_RANGE stand for."""
    return {"B": tiny_bundle.directory, "D": shards[0], "I": index.root, "O": tmp_path / "out.csv"}


@pytest.fixture
def here(monkeypatch, capsys):
    """Exit code and stderr of a command in this process: a dozen interpreters take long to start."""

    def called(*words: object) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["segsearch", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr().err

    return called


@pytest.mark.parametrize(
    ("line", "option", "value"),
    [(line, option, value) for line, options in OUT_OF_RANGE.items() for option, value in options],
)
def test_a_number_out_of_range_fails_with_one_and_is_named(places, here, line, option, value):
    code, told = here(*[places.get(word, word) for word in line.split()], f"--{option}", value)
    assert (code, told.split(", wanted ")[0]) == (1, f"error: {option.replace('-', '_')} is {value}")


@pytest.mark.parametrize("line", OUT_OF_RANGE)
def test_a_word_in_place_of_a_number_exits_with_two(places, here, line):
    words = [places.get(word, word) for word in line.split()]
    assert here(*words, f"--{OUT_OF_RANGE[line][0][0]}", "many")[0] == 2


@pytest.mark.parametrize(("option", "value"), [("port", 65_536), ("frame-limit", 0), ("batch", -1)])
def test_a_server_refuses_a_number_out_of_range_in_the_same_way(places, option, value):
    assert f"error: {option.replace('-', '_')} is {value}, wanted " in refused(
        places["I"], places["B"], f"--{option}", value
    )


def test_a_skipped_record_is_in_the_result_and_on_stderr(tmp_path, tiny_bundle, videos):
    (file,) = write_shards(tmp_path, videos[:5], 1)
    file.write_bytes(file.read_bytes()[:-3])
    arguments = ("reindex", "--bundle", tiny_bundle.directory, "--data", file, "--index", tmp_path / "index")
    assert run(*arguments).returncode == 1
    done = run(*arguments, "--on-error", "skip")
    told = result(done)
    assert (told["skipped"], told["broken_files"]) == (1, 1)
    assert "1 skipped; the first:" in done.stderr
    assert f"from record 4 on, {told['unread_bytes']} bytes, is lost" in done.stderr


@pytest.mark.parametrize("seen", [".building-*", ".building-*/ordinals.npy", ".building-*/manifest.json"])
def test_a_reindex_that_is_killed_leaves_the_old_generation_and_the_next_one_works(tmp_path, index, tiny_bundle, seen):
    write_shards(tmp_path / "many", make_videos(300), 1)
    arguments = ("--bundle", tiny_bundle.directory, "--data", tmp_path / "many/*.tfrecord", "--index", index.root)
    with subprocess.Popen(command("reindex", *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
        while job.poll() is None and not list(index.root.glob(seen)):
            time.sleep(0.001)
        job.kill()
    before = index.open_current()
    before.verify()
    assert result(run("reindex", *arguments))["generation"] == before.number + 1
    assert not list(index.root.glob(".building-*"))


def test_a_server_says_where_it_listens_and_answers(index, tiny_bundle):
    with server(index, tiny_bundle) as (url, _):
        assert len(httpx.get(f"{url}/search", params={"tag": "Rain", "k": 3}).json()["segments"]) == 3


def test_every_line_that_a_server_logs_is_an_event_whatever_came(index, tiny_bundle):
    with server(index, tiny_bundle) as (url, process):
        for request in (
            b"no HTTP\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", httpx.URL(url).port), timeout=TIMEOUT_S) as raw:
                raw.sendall(request)
                assert raw.recv(9) == b"HTTP/1.1 "
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        told = [json.loads(line) for line in process.stderr]
    assert "request_malformed" in {line["event"] for line in told}


def test_sigterm_ends_a_server_with_exit_code_zero(index, tiny_bundle):
    with server(index, tiny_bundle) as (_, process):
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


def test_a_request_under_way_is_answered_after_sigterm(index, tiny_bundle):
    """The body arrives in two halves, and SIGTERM between them."""
    out = io.BytesIO()
    np.save(out, np.zeros((40, SPEC.size), np.uint8))
    body = out.getvalue()
    with server(index, tiny_bundle) as (url, process):
        port = httpx.URL(url).port
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as raw:
            head = "POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-npy"
            head += f"\r\nContent-Length: {len(body)}"
            raw.sendall(f"{head}\r\n\r\n".encode() + body[:100])
            time.sleep(0.3)  # the request is being read
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            raw.sendall(body[100:])
            assert raw.recv(12) == b"HTTP/1.1 200"
        assert process.wait(TIMEOUT_S) == 0


def test_a_new_generation_is_served_without_a_restart_and_without_a_failed_request(index, tiny_bundle, shards):
    statuses, stop = [], threading.Event()

    def search(url: str) -> None:
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
            while not stop.is_set():
                statuses.append(client.get("/search", params={"tag": "Rain", "k": 5}).status_code)

    with server(index, tiny_bundle) as (url, _):
        thread = threading.Thread(target=search, args=(url,))
        thread.start()
        try:
            result(run("reindex", "--bundle", tiny_bundle.directory, "--data", shards[0], "--index", index.root))
            deadline = time.monotonic() + TIMEOUT_S
            while httpx.get(f"{url}/readyz").json()["generation"]["number"] != 2:
                assert time.monotonic() < deadline
        finally:
            stop.set()
            thread.join()
    assert set(statuses) == {200}


def refused(index: Path, bundle: Path, *options: object) -> str:
    done = run("serve", "--index", index, "--bundle", bundle, "--port", 0, *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_damaged_generation_is_refused_before_anything_listens(index, tiny_bundle):
    file = index.root / "1" / "codes.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "codes.npy has xxh3" in refused(index.root, tiny_bundle.directory)


def test_a_damaged_bundle_is_refused_before_anything_listens(tmp_path, index):
    bundle = write_tiny_bundle(tmp_path / "bundles")
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    assert "model.onnx has sha256" in refused(index.root, bundle)


def test_a_bundle_of_another_vocabulary_is_refused(tmp_path, index):
    bundle = write_tiny_bundle(tmp_path / "bundles", names=NAMES[::-1])
    assert "has vocabulary" in refused(index.root, bundle)


def test_a_bundle_that_is_not_there_is_refused(tmp_path, index):
    assert "no manifest.json" in refused(index.root, tmp_path / "nothing")


def test_an_index_that_is_not_there_is_refused(tmp_path, tiny_bundle):
    assert "no generation is published" in refused(tmp_path / "nothing", tiny_bundle.directory)


def test_a_port_that_is_taken_is_named(index, tiny_bundle):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused(index.root, tiny_bundle.directory, "--port", port)


def test_serving_imports_no_training_framework_and_no_way_to_send_traces():
    code = (
        "import sys, segsearch.service.serve_cli, segsearch.service.processes.serving, segsearch.service.rpc.server,"
        " segsearch.service.jobs.reindex, segsearch.service.evaluation, segsearch.service.scoring.onnx_scorer\n"
        "import onnxruntime\n"
        "names = ('tensorflow', 'keras', 'onnx', 'tf2onnx', 'h5py', 'opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert done.stdout.strip() == "[]"
