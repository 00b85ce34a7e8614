"""More connections than a process may have files open: whoever asks for something is served, who stays silent is let
go, and all goes on when they have left.
"""

import json
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from tests.hostile_bodies import npy_of
from tests.integration.test_micro_batching import value
from tests.integration.test_serving_commands import TIMEOUT_S, command
from tests.library_fixtures import make_videos

FILES = 256
CROWD = 1_000
SILENT_S = 3.0  # that the crowd is there, while others ask


def few_files() -> None:
    """In a process that starts: so many files and no more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


@pytest.fixture
def served(index, tiny_bundle) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    arguments = command("serve", "--index", index.root, "--bundle", tiny_bundle.directory, "--port", 0)
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=few_files
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"], process
        finally:
            process.terminate()
            told = process.communicate(timeout=TIMEOUT_S)[1]
    assert "Traceback" not in told
    assert process.returncode == 0


@contextmanager
def crowd(url: httpx.URL) -> Iterator[None]:
    """Connections that say nothing, opened again when they are closed, as fast as the server lets them."""
    over = threading.Event()

    def stay(count: int) -> None:
        while not over.is_set():
            with ExitStack() as stack:
                for _ in range(count):
                    with_one(stack)
                over.wait(0.2)

    def with_one(stack: ExitStack) -> None:
        try:
            stack.enter_context(socket.create_connection((url.host, url.port or 0), timeout=1))
        except OSError:
            over.wait(0.01)

    threads = [threading.Thread(target=stay, args=(CROWD // 4,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_silent_crowd_keeps_nobody_from_being_served(served):
    url, process = served
    frames = make_videos(1, seed=3)[0].frames
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as before, crowd(before.base_url):
        ends_s, asked, longest_s = time.monotonic() + SILENT_S, 0, 0.0
        while time.monotonic() < ends_s or asked < 10:
            began_s = time.monotonic()
            assert httpx.get(f"{url}/livez", timeout=TIMEOUT_S).status_code == 200
            found = httpx.get(f"{url}/search", params={"tag": "Rain"}, timeout=TIMEOUT_S)
            stored = httpx.post(
                f"{url}/score", params={"video_id": f"v{asked}", "index": True}, content=npy_of(frames),
                headers={"content-type": "application/x-npy"}, timeout=TIMEOUT_S,
            )  # fmt: skip
            assert (found.status_code, stored.status_code) == (200, 200)
            asked, longest_s = asked + 1, max(longest_s, time.monotonic() - began_s)
    assert process.poll() is None
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as after:
        assert after.get("/readyz").status_code == 200
        assert value(after, "segsearch_connections_ended_total", reason="crowded") > 0
    print(f"{asked} times asked, {longest_s:.1f} s at most")
