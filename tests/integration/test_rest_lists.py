"""Long lists over HTTP: the forms they come in, validators, and pages; a real server on a socket."""

import base64
import gzip
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pyarrow
import pytest
from backports import zstd

from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.page_tokens import KEY_FILE
from segsearch.service.rest import arrow_stream
from segsearch.service.rest.search_answers import ARROW, JSON, LINES
from segsearch.service.rest.search_text import PART_HITS, search_json, search_lines
from segsearch.service.settings import Settings
from tests.integration.test_rest_live import UPLOADS, upload
from tests.library_fixtures import make_videos, serving, write_shards
from tests.rest_bodies import problem

RAIN = {"tag": "Rain", "k": 1000}


def lines_of(answer: httpx.Response) -> list[dict[str, object]]:
    assert answer.headers["content-type"] == LINES
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


def told_in_json(client: httpx.Client, **query) -> tuple[dict[str, object], list[dict[str, object]]]:
    """The answer without its hits, and the hits."""
    answer = client.get("/search", params=query).json()
    return answer, answer.pop("moments" if query.get("merge") else "segments")


# Forms


@pytest.mark.parametrize("merge", [False, True])
def test_lines_are_the_json_answer_without_its_hits_and_then_each_hit(client, merge):
    query = {**RAIN, "merge": merge}
    head, hits = told_in_json(client, **query)
    assert lines_of(client.get("/search", params=query, headers={"accept": LINES})) == [head, *hits]


def test_a_list_of_nothing_is_a_head_alone(client):
    query = {**RAIN, "min_score": 1}
    head, hits = told_in_json(client, **query)
    assert (lines_of(client.get("/search", params=query, headers={"accept": LINES})), hits) == ([head], [])


@pytest.fixture(scope="module")
def many(tmp_path_factory, scorer) -> Iterator[httpx.Client]:
    """A server of more segments than are written at a time, some with ids that JSON has to escape."""
    folder = tmp_path_factory.mktemp("many")
    videos = make_videos(1300, seed=3)
    for number, name in ((5, 'a"b'), (9, "c\\d"), (700, "é\U0001f600")):
        videos[number] = replace(videos[number], id=name)
    index = IndexDirectory(folder / "index")
    reindex(scorer, write_shards(folder / "shards", videos), index, keep=100_000)
    library = SegmentLibrary(scorer, index)
    assert library.view().segment_count > PART_HITS
    with serving(library) as client:
        yield client


LONG = {"tag": "Cat", "k": 100_000}


def test_a_long_list_comes_as_lines_while_it_is_written(many):
    head, hits = told_in_json(many, **LONG)
    answer = many.get("/search", params=LONG, headers={"accept": LINES, "accept-encoding": "identity"})
    assert (answer.headers["transfer-encoding"], "content-length" in answer.headers) == ("chunked", False)
    assert lines_of(answer) == [head, *hits]
    assert {'a"b', "c\\d", "é\U0001f600"} <= {hit["video"] for hit in hits}


@pytest.mark.parametrize(
    ("coding", "inflate"),
    [
        ("gzip", gzip.decompress),
        ("zstd", zstd.decompress),
    ],
)
def test_lines_are_compressed_as_they_are_written(many, coding, inflate):
    plain = many.get("/search", params=LONG, headers={"accept": LINES, "accept-encoding": "identity"})
    with many.stream("GET", "/search", params=LONG, headers={"accept": LINES, "accept-encoding": coding}) as answer:
        raw = b"".join(answer.iter_raw())
    assert (answer.headers["content-encoding"], inflate(raw) == plain.content) == (coding, True)
    assert len(raw) < len(plain.content) / 3


@pytest.mark.parametrize("merge", [False, True])
def test_arrow_has_the_columns_of_the_json_answer(many, merge):
    query = {**LONG, "merge": merge}
    head, hits = told_in_json(many, **query)
    answer = many.get("/search", params=query, headers={"accept": ARROW})
    assert answer.headers["content-type"] == ARROW
    with pyarrow.ipc.open_stream(io.BytesIO(answer.content)) as reader:
        table = reader.read_all()
    assert json.loads(table.schema.metadata[arrow_stream.HEAD]) == head
    rows = table.to_pylist()
    for name in ("video", "start_s", "end_s"):
        assert [row[name] for row in rows] == [hit[name] for hit in hits]
    assert [row["score"] for row in rows] == pytest.approx([hit["score"] for hit in hits], rel=1e-6)
    if merge:
        assert [f"{row['video']}:{row['peak_s']}" for row in rows] == [hit["peak"] for hit in hits]


