"""The clients against a real server: every call, sync and async, over the real application on a socket."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from segsearch.client import Client, Upload, uploads_in
from segsearch.client.uploads import upload_of
from segsearch.core.errors import (
    Forbidden,
    InputTooLarge,
    InvalidInput,
    NotIndexing,
    RateLimited,
    ServiceRefused,
    Unauthorised,
    UnknownGeneration,
    UnknownTag,
    UnknownVideo,
)
from segsearch.core.score_codes import PROBABILITIES
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from segsearch.service.settings import Settings
from tests.asking import ask_async, ask_sync, both, facts
from tests.library_fixtures import make_videos, serving, write_shards
from tests.tiny_model import SPEC

FRAMES = make_videos(1, seed=9)[0].frames
READING = {
    "search": ("Rain and not Dog bark", 7),
    "moments": ("Rain", 50),
    "score": (FRAMES,),
    "tags": ("dog",),
    "video": ("v001", ["Rain", "Cat"]),
    "generations": (),
    "compare": (1, 1, 5),
    "ready": (),
}


@pytest.fixture(scope="module")
def reading_url(served_library):
    """A server that only searches; frames up to 200."""
    with serving(served_library, Settings(port=0, frame_limit=200)) as http:
        yield str(http.base_url)


@pytest.fixture
def live_url(scorer, index):
    """A server that stores."""
    space = scorer.bundle.manifest.features.space
    with LiveStore.open(index.root / LIVE, space) as store, serving(SegmentLibrary(scorer, index, store)) as http:
        yield str(http.base_url)


# Answers


@pytest.mark.parametrize("method", READING)
def test_sync_and_async_give_the_same(reading_url, method):
    one, other = (ask(reading_url, method, *READING[method]) for ask in (ask_sync, ask_async))
    assert facts(one) == facts(other)


@both
def test_a_search_is_what_the_library_finds(ask, reading_url, served_library):
    found = ask(reading_url, "search", "dog BARK", 40, per_video=2)
    page = served_library.search("Dog bark", 40, per_video=2)
    assert (len(found), found.video_ids.tolist(), found.starts.tolist()) == (40, page.video_ids, page.starts.tolist())
    assert np.array_equal(found.scores, PROBABILITIES[page.codes])
    assert (found.scores.dtype, found.complete, found.sequence) == (np.float32, page.complete, page.sequence)
    assert [tag.name for tag in found.tags] == ["Dog bark"]
    assert (found.generation.number, found.bundle.digest) == (1, served_library.scorer.bundle.digest)


@both
def test_a_search_with_a_least_score_gives_no_less(ask, reading_url):
    middle = float(ask(reading_url, "search", "Rain", 21).scores[20])
    found = ask(reading_url, "search", "Rain", 1000, min_score=middle)
    assert len(found) >= 21
    assert found.scores.min() >= middle
    assert len(ask(reading_url, "search", "Rain", 10, min_score=1.0)) == 0


@both
def test_moments_are_what_the_library_finds(ask, reading_url, served_library):
    found, page = ask(reading_url, "moments", "Rain", 60), served_library.moments("Rain", 60)
    assert found.video_ids.tolist() == page.video_ids
    for ours, theirs in ((found.starts, page.starts), (found.ends, page.ends), (found.peaks, page.peaks)):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(found.scores, PROBABILITIES[page.codes])


@both
def test_a_strip_is_what_the_library_finds(ask, reading_url, served_library):
    found, strip = ask(reading_url, "video", "v001", ["Rain", "Cat"]), served_library.strip("v001", ["Rain", "Cat"])
    assert np.array_equal(found.starts, strip.starts)
    assert np.array_equal(found.scores, np.where(strip.known, PROBABILITIES[strip.codes], np.nan), equal_nan=True)
    assert [tag.name for tag in found.tags] == ["Rain", "Cat"]


def test_a_score_that_is_not_kept_is_not_a_number(scorer, shards, tmp_path):
    reindex(scorer, shards, IndexDirectory(tmp_path / "index"), keep=3)
    library = SegmentLibrary(scorer, IndexDirectory(tmp_path / "index"))
    with serving(library) as http:
        scores = ask_sync(str(http.base_url), "video", "v001", ["Rain", "Cat"]).scores
    assert np.isnan(scores).any()
    assert np.array_equal(np.isnan(scores), ~library.strip("v001", ["Rain", "Cat"]).known)


@both
def test_tags_and_generations_and_what_is_served(ask, reading_url, served_library):
    tags = ask(reading_url, "tags", "dog")
    assert [(count.tag.name, count.segments > 0) for count in tags.tags] == [("Dog bark", True), ("Dog whistle", True)]
    assert dataclasses.astuple(ask(reading_url, "generations")) == (1, (1,))
    ready = ask(reading_url, "ready")
    assert (ready.generation.number, ready.streams, ready.provider) == (1, str(SPEC), served_library.scorer.provider)


# Scoring

PLACES = ["array", "columns", "npy", "npz", "shard", "video", "upload"]


def source_of(kind: str, folder: Path) -> tuple[object, dict[str, str]]:
    """One video in the form of its name, and what names it where the form does not."""
    first, video = make_videos(2, seed=9)
    if kind in ("npy", "npz"):
        np.save(folder / "frames.npy", video.frames)
        np.savez(folder / "frames.npz", frames=video.frames)
        return folder / f"frames.{kind}", {"video_id": video.id}
    if kind == "shard":
        return write_shards(folder, [first, video], 1)[0], {"video_id": video.id}
    forms = {
        "array": (video.frames, {"video_id": video.id}),
        "columns": (np.asfortranarray(video.frames), {"video_id": video.id}),
        "video": (video, {}),
        "upload": (upload_of(video), {}),
    }
    return forms[kind]


@both
@pytest.mark.parametrize("kind", PLACES)
def test_a_video_is_scored_alike_in_every_form(ask, reading_url, served_library, scorer, tmp_path, kind):
    source, named = source_of(kind, tmp_path)
    found = ask(reading_url, "score", source, top=3, **named)
    frames = make_videos(2, seed=9)[1].frames
    wanted = served_library.score(frames, 3)
    names = [entry.name for entry in scorer.bundle.vocabulary.entries]
    assert (found.video_id, found.frame_count, found.stored) == ("v001", len(frames), None)
    assert np.array_equal(found.starts, wanted.starts)
    assert found.tags.tolist() == [[names[ordinal] for ordinal in row] for row in wanted.classes]
    assert np.array_equal(found.label_indices, 10 * wanted.classes + 3)
    assert np.array_equal(found.scores, wanted.probabilities)


@both
def test_many_videos_come_back_in_their_order(ask, reading_url, shards, videos):
    uploads = [upload for shard in shards for upload in uploads_in(shard)]
    found = ask(reading_url, "score_many", uploads, concurrency=3, top=1)
    assert [(one.video_id, one.frame_count) for one in found] == [(video.id, len(video.frames)) for video in videos]


def hopeless() -> list[object]:
    """Two good videos with a long one and one of the wrong width between them."""
    good, other = make_videos(2)
    bad = {"long": (201, SPEC.size), "wide": (3, 5)}
    return [good, *(upload_of(np.zeros(shape, np.uint8), name) for name, shape in bad.items()), other]


@both
def test_videos_that_are_refused_are_noted_and_passed_over(ask, reading_url):
    failures: dict[str, InvalidInput] = {}
    found = ask(reading_url, "score_many", hopeless(), failures=failures)
    assert [one.video_id for one in found] == ["v000", "v001"]
    assert {name: type(error) for name, error in failures.items()} == {"long": InputTooLarge, "wide": InvalidInput}


@both
@pytest.mark.parametrize("concurrency", [1, 2, 9])
def test_a_video_that_is_refused_ends_many_where_that_is_not_noted(ask, reading_url, concurrency):
    with pytest.raises(InputTooLarge, match="at most 200"):
        ask(reading_url, "score_many", hopeless(), concurrency=concurrency)


@both
def test_a_source_that_breaks_ends_many(ask, reading_url):
    def broken():
        yield make_videos(1)[0]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        ask(reading_url, "score_many", broken(), concurrency=1)


def test_whoever_takes_only_the_first_result_has_only_few_sent(reading_url):
    drawn = []

    def endless():
        while True:
            drawn.append(make_videos(1)[0])
            yield drawn[-1]

    with Client(reading_url) as client:
        results = client.score_many(endless(), concurrency=3)
        assert next(results).video_id == "v000"
        results.close()
    assert len(drawn) == 3


# Storing


@both
def test_an_upload_is_found_until_it_is_deleted(ask, live_url):
    stored = ask(live_url, "score", FRAMES, video_id="mine", index=True).stored
    again = ask(live_url, "score", FRAMES, video_id="mine", index=True).stored
    assert (dataclasses.astuple(stored), dataclasses.astuple(again)) == ((1, False), (1, True))
    assert "mine" in ask(live_url, "search", "Rain", 1000).video_ids
    assert dataclasses.astuple(ask(live_url, "delete", "mine")) == (2, False)
    assert "mine" not in ask(live_url, "search", "Rain", 1000).video_ids
    with pytest.raises(UnknownVideo) as gone:
        ask(live_url, "delete", "mine")
    assert gone.value.video_id == "mine"


@both
@pytest.mark.parametrize("video_id", ["..", ".", "a/b?c#d%41", "a/../../b", "é:5"])
def test_a_video_may_be_called_anything_that_ids_allow(ask, live_url, video_id):
    assert ask(live_url, "score", FRAMES, video_id=video_id, index=True).video_id == video_id
    assert ask(live_url, "video", video_id, ["Rain"]).video_id == video_id
    ask(live_url, "delete", video_id)
    with pytest.raises(UnknownVideo):
        ask(live_url, "video", video_id, ["Rain"])


@both
def test_a_generation_is_activated(ask, live_url):
    assert ask(live_url, "activate", 1).number == 1
    with pytest.raises(UnknownGeneration):
        ask(live_url, "activate", 99)


# Refusals


@both
def test_an_unknown_tag_comes_with_the_nearest(ask, reading_url):
    with pytest.raises(UnknownTag, match="no tag 'dgo bark'") as refused:
        ask(reading_url, "search", "dgo bark")
    assert (refused.value.tag, refused.value.nearest[0]) == ("dgo bark", "Dog bark")
    cause = refused.value.__cause__
    assert isinstance(cause, ServiceRefused)
    assert (cause.status, cause.code, len(cause.request_id or "")) == (404, "unknown-tag", 16)


@both
@pytest.mark.parametrize(
    ("method", "arguments", "options", "field", "found"),
    [
        ("search", ("Rain", 0), {}, "query.k", "'0'"),
        ("search", ("Rain",), {"min_score": 2.0}, "query.min_score", "'2.0'"),
        ("search", ("Rain and",), {}, "tag", ""),
        ("score", (FRAMES,), {"video_id": "a b"}, "query.video_id", "'a b'"),
        ("score", (np.zeros((3, 5), np.uint8),), {}, "body", "array of shape (3, 5)"),
    ],
)
def test_what_cannot_be_used_is_named(ask, reading_url, method, arguments, options, field, found):
    with pytest.raises(InvalidInput) as refused:
        ask(reading_url, method, *arguments, **options)
    assert refused.value.field == field
    assert refused.value.found.startswith(found)
    assert refused.value.wanted


@both
def test_frames_beyond_the_limit_are_too_large(ask, reading_url):
    with pytest.raises(InputTooLarge, match="201 frames"):
        ask(reading_url, "score", np.zeros((201, SPEC.size), np.uint8))


@both
def test_a_server_that_only_searches_says_so(ask, reading_url):
    with pytest.raises(NotIndexing, match="only searches"):
        ask(reading_url, "delete", "v001")


@both
def test_a_path_that_is_no_service_is_refused_with_its_code(ask, reading_url):
    with pytest.raises(ServiceRefused) as refused:
        ask(f"{reading_url}/elsewhere", "ready")
    assert (refused.value.status, refused.value.code) == (404, "not-found")


@pytest.fixture
def keys(tmp_path):
    """A file of keys with one that reads, and that key."""
    key, kept = make_key("anna", Scope.read)
    add_key(tmp_path / "keys", kept)
    return tmp_path / "keys", key


@both
def test_a_key_opens_what_its_scope_allows(ask, served_library, keys):
    file, key = keys
    with serving(served_library, Settings(port=0, keys=file)) as http:
        url = str(http.base_url)
        with pytest.raises(Unauthorised):
            ask(url, "tags")
        assert ask(url, "tags", client={"key": key}).generation == 1
        with pytest.raises(Forbidden) as refused:
            ask(url, "score", np.zeros((4000, SPEC.size), np.uint8), client={"key": key})
        assert (refused.value.found, refused.value.wanted) == ("read", "write")


@both
def test_a_key_that_asks_too_often_waits_as_told(ask, served_library, keys):
    file, key = keys
    with serving(served_library, Settings(port=0, keys=file, rate_per_s=1.0, rate_burst=1)) as http:
        url = str(http.base_url)
        assert [ask(url, "tags", client={"key": key}).generation for _ in range(2)] == [1, 1]


@both
def test_a_key_that_would_have_to_wait_for_longer_than_the_call_may_take_is_told_so(ask, served_library, keys):
    file, key = keys
    with serving(served_library, Settings(port=0, keys=file, rate_per_s=0.001, rate_burst=1)) as http:
        url = str(http.base_url)
        ask(url, "tags", client={"key": key})
        with pytest.raises(RateLimited) as refused:
            ask(url, "tags", client={"key": key})
        assert refused.value.rate_per_s == 0.001
        assert 60 < refused.value.retry_after_s <= 1000


def test_an_upload_can_be_made_by_hand(reading_url):
    upload = Upload("application/json", 2, lambda: iter([b"{}"]), "x")
    with pytest.raises(InvalidInput) as refused:
        ask_sync(reading_url, "score", upload)
    assert refused.value.field == "body.frames"
