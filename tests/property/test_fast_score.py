"""The fast path to /score and the plain route are twins: whatever is asked, whoever asks, and whatever goes wrong."""

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segsearch.core.errors import QueueFull
from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.app import build_api
from segsearch.service.rest.exchange import Exchanges
from segsearch.service.rest.fast_score import FastScore
from segsearch.service.rest.metrics import Metrics
from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from segsearch.service.settings import Settings
from tests.asgi import Told, ask
from tests.fast_paths import both, changing_library
from tests.library_fixtures import make_videos

NPY = "application/x-npy"
PARAMETERS = {
    "top": ("1", "5", "1000", "1001", "0", "-1", "7.0", "7.5", "%207", "1_0", "", "x"),
    "video_id": ("up1", "", "%FF", "%00", "a%2Fb", "x" * 257),
    "index": ("true", "1", "no", "maybe", ""),
    "other": ("1",),
}
parameters = st.one_of([st.sampled_from([f"{name}={value}" for value in PARAMETERS[name]]) for name in PARAMETERS])
queries = st.lists(parameters, max_size=3).map("&".join)
KINDS = (NPY, "application/x-npy; v=1", "APPLICATION/X-NPY", "application/json", "text/plain", "")
heads = st.fixed_dictionaries(
    {"content-type": st.sampled_from(KINDS)},
    optional={
        "accept-encoding": st.sampled_from(("gzip", "zstd", "identity", "br")),
        "content-encoding": st.sampled_from(("gzip", "identity", "br")),
        "content-length": st.sampled_from(("own", "9" * 12)),
        "idempotency-key": st.sampled_from(("", "x" * 256)),
    },
)


def npy(frames: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, frames)
    return out.getvalue()


BODIES = (
    npy(make_videos(1, seed=1)[0].frames),
    npy(np.zeros((3, 2), np.uint8)),
    npy(np.zeros(0, np.uint8)),
    b"",
    b"{}",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory, scorer, shards) -> Iterator[SegmentLibrary]:
    with changing_library(tmp_path_factory.mktemp("twins"), scorer, shards) as opened:
        yield opened


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as opened:
        yield opened


@pytest.fixture(scope="module")
def twins(library) -> tuple:
    return both(library)


def upload(runner, app, query: str = "", head: dict[str, str] | None = None, body: bytes = BODIES[0]) -> Told:
    return ask(runner, app, "/score", query.encode(), head or {"content-type": NPY}, method="POST", body=body)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(queries, heads, st.sampled_from(BODIES))
def test_the_fast_path_answers_as_the_plain_route_does(twins, runner, query, head, body):
    fast, plain = twins
    if head.get("content-length") == "own":
        head["content-length"] = str(len(body))
    upload(runner, plain, query, head, body)  # what it stores is stored once: both then say that nothing changed
    assert upload(runner, fast, query, head, body) == upload(runner, plain, query, head, body)


def test_a_video_is_scored_and_stored_on_both_ways(twins, library, runner):
    for way, app in zip(("fast", "plain"), twins, strict=True):
        told = upload(runner, app, f"index=true&video_id={way}")
        assert told.status == 200
        stored = {"sequence": library.store.counters().sequence, "unchanged": False}
        assert json.loads(told.content)["stored"] == stored
        assert library.strip(way, ["Rain"]).video_id == way


def test_who_may_not_write_is_told_so_before_anything_else_and_each_request_counts_once(library, runner, tmp_path):
    keys = {}
    for scope in (Scope.read, Scope.write):
        keys[scope], kept = make_key(scope.name, scope)
        add_key(tmp_path / "keys", kept)
    for app in both(library, keys=tmp_path / "keys", rate_per_s=0.001, rate_burst=4):
        asked = [
            (None, ""), (keys[Scope.read], ""), ("none", "top=x"), (keys[Scope.write], ""),
            (keys[Scope.write], "top=x"), (keys[Scope.write], "top=1"), (keys[Scope.write], "other=1"),
            (keys[Scope.write], ""),
        ]  # fmt: skip
        heads = [{"content-type": NPY, **({"x-api-key": key} if key else {})} for key, _ in asked]
        told = [upload(runner, app, query, head) for (_, query), head in zip(asked, heads, strict=True)]
        assert [each.status for each in told] == [401, 403, 401, 200, 422, 200, 422, 429]


class Failing(SegmentLibrary):
    """One that goes wrong in a way of its own, and where it is told to."""

    error: Exception
    at_the_door: bool

    def check_room(self, _caller):
        if self.at_the_door:
            raise self.error

    def begin(self, *_, **__):
        if self.at_the_door:
            raise AssertionError("let in where there is no room")
        raise self.error


def failing_as(error: Exception, library: SegmentLibrary, *, at_the_door: bool) -> Failing:
    failing = Failing(library.scorer, library.index, library.store)
    failing.error, failing.at_the_door = error, at_the_door
    return failing


def test_who_may_not_write_does_not_hear_how_full_the_queue_is(library, runner, tmp_path):
    key, kept = make_key("reader", Scope.read)
    add_key(tmp_path / "keys", kept)
    full = failing_as(QueueFull(1, 2, 3), library, at_the_door=True)
    for app in both(full, keys=tmp_path / "keys"):
        heads = ({"content-type": NPY}, {"content-type": NPY, "x-api-key": key})
        assert [upload(runner, app, "", head).status for head in heads] == [401, 403]


async def framework(*_):
    """Where nothing may be asked of it."""
    raise NotImplementedError


@pytest.mark.parametrize("query", ["", "top=3", "index=true&video_id=by", "top=" + "%20" * 600 + "3"])
def test_an_upload_passes_by_the_framework(library, runner, query):
    api = build_api(library, Settings(port=0), Metrics(library))
    api.middleware_stack = framework
    route = next(route for route in api.routes if route.path == "/score")
    fast = Exchanges(FastScore(api, route=route), Metrics(library), log_requests=False)
    assert upload(runner, fast, query).status == 200
    handed_on = ("top=x", {"content-type": NPY}), ("top=1&top=2", {"content-type": NPY}), ("", {"idempotency-key": "a"})
    for query, head in handed_on:
        with pytest.raises(NotImplementedError):
            upload(runner, fast, query, head)


def without_raising(app):
    """Starlette raises a bug again once the plain route has answered it."""

    async def call(scope, receive, send):
        with suppress(ValueError, MemoryError):
            await app(scope, receive, send)

    return call


@pytest.mark.parametrize("at_the_door", [True, False])
@pytest.mark.parametrize("error", [QueueFull(1, 2, 3), ValueError("a bug"), MemoryError()])
def test_what_goes_wrong_is_said_alike(library, runner, error, at_the_door):
    failing = failing_as(error, library, at_the_door=at_the_door)
    told, wanted = (upload(runner, without_raising(app)) for app in both(failing))
    assert (told.status, told.headers.get("retry-after")) == (wanted.status, wanted.headers.get("retry-after"))
    documents = [{**json.loads(each.content), "incident": ""} for each in (told, wanted)]
    assert documents[0] == documents[1]
    assert told.status in (500, 503)


def test_requests_are_counted_by_the_route_on_both_ways(library, runner):
    for app in both(library):
        assert [upload(runner, app, query).status for query in ("", "top=1", "top=x")] == [200, 200, 422]
        lines = ask(runner, app, "/metrics").content.decode().splitlines()
        counted = [line for line in lines if "_total{" in line and "/score" in line]
        assert sorted(line.split('status="')[1] for line in counted) == ['200"} 2.0', '422"} 1.0']