def test_where_pyarrow_is_missing_arrow_is_refused_with_what_to_install(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # Python's own way to say that there is none
    arrow_stream.is_installed.cache_clear()
    try:
        answer = client.get("/search", params=RAIN, headers={"accept": ARROW})
        assert "segsearch[arrow]" in problem(answer, 406, "not-acceptable")
        other = client.get("/search", params=RAIN, headers={"accept": f"{ARROW}, {LINES};q=0.5"})
        assert other.headers["content-type"] == LINES
    finally:
        arrow_stream.is_installed.cache_clear()


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        (f"{LINES}, {JSON}", JSON),
        (f"{LINES}, {JSON};q=0.9", LINES),
        (f"{LINES};q=0.5, */*;q=0.4", LINES),
        (f"*/*, {JSON};q=0", LINES),
        (f"{LINES} ; Q=1", LINES),
        ("", JSON),
    ],
)
def test_a_client_gets_the_form_it_likes_best(client, accept, form):
    answer = client.get("/search", params=RAIN, headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, form)


@pytest.mark.parametrize("accept", ["text/csv", "*/*;q=0", f"{JSON};q=much", "text/*", "json"])
def test_a_form_that_is_not_written_here_is_refused_with_those_that_are(client, accept):
    assert LINES in problem(client.get("/search", params=RAIN, headers={"accept": accept}), 406, "not-acceptable")


def test_a_problem_is_a_problem_document_whatever_form_was_asked_for(client):
    problem(client.get("/search", params={"tag": "dog"}, headers={"accept": LINES}), 404, "unknown-tag")


def test_lines_and_json_hold_the_same_texts(served_library):
    page = served_library.search("Rain", 1000)
    lines = b"".join(search_lines(page, "token")).splitlines()
    assert search_json(page, "token") == lines[0][:-1] + b',"segments":[' + b",".join(lines[1:]) + b"]}"


# Validators


