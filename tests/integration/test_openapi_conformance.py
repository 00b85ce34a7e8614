"""A server process held to its own OpenAPI document by Schemathesis: no server error, and nothing that is not in there.

What it makes up is right or wrong by the document, with things of the library among it (`tests/schemathesis.toml`).
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
import schemathesis

from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from tests.conftest import ROOT
from tests.integration.test_serving_commands import command
from tests.rest_bodies import npy_of
from tests.tiny_model import SPEC

TIMEOUT_S = 1_800
# What is right by the document may still be refused: a page token that nobody gave, a pattern that no file matches.
LEFT_OUT = "positive_data_acceptance"
EXTENTS = {
    "short": ("--phases", "coverage,fuzzing", "--max-examples", 5),
    "long": ("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", 100),
}


FRAMES = np.zeros((7, SPEC.size), np.uint8)
NPY = {"content": npy_of(FRAMES), "headers": {"content-type": "application/x-npy"}}
STREAMS = {"video_id": "mine", "frames": {"rgb": FRAMES[:, :8].tolist(), "audio": FRAMES[:, 8:].tolist()}}
TENSORS = {"inputs": [{"name": "frames", "datatype": "UINT8", "shape": FRAMES.shape, "data": FRAMES.tolist()}]}
SEGMENT = {"video_id": "v001", "start_s": 0}
# Of each operation a request that is answered well, in turn: method, path of the document, path, what is sent.
GOOD: list[tuple[str, str, str, dict[str, Any]]] = [
    ("GET", "/search", "/search?tag=Rain&k=3", {}),
    ("GET", "/search", "/search?tag=Rain&merge=true", {}),
    ("GET", "/search", "/search?tag=Rain", {"headers": {"accept": "application/x-ndjson"}}),
    ("GET", "/search", "/search?tag=Rain", {"headers": {"accept": "application/vnd.apache.arrow.stream"}}),
    ("POST", "/score", "/score?top=3", NPY),
    ("POST", "/score", "/score?index=true", {"json": STREAMS}),
    ("POST", "/similar", "/similar?k=3", NPY),
    ("POST", "/similar", "/similar", {"json": SEGMENT}),
    ("GET", "/tags", "/tags?prefix=do", {}),
    ("GET", "/videos/{video_id}", "/videos/mine?tag=Rain&tag=Cat", {}),
    ("DELETE", "/videos/{video_id}", "/videos/mine", {}),
    ("GET", "/generations", "/generations", {}),
    ("GET", "/generations/compare", "/generations/compare?a=1&b=2", {}),
    ("POST", "/generations/{number}:activate", "/generations/2:activate", {}),
    ("GET", "/models", "/models", {}),
    ("POST", "/models:load", "/models:load", {"json": {"path": "tiny/1"}}),
    ("POST", "/reindex", "/reindex", {"json": {"shards": ["*.tfrecord"]}}),
    ("GET", "/jobs/{job_id}", "/jobs/{job}", {}),
    ("POST", "/jobs/{job_id}:cancel", "/jobs/{job}:cancel", {}),
    ("GET", "/v2", "/v2", {}),
    ("GET", "/v2/health/live", "/v2/health/live", {}),
    ("GET", "/v2/health/ready", "/v2/health/ready", {}),
    ("GET", "/v2/models/{name}", "/v2/models/tiny", {}),
    ("GET", "/v2/models/{name}/versions/{version}", "/v2/models/tiny/versions/1", {}),
    ("GET", "/v2/models/{name}/ready", "/v2/models/tiny/ready", {}),
    ("GET", "/v2/models/{name}/versions/{version}/ready", "/v2/models/tiny/versions/1/ready", {}),
    ("POST", "/v2/models/{name}/infer", "/v2/models/tiny/infer", {"json": TENSORS}),
    ("POST", "/v2/models/{name}/versions/{version}/infer", "/v2/models/tiny/versions/1/infer", {"json": TENSORS}),
    ("GET", "/metrics", "/metrics", {}),
    ("GET", "/livez", "/livez", {}),
    ("GET", "/readyz", "/readyz", {}),
    ("GET", "/problems/{code}", "/problems/unknown-tag", {}),
]


class Served(NamedTuple):
    """A server, the key of its admin, and what it logs."""

    url: str
    key: str
    log: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory, scorer, tiny_bundle, shards) -> Iterator[Served]:
    """A server with keys and all folders, of a library with two generations that takes uploads."""
    folder = tmp_path_factory.mktemp("conforming")
    index = IndexDirectory(folder / "index")
    for files in (shards[:1], shards):
        reindex(scorer, files, index, keep=1000, embeddings=True)
    key, kept = make_key("admin", Scope.admin)
    add_key(folder / "keys", kept)
    line = command(
        "serve", "--index", index.root, "--bundle", tiny_bundle.directory, "--port", 0, "--keys", folder / "keys",
        "--bundles", tiny_bundle.directory.parents[1], "--data", shards[0].parent, "--threads", 1,
    )  # fmt: skip
    with (folder / "log").open("w") as log, subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log) as process:
        try:
            assert process.stdout is not None
            yield Served(json.loads(process.stdout.readline())["url"], key, folder / "log")
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def client(served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, headers={"authorization": f"Bearer {served.key}"}, timeout=30) as opened:
        yield opened


def test_what_is_answered_well_is_so_as_the_document_says(client):
    document = client.get("/openapi.json").json()
    operations = schemathesis.openapi.from_dict(document)
    job = ""
    for method, template, path, sent in GOOD:
        answer = client.request(method, path.replace("{job}", job), **sent)
        assert answer.is_success, (path, answer.text)
        told = document["paths"][template][method.lower()]["responses"][str(answer.status_code)]
        assert answer.headers["content-type"].partition(";")[0] in told["content"], path
        operations[template][method].validate_response(answer)
        job = answer.json()["job"] if path == "/reindex" else job


def test_every_operation_of_the_document_is_among_them(client):
    paths = client.get("/openapi.json").json()["paths"]
    described = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert described == {(method, template) for method, template, *_ in GOOD}


@pytest.mark.parametrize("extent", ["short", pytest.param("long", marks=pytest.mark.slow)])
def test_answers_are_as_the_document_says(served, tmp_path, extent):
    line = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", ROOT / "tests/schemathesis.toml",
        "run", f"{served.url}/openapi.json", "--header", f"Authorization: Bearer {served.key}", "--seed", 1,
        "--exclude-checks", LEFT_OUT, "--generation-with-security-parameters", "false",
        "--suppress-health-check", "all", "--request-timeout", 60,  # neither luck nor a busy machine decides
        "--generation-database", "none", "--no-color", *EXTENTS[extent],
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, line)), cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None, done.stdout
    assert int(generated[1]) > 300
    assert httpx.get(f"{served.url}/readyz").status_code == 200
    assert "request_failed" not in served.log.read_text()
