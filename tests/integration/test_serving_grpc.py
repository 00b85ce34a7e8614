"""`segsearch serve --grpc-port` as a process: one library, one set of keys, one end."""

import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import httpx
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from segsearch.v1 import search_pb2 as pb
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.conftest import ROOT
from tests.integration.test_serving_commands import TIMEOUT_S, command
from tests.integration.test_serving_security import Authority
from tests.rpc_serving import failure
from tests.tiny_model import SPEC

FRAMES = bytes(5 * SPEC.size)


@contextmanager
def served(index, bundle, *options: object) -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    """The line that a server announces itself with, and its process."""
    arguments = command("serve", "--index", index.root, "--bundle", bundle.directory, "--port", 0, "--batch", 8,
                        "--grpc-port", 0, *options)  # fmt: skip
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield json.loads(line), process
        finally:
            process.terminate()
            process.communicate(timeout=TIMEOUT_S)


def test_both_ports_answer_from_one_library_and_one_end_is_the_end_of_both(index, tiny_bundle):
    with served(index, tiny_bundle) as (told, process), grpc.insecure_channel(told["grpc"]) as channel:
        stub = SegmentSearchStub(channel)
        upload = pb.ScoreRequest(video="mine", frames=FRAMES, index=True)
        assert stub.Score(upload, timeout=TIMEOUT_S).stored.sequence == 1
        assert httpx.get(f"{told['url']}/videos/mine", params={"tag": "Rain"}).json()["sequence"] == 1
        counted = httpx.get(f"{told['url']}/metrics").text.splitlines()
        assert 'segsearch_grpc_requests_total{code="OK",method="Score"} 1.0' in counted
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


def test_an_upload_under_way_is_answered_after_sigterm_and_nothing_new_is_taken(index, tiny_bundle):
    sent, goes_on = threading.Event(), threading.Event()

    def halves():
        yield pb.ScoreRequest(frames=FRAMES)
        sent.set()
        goes_on.wait(TIMEOUT_S)
        yield pb.ScoreRequest(frames=FRAMES)

    with served(index, tiny_bundle) as (told, process), grpc.insecure_channel(told["grpc"]) as channel:
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        under_way = SegmentSearchStub(channel).ScoreStream.future(halves(), timeout=TIMEOUT_S)
        assert sent.wait(TIMEOUT_S)
        process.send_signal(signal.SIGTERM)
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        deadline = time.monotonic() + TIMEOUT_S
        while takes_more(told["grpc"]):
            assert time.monotonic() < deadline
        goes_on.set()
        assert under_way.result(TIMEOUT_S).frames == 10
        assert process.wait(TIMEOUT_S) == 0


def takes_more(address: str) -> bool:
    with grpc.insecure_channel(address) as late:
        call = SegmentSearchStub(late).ListTags.future(pb.ListTagsRequest(), timeout=TIMEOUT_S)
        # gRPC itself cancels what comes in the very moment that it stops listening.
        assert call.code() in (StatusCode.OK, StatusCode.UNAVAILABLE, StatusCode.CANCELLED)
        return call.code() is StatusCode.OK


def test_both_ports_spend_the_same_keys_patience(index, tiny_bundle, tmp_path):
    key, kept = make_key("anna", Scope.read)
    add_key(tmp_path / "keys", kept)
    options = ("--keys", tmp_path / "keys", "--rate-per-s", 0.001, "--rate-burst", 2)
    with served(index, tiny_bundle, *options) as (told, _), grpc.insecure_channel(told["grpc"]) as channel:
        rest = httpx.get(f"{told['url']}/tags", headers={"x-api-key": key})
        stub = SegmentSearchStub(channel)
        stub.ListTags(pb.ListTagsRequest(), metadata=[("x-api-key", key)], timeout=TIMEOUT_S)
        spent = failure(stub.ListTags, pb.ListTagsRequest(), metadata=[("x-api-key", key)])
        assert (rest.status_code, spent.code()) == (200, StatusCode.RESOURCE_EXHAUSTED)
        assert httpx.get(f"{told['url']}/tags", headers={"x-api-key": key}).status_code == 429


def test_mutual_tls_lets_clients_of_its_authority_in_alone(index, tiny_bundle, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    options = ("--tls-certificate", certificate, "--tls-key", key, "--tls-client-ca", authority.file)
    root = authority.file.read_bytes()
    with served(index, tiny_bundle, *options) as (told, _):
        chain, own = (file.read_bytes() for file in authority.issue("client"))
        for credentials, code in (
            (grpc.ssl_channel_credentials(root, own, chain), None),
            (grpc.ssl_channel_credentials(root), StatusCode.UNAVAILABLE),
        ):
            with grpc.secure_channel(told["grpc"], credentials) as channel:
                search = SegmentSearchStub(channel).Search
                if code is None:
                    assert search(pb.SearchRequest(tag="Rain"), timeout=TIMEOUT_S).segments
                else:
                    assert failure(search, pb.SearchRequest(tag="Rain")).code() is code
        with grpc.insecure_channel(told["grpc"]) as channel:
            assert failure(SegmentSearchStub(channel).ListTags, pb.ListTagsRequest()).code() is StatusCode.UNAVAILABLE


def test_the_python_that_the_page_shows_runs(index, tiny_bundle, capsys):
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "docs/service.md").read_text(), re.DOTALL)
    (code,) = [block for block in shown if "SegmentSearchStub" in block]
    with served(index, tiny_bundle) as (told, _):
        exec(code.replace("127.0.0.1:50051", told["grpc"]), {})
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("port", ["taken", 65_536])
def test_a_port_that_cannot_be_had_is_named(index, tiny_bundle, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1] if port == "taken" else port
        places = ("--index", index.root, "--bundle", tiny_bundle.directory)
        arguments = command("serve", *places, "--port", 0, "--batch", 8, "--grpc-port", port)
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "grpc_port" in done.stderr
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr
