"""Requests that nobody would write, in great number, to a real server: no 5xx, and no answer tells of the inside.

The seed is in each failure's message.
"""

import random
import re
from collections.abc import Iterator

import httpx
import pytest

from segsearch.service.settings import Settings
from tests.conftest import ROOT
from tests.hostile_bodies import HOSTILE_BODIES, RECORD, WHOLE_NPY, WHOLE_NPZ, WHOLE_TFRECORD, json_of
from tests.library_fixtures import serving

INSIDE = re.compile(rf'Traceback|File "|line \d+, in|site-packages|{ROOT}|/tmp/pytest|0x[0-9a-f]{{9,}}')
PATHS = (
    "/search", "/score", "/similar", "/tags", "/livez", "/readyz", "/metrics", "/openapi.json", "/generations",
    "/generations/compare", "/generations/1:activate", "/models", "/models:load", "/reindex", "/jobs/x",
    "/problems/unknown-tag", "/", "/v2", "/v2/models/tiny", "/v2/models/tiny/infer", "/search/x", "/%00",
    "/%2e%2e/%2e%2e/etc/passwd",
)  # fmt: skip
NAMES = ("tag", "k", "a", "b", "top", "prefix", "limit", "video_id", "index", "page_token", "tag[]", "", "é", "\x00")
VALUES = (
    "Rain", "1", "0", "-1", "1e9", "99999999999999999999", "NaN", "true", "", "a b", "\x00", "\U0001f600",
    "%s%n", "';--", "<script>", "../..", "é" * 300, "x" * 5_000, "Rain and", "not", "((", "Rain or Cat",
)  # fmt: skip
KINDS = tuple(
    {hostile.content_type for hostile in HOSTILE_BODIES.values() if len(hostile.content_type) < 100}
    | {"", "text/html", "application/json; charset=utf-7", "*/*"}
)
BODIES = (WHOLE_NPY, WHOLE_NPZ, WHOLE_TFRECORD, RECORD, json_of([[0] * 8], [[0] * 4]), b"", b"{}", b"\x00" * 40)


@pytest.fixture(scope="module")
def client(served_library) -> Iterator[httpx.Client]:
    with serving(served_library, Settings(port=0, body_limit_bytes=100_000, frame_limit=200)) as opened:
        yield opened


def mutated(body: bytes, chance: random.Random) -> bytes:
    """A body with some bytes changed, cut, or twice."""
    changed = bytearray(body)
    for _ in range(chance.choice([0, 1, 1, 2, 8])):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed[: chance.choice([len(changed), len(changed), chance.randrange(len(changed) + 1)])])


def arbitrary(client: httpx.Client, chance: random.Random) -> httpx.Request:
    """One request of any method, path, query, headers and body."""
    method = chance.choice(["GET", "POST", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "QQ"])
    path = chance.choice(PATHS + ("/score",) * 10)
    query = [(chance.choice(NAMES), chance.choice(VALUES)) for _ in range(chance.choice([0, 0, 1, 2, 4]))]
    headers = {
        "content-type": chance.choice(KINDS),
        "content-encoding": chance.choice(["identity"] * 6 + ["gzip", "zstd", "br"]),
    }
    headers["accept-encoding"] = chance.choice(["gzip", "zstd", "identity", "br;q=1,gzip;q=x", ",,;"])
    body = mutated(chance.choice(BODIES), chance)
    return client.build_request(method, path, params=query, headers=headers, content=body)


@pytest.mark.parametrize("seeds", [range(500), pytest.param(range(500, 12_500), marks=pytest.mark.slow)])
def test_no_request_is_too_odd(client, seeds):
    statuses = set()
    for seed in seeds:
        answer = client.send(arbitrary(client, random.Random(seed)))
        statuses.add(answer.status_code)
        assert answer.status_code < 500, (seed, answer.text)
        assert not INSIDE.search(answer.text), (seed, answer.text)
        if answer.status_code >= 400 and answer.request.method != "HEAD":
            assert answer.json()["type"].startswith("/problems/"), (seed, answer.text)
    assert {200, 404, 405, 413, 415, 422} - statuses <= {413}
