"""The fast path to /search and the plain route are twins: whatever is asked, and whatever changes in between."""

import asyncio
import gc
import gzip
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from weakref import ref

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.answer_cache import OVERHEAD_BYTES, AnswerCache
from segsearch.service.rest.search_answers import Answer
from segsearch.service.rpc.hot_answers import HotAnswers
from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from tests.asgi import Told, answered, ask
from tests.fast_paths import both, changing_library
from tests.library_fixtures import make_videos

TAGS = (
    "Rain", "rain", "Dog+bark", "Dog%20Bark", "13", "/m/002", "Rain+and+not+Cat", "Rain+or", "dog", "", "%FF", "%00",
    "x" * 1001, "((",
)  # fmt: skip
PARAMETERS = {
    "k": ("1", "7", "100", "1000", "1001", "100000", "0", "-1", "7.0", "7.5", "+7", "%207", "1_0", "%D9%A7", "", "x"),
    "min_score": ("0.5", "1e-3", "nan", "2", "0"),
    "per_video": ("1", "2", "0", ""),
    "merge": ("true", "1", "no", "maybe"),
    "page_token": ("", "abc", "%C3%A9" * 9),
    "other": ("1",),
}
HEADERS = {
    "accept": ("*/*", "application/json", "text/html, */*;q=0.1", "application/x-ndjson", "text/csv", "application/*"),
    "accept-encoding": ("gzip", "zstd", "identity", "gzip;q=0.5, zstd;q=0.1", "br"),
    "if-none-match": ("*", '"x"', 'W/"1-0-0", x', "own"),
}
parameters = st.one_of([st.sampled_from([f"{name}={value}" for value in PARAMETERS[name]]) for name in PARAMETERS])
queries = st.builds(
    lambda tag, others, order: "&".join([*others, f"tag={tag}"][:: 1 if order else -1]),
    st.sampled_from(TAGS) | st.just("Rain"), st.lists(parameters, max_size=3), st.booleans(),
)  # fmt: skip
headers = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in HEADERS.items()})


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
    return both(library, answer_cache_bytes=200_000)  # so little that answers leave it


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(queries, headers, st.integers(0, 19))
def test_the_fast_path_answers_as_the_plain_route_does(twins, library, runner, query, headers, change):
    fast, plain = twins
    if change < 2:  # now and then the library is another one
        library.add(f"up{change}", make_videos(1, seed=len(query) + change)[0].frames, 1)
    if headers.get("if-none-match") == "own":
        headers["if-none-match"] = ask(runner, plain, "/search", query.encode()).headers.get("etag", '"none"')
    wanted = ask(runner, plain, "/search", query.encode(), headers)
    assert ask(runner, fast, "/search", query.encode(), headers) == wanted  # built
    assert ask(runner, fast, "/search", query.encode(), headers) == wanted  # kept


def content(told: Told) -> bytes:
    coding = told.headers.get("content-encoding")
    return {None: bytes, "gzip": gzip.decompress, "zstd": zstd.decompress}[coding](told.content)


def test_each_coding_is_kept_for_itself(twins, runner):
    fast, _ = twins
    told = [
        ask(runner, fast, "/search", b"tag=Rain&k=90", {"accept-encoding": coding})
        for coding in ("identity", "gzip", "zstd", "gzip", "identity")
    ]
    assert [answer.headers.get("content-encoding") for answer in told] == [None, "gzip", "zstd", "gzip", None]
    assert len({content(answer) for answer in told}) == 1


def test_an_answer_that_is_kept_is_not_given_once_the_library_has_changed(twins, library, runner):
    fast, _ = twins
    before = ask(runner, fast, "/search", b"tag=Cat&k=500")
    known = {"if-none-match": before.headers["etag"]}
    assert ask(runner, fast, "/search", b"tag=Cat&k=500", known).status == 304
    library.add("newest", make_videos(1, seed=77)[0].frames, 1)
    after = ask(runner, fast, "/search", b"tag=Cat&k=500", known)
    told = [json.loads(answer.content)["sequence"] for answer in (before, after)]
    assert (after.status, told[1]) == (200, told[0] + 1)


def test_a_generation_that_is_published_answers_the_next_search(library, scorer, shards, runner):
    fast, _ = both(library)
    before = ask(runner, fast, "/search", b"tag=Cat")
    reindex(scorer, shards, library.index, keep=100, store=library.store)
    library.refresh()
    after = ask(runner, fast, "/search", b"tag=Cat", {"if-none-match": before.headers["etag"]})
    assert (after.status, b'"number":1' in before.content, b'"number":2' in after.content) == (200, True, True)