@pytest.mark.parametrize("form", [JSON, LINES])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_who_has_the_answer_is_told_so_without_it(client, form, coding):
    sent = {"accept": form, "accept-encoding": coding}
    first = client.get("/search", params=RAIN, headers=sent)
    again = client.get("/search", params=RAIN, headers={**sent, "if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert {"content-type", "content-encoding", "content-length"} & set(again.headers) == set()
    for answer in (first, again):
        assert answer.headers["vary"] == "Accept, Accept-Encoding"
        assert answer.headers["cache-control"] == "private, no-cache"


def test_an_answer_to_anything_else_has_another_etag(client):
    queries = [RAIN, {**RAIN, "k": 999}, {**RAIN, "tag": "Cat"}, {**RAIN, "merge": True}, {**RAIN, "min_score": 0.1},
               {**RAIN, "per_video": 1}]  # fmt: skip
    etags = [client.get("/search", params=query).headers["etag"] for query in queries]
    etags.append(client.get("/search", params=RAIN, headers={"accept": LINES}).headers["etag"])
    assert len(set(etags)) == len(queries) + 1
    assert all(etag.startswith('W/"1-0-') for etag in etags)  # generation and last change


def test_one_of_several_etags_is_enough_and_a_wrong_one_is_none(client):
    etag = client.get("/search", params=RAIN).headers["etag"]
    for sent, status in (
        (f'"a", {etag}', 304), (etag.removeprefix("W/"), 304), ('"a"', 200), ("*", 200), (etag[:-2], 200),
    ):  # fmt: skip
        assert client.get("/search", params=RAIN, headers={"if-none-match": sent}).status_code == status


def test_a_refused_query_has_no_etag_that_could_hide_the_refusal(client):
    etag = client.get("/search", params=RAIN).headers["etag"]
    answer = client.get("/search", params={"tag": "dog"}, headers={"if-none-match": etag})
    problem(answer, 404, "unknown-tag")
    assert "etag" not in answer.headers


# Pages


@pytest.fixture
def served(live):
    with serving(live, Settings(port=0)) as opened:
        yield opened


def pages(client: httpx.Client, accept: str = JSON, **query) -> list[list[dict[str, object]]]:
    """The hits of each page."""
    found, token = [], None
    while True:
        asked = {**query, "page_token": token} if token else query
        answer = client.get("/search", params=asked, headers={"accept": accept})
        assert answer.status_code == 200, answer.text
        head, *hits = lines_of(answer) if accept == LINES else [answer.json(), *answer.json()["segments"]]
        found.append(hits)
        token = head["next_page_token"]
        if token is None:
            return found


@pytest.mark.parametrize("accept", [JSON, LINES])
def test_pages_put_together_are_the_long_list(client, accept):
    _, whole = told_in_json(client, **RAIN)
    found = pages(client, accept, tag="Rain", k=17)
    assert [hit for page in found for hit in page] == whole
    assert {len(page) for page in found[:-1]} == {17}


def test_pages_of_a_filtered_query_keep_to_its_filter(client):
    query = {"tag": "Rain or Cat", "per_video": 2, "min_score": 0.05}
    _, whole = told_in_json(client, k=1000, **query)
    assert [hit for page in pages(client, k=9, **query) for hit in page] == whole


def test_the_whole_list_has_no_next_page(client):
    assert told_in_json(client, **RAIN)[0]["next_page_token"] is None


def test_a_page_is_followed_by_the_same_whatever_is_uploaded_meanwhile(served):
    upload(served, "mine", UPLOADS[0].frames)
    _, whole = told_in_json(served, **RAIN)
    first = served.get("/search", params={"tag": "Rain", "k": 20}).json()
    upload(served, "later", UPLOADS[1].frames)
    served.delete("/videos/mine")
    rest = served.get("/search", params={**RAIN, "page_token": first["next_page_token"]}).json()
    assert (rest["sequence"], rest["generation"]["number"]) == (3, 1)
    gone = [hit for hit in whole[20:] if hit["video"] == "mine"]
    assert [*first["segments"], *rest["segments"]] == [hit for hit in whole if hit not in gone]


def first_token(client: httpx.Client) -> str:
    return str(client.get("/search", params={"tag": "Rain", "k": 5}).json()["next_page_token"])


def test_a_forged_or_cut_token_is_refused(client):
    token = first_token(client)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    of_another_generation = base64.urlsafe_b64encode(raw[:8] + bytes([raw[8] ^ 1]) + raw[9:]).decode()
    for wrong in (token[:-2], token[1:], token.swapcase(), of_another_generation, "x", "é"):
        problem(client.get("/search", params={"tag": "Rain", "page_token": wrong}), 400, "invalid-page-token")


def test_a_token_is_good_for_its_query_alone(client):
    token = first_token(client)
    for other in ({"tag": "Cat"}, {"tag": "Rain", "min_score": 0.1}, {"tag": "Rain", "per_video": 3}):
        problem(client.get("/search", params={**other, "page_token": token}), 400, "invalid-page-token")
    assert client.get("/search", params={"tag": "Rain", "k": 3, "page_token": token}).status_code == 200


def test_moments_have_no_pages(client):
    answer = client.get("/search", params={"tag": "Rain", "merge": True, "page_token": first_token(client)})
    assert "merge" in problem(answer, 422, "invalid-input")


def test_a_token_of_a_generation_that_no_longer_answers_is_gone(served, live, scorer, shards):
    token = first_token(served)
    reindex(scorer, shards, live.index, keep=1000, store=live.store)
    live.refresh()
    answer = served.get("/search", params={"tag": "Rain", "page_token": token})
    assert "generation 2" in problem(answer, 410, "page-token-expired")


def test_another_server_of_the_same_index_goes_on(live, scorer, index):
    other = SegmentLibrary(scorer, index, live.store)
    with serving(live) as one, serving(other) as two:
        first = one.get("/search", params={"tag": "Rain", "k": 30}).json()
        rest = two.get("/search", params={**RAIN, "page_token": first["next_page_token"]}).json()
        assert [*first["segments"], *rest["segments"]] == told_in_json(two, **RAIN)[1]
    assert (index.root / KEY_FILE).stat().st_mode & 0o777 == 0o600
