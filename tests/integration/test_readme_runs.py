"""README's commands from an exported bundle on, run as they stand there but for the data's place and the port."""

import argparse
import json
import subprocess
import sys

import httpx
import numpy as np
import pytest

from segsearch.core.features import YOUTUBE8M
from tests.documents import shell_lines
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_model import write_tiny_bundle

README = "README.md"
DATA = "/data/3/frame"  # where README's reader keeps the rated and the test shards
SERVER = "localhost:8000"  # where README's server listens
TIMEOUT_S = 60


def segsearch(subcommand: str) -> list[str]:
    """README's line for one subcommand."""
    (words,) = [words for words in shell_lines(README) if words[:2] == ["segsearch", subcommand]]
    return words[1:]


CURL_LINES = [words[1:] for words in shell_lines(README) if words[0] == "curl"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where README's reader stands: `bundles/dbof` of README's streams, and the data, in a place of ours."""
    folder = tmp_path_factory.mktemp("reader")
    write_tiny_bundle(folder / "bundles", names=("Speech", "Acoustic guitar", "Guitar"), spec=YOUTUBE8M)
    (folder / "bundles/tiny").rename(folder / "bundles/dbof")
    for number, file in enumerate(write_shards(folder / "data", make_videos(6, spec=YOUTUBE8M), spec=YOUTUBE8M)):
        file.rename(folder / f"data/test{number:04d}.tfrecord")
    np.save(folder / "frames.npy", np.zeros((12, YOUTUBE8M.size), np.uint8))
    return folder


def command(home, words, *more):
    program = [sys.executable, "-c", "from segsearch.core.cli import main; main()"]
    return [*program, *(word.replace(DATA, str(home / "data")) for word in words), *more]


def run(home, subcommand):
    words = command(home, segsearch(subcommand))
    done = subprocess.run(words, cwd=home, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def reindexed(home):
    """What README's reindex says; its index lies in `home` afterwards."""
    return run(home, "reindex")


@pytest.fixture(scope="module")
def url(home, reindexed):
    """README's server, on a free port."""
    assert (home / reindexed["index"]).is_dir()
    words = command(home, segsearch("serve"), "--port", "0")
    with subprocess.Popen(words, cwd=home, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()
            server.wait(TIMEOUT_S)


def test_readmes_reindex_publishes_every_video(reindexed):
    assert (reindexed["generation"], reindexed["videos"], reindexed["classes"]) == (1, 6, 3)


@pytest.mark.usefixtures("reindexed")
def test_readmes_submit_writes_its_csv(home):
    assert run(home, "submit")["classes"] == 3
    assert (home / "submission.csv").read_text().startswith("Class,Segments\n")


def test_readme_shows_a_request_to_each_route_that_people_ask():
    asked = [next(word for word in words if word.startswith(SERVER)) for words in CURL_LINES]
    assert {url.removeprefix(SERVER).split("?")[0] for url in asked} == {"/search", "/tags", "/score", "/videos/mine"}


@pytest.mark.parametrize("words", CURL_LINES, ids=lambda words: words[-1][:30])
def test_readmes_requests_are_answered(home, url, words):
    answer = curl(words, url, home)
    assert answer.status_code == 200, answer.text
    assert any(answer.json()[found] for found in ("segments", "tags", "sequence") if found in answer.json())


def curl(words, url, home):
    """The request that curl would make of these words; an option that this reading lacks ends the test."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("url")
    parser.add_argument("-X", dest="method", default="GET")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("--data-binary", dest="body", default="")
    asked = parser.parse_args(words)
    assert asked.url.startswith(SERVER)
    body = (home / asked.body.removeprefix("@")).read_bytes() if asked.body else None
    headers = dict(header.split(": ", 1) for header in asked.headers)
    return httpx.request(asked.method, asked.url.replace(SERVER, url, 1), headers=headers, content=body)


def test_what_follows_an_export_is_all_here():
    told = [words[1] for words in shell_lines(README) if words[0] == "segsearch"]
    assert told[told.index("export") + 1 :] == ["reindex", "submit", "serve"]