def test_a_request_is_counted_once_though_both_ways_look_at_its_key(library, runner, tmp_path):
    key, kept = make_key("anna", Scope.read)
    add_key(tmp_path / "keys", kept)
    for app in both(library, keys=tmp_path / "keys", rate_per_s=0.001, rate_burst=4):
        own = {"x-api-key": key}
        asked = [
            (b"tag=nothing", own), (b"tag=Rain", own), (b"tag=Rain&k=x", own), (b"tag=Rain", {}), (b"tag=Rain", own),
            (b"tag=Rain", own), (b"tag=nothing", own),
        ]  # fmt: skip
        statuses = [ask(runner, app, "/search", query, headers).status for query, headers in asked]
        assert statuses == [404, 200, 422, 401, 200, 429, 429]


class Watched(SegmentLibrary):
    """Says which thread each search ran on."""

    def search(self, *asked, **named):
        self.threads.append(threading.current_thread())
        return super().search(*asked, **named)


def test_the_event_loop_finds_what_is_short_and_other_threads_what_may_take_long(library, scorer, runner):
    watched = Watched(scorer, library.index, library.store)
    watched.threads = []
    fast, _ = both(watched)
    for query in (b"tag=Rain&k=50", b"tag=Rain&k=5000", b"tag=Rain+or+Cat", b"tag=Rain&per_video=1"):
        assert ask(runner, fast, "/search", query).status == 200
    assert [thread is threading.current_thread() for thread in watched.threads] == [True, False, False, False]


def test_a_search_that_comes_after_an_upload_finds_it_whoever_else_is_searching(library, runner):
    fast, _ = both(library)

    async def search() -> int:
        return json.loads((await answered(fast, "/search", b"tag=Rain&k=1")).content)["sequence"]

    async def search_on() -> None:
        while True:
            await asyncio.gather(search(), search())

    async def work() -> None:
        others = [asyncio.create_task(search_on()) for _ in range(3)]
        for number in range(20):
            frames = make_videos(1, seed=number)[0].frames
            _, stored = await asyncio.to_thread(library.add, f"late{number}", frames, 1)
            assert await asyncio.gather(search(), search()) == [stored.sequence] * 2
        for other in others:
            other.cancel()

    runner.run(work())


def answer_of(size: int) -> Answer:
    return Answer(200, (), bytes(size), "")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3000)), max_size=60))
def test_a_cache_keeps_to_its_room_and_lets_the_oldest_go(library, asked):
    view, room = library.view(), 20 * OVERHEAD_BYTES
    cache, model = AnswerCache(room), {}
    for number, size in asked:
        key = (b"%d" % number, None)
        found = cache.get(view, key)
        assert (found is not None) == (number in model)
        if number in model:
            model[number] = model.pop(number)
        else:
            cache.put(view, key, answer_of(size))
            if 16 * (size + OVERHEAD_BYTES + 1) <= room:
                model[number] = size
        while sum(kept + OVERHEAD_BYTES + 1 for kept in model.values()) > room:
            del model[next(iter(model))]


def test_a_cache_forgets_with_the_view(library):
    cache, view, asked = AnswerCache(1 << 20), library.view(), (b"tag=Rain", None)
    cache.get(view, asked)
    cache.put(view, asked, answer_of(1))
    assert cache.get(view, asked) is not None
    library.add("another", make_videos(1, seed=78)[0].frames, 1)
    assert cache.get(library.view(), asked) is None
    cache.put(view, asked, answer_of(1))  # of a view that is past
    assert cache.get(library.view(), asked) is None


@pytest.mark.parametrize("cache", [AnswerCache(1 << 20), HotAnswers()])
def test_a_view_whose_answers_are_kept_goes_when_nobody_else_holds_it(library, cache):
    view = replace(library.view())
    asked, answer = ((b"tag=Rain", None), answer_of(1)) if isinstance(cache, AnswerCache) else (b"asked", b"answer")
    cache.get(view, asked)
    cache.put(view, asked, answer)
    assert cache.get(view, asked) is answer
    gone = ref(view)
    del view
    gc.collect()
    assert gone() is None
    assert cache.get(library.view(), asked) is None


def test_a_server_that_keeps_no_answers_answers_alike(library, runner):
    fast, plain = both(library, answer_cache_bytes=0)
    for _ in range(2):
        assert ask(runner, fast, "/search", b"tag=Rain") == ask(runner, plain, "/search", b"tag=Rain")
