"""The REST API over a real socket: what it answers, in whatever form frames come."""

import gzip
import json

import numpy as np
import pytest
from backports import zstd

from segsearch.core.videos import Video, serialise_video
from segsearch.service.rest.answers import ScoreAnswer, SearchAnswer
from segsearch.service.rest.search_answers import ARROW, LINES
from segsearch.service.rest.search_text import search_json
from segsearch.service.uploads.reader import PARSERS
from tests.rest_bodies import FRAMES, NPY, base64_of, json_of, npy_of, npz_of, tfrecord_of
from tests.tiny_model import SPEC


def test_a_search_answers_what_the_library_finds(client, served_library):
    answer = client.get("/search", params={"tag": "dog BARK", "k": 7})
    told = SearchAnswer.model_validate_json(answer.content)
    assert told == SearchAnswer.of(served_library.search("Dog bark", 7), told.next_page_token)


def test_search_hits_name_segment_video_times_and_score(client):
    hit = client.get("/search", params={"tag": "Rain", "k": 1}).json()["segments"][0]
    assert hit["segment"] == f"{hit['video']}:{hit['start_s']}"
    assert (hit["end_s"] - hit["start_s"], 0 <= hit["score"] <= 1) == (5, True)


def test_every_search_names_its_generation_and_the_bundle_that_scored_it(client, tiny_bundle):
    generation = client.get("/search", params={"tag": "Rain"}).json()["generation"]
    assert (generation["number"], generation["bundle"]["digest"]) == (1, tiny_bundle.digest)


def test_the_fast_way_to_write_a_page_equals_the_plain_one(served_library):
    for tag in ("Rain", "Dog bark"):
        page = served_library.search(tag, 100_000)
        assert SearchAnswer.model_validate_json(search_json(page)) == SearchAnswer.of(page)


@pytest.mark.parametrize("count", [1, 256, 257])
@pytest.mark.parametrize("first", [0, 3, 40_000])
def test_few_hits_and_many_are_written_alike_wherever_they_begin(served_library, count, first):
    page = served_library.search("Rain", 100)
    rows = np.arange(count) % len(page.codes)
    ids, codes = [page.video_ids[row] for row in rows], page.codes[rows]
    long = page._replace(video_ids=ids, codes=codes, starts=first + 5 * np.arange(count))
    assert SearchAnswer.model_validate_json(search_json(long)) == SearchAnswer.of(long)


RGB, AUDIO = np.ascontiguousarray(FRAMES[:, :8]), np.ascontiguousarray(FRAMES[:, 8:])
RECORD = serialise_video(Video("up", None, frames=FRAMES), SPEC)
# Every way to send the same frames: media type and body. The first two and the last two name their video.
SAME_FRAMES = {
    "numbers": ("application/json", json.dumps(json_of()).encode()),
    "base64": ("application/json", json.dumps(json_of(rgb=base64_of(RGB), audio=base64_of(AUDIO))).encode()),
    "npy": ("application/x-npy", npy_of(FRAMES)),
    "npy in Fortran order": ("application/x-npy", npy_of(np.asfortranarray(FRAMES))),
    "npz": ("application/x-npz", npz_of(frames=FRAMES)),
    "npz of streams": ("application/x-npz", npz_of(rgb=RGB, audio=AUDIO)),
    "deflated npz": ("application/x-npz", npz_of(np.savez_compressed, frames=FRAMES)),
    "TFRecord": ("application/x-tfrecord", tfrecord_of(RECORD)),
    "protobuf": ("application/x-protobuf", RECORD),
}


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
@pytest.mark.parametrize("way", SAME_FRAMES)
def test_the_same_frames_score_alike_in_whatever_form_they_come(client, way, coding):
    kind, body = SAME_FRAMES[way]
    body = {"identity": bytes, "gzip": gzip.compress, "zstd": zstd.compress}[coding](body)
    named = {} if kind.endswith(("json", "tfrecord", "protobuf")) else {"video_id": "up"}
    headers = {"content-type": kind, "content-encoding": coding}
    answer = client.post("/score", params=named, content=body, headers=headers)
    assert (answer.status_code, answer.content) == (200, client.post("/score", json=json_of()).content)


def test_a_json_body_without_a_name_takes_the_one_in_the_query(client):
    body = {"frames": json_of()["frames"]}
    assert client.post("/score", params={"video_id": "mine"}, json=body).json()["video"] == "mine"


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_long_answer_is_compressed_as_the_client_likes_it(client, coding):
    query = {"tag": "Rain", "k": 1000}
    plain = client.get("/search", params=query, headers={"accept-encoding": "identity"})
    answer = client.get("/search", params=query, headers={"accept-encoding": coding})
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == (coding, "Accept, Accept-Encoding")
    assert int(answer.headers["content-length"]) < len(plain.content) / 3
    assert (answer.content, plain.headers.get("content-encoding")) == (plain.content, None)


def test_an_upload_gets_the_best_tags_of_each_segment(client, served_library):
    answer = ScoreAnswer.model_validate_json(client.post("/score", params={"top": 2}, json=json_of()).content)
    scored = served_library.score(FRAMES, 2)
    names = served_library.view().vocabulary
    assert [segment.segment for segment in answer.segments] == [f"up:{start}" for start in scored.starts]
    assert [[tag.tag for tag in segment.tags] for segment in answer.segments] == [
        [names[row].name for row in rows] for rows in scored.classes.tolist()
    ]
    np.testing.assert_allclose(
        [[tag.score for tag in segment.tags] for segment in answer.segments], scored.probabilities, rtol=1e-6
    )


def test_an_upload_without_a_name_is_called_upload(client):
    assert client.post("/score", content=npy_of(FRAMES), headers=NPY).json()["video"] == "upload"


def test_a_video_as_long_as_the_limit_is_scored(client):
    assert (
        len(client.post("/score", content=npy_of(np.zeros((200, 12), np.uint8)), headers=NPY).json()["segments"]) == 40
    )


def test_ids_that_need_escaping_come_back_whole(client):
    answer = client.post("/score", json={**json_of(), "video_id": 'a"\\é'})
    assert (answer.json()["video"], answer.json()["segments"][0]["segment"]) == ('a"\\é', 'a"\\é:0')


def test_tags_are_completed_from_any_of_their_words(client):
    assert [tag["tag"] for tag in client.get("/tags", params={"prefix": "wh"}).json()["tags"]] == ["Dog whistle"]


def test_readiness_names_generation_bundle_and_provider(client, scorer):
    ready = client.get("/readyz").json()
    assert (ready["generation"]["number"], ready["bundle"]["name"]) == (1, "tiny")
    assert (ready["provider"], ready["streams"]) == (scorer.provider, str(SPEC))


def test_liveness_answers(client):
    assert client.get("/livez").json() == {"status": "alive"}


def test_openapi_describes_every_route_and_every_body(client):
    document = client.get("/openapi.json").json()
    assert {"/search", "/score", "/tags", "/livez", "/readyz"} <= set(document["paths"])
    post = document["paths"]["/score"]["post"]
    assert set(post["requestBody"]["content"]) == set(PARSERS)
    search = document["paths"]["/search"]["get"]
    answers = search["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert [answer["$ref"].split("/")[-1] for answer in answers] == ["SearchAnswer", "MomentsAnswer"]
    wanted = {"tag", "k", "min_score", "per_video", "merge", "page_token"}
    assert {parameter["name"] for parameter in search["parameters"]} == wanted
    assert set(search["responses"]["200"]["content"]) == {"application/json", LINES, ARROW}


def test_every_reference_in_openapi_leads_somewhere(client):
    document = client.get("/openapi.json").json()
    references = [part.split('"')[0] for part in json.dumps(document).split('"#/components/schemas/')[1:]]
    assert set(references) <= set(document["components"]["schemas"])


def test_a_tag_of_many_digits_is_one_that_is_not_there_or_too_long_to_be_looked_for(client):
    for path in ("/videos/v001", "/search"):
        assert client.get(path, params={"tag": "9" * 1_000}).json()["type"] == "/problems/unknown-tag"
        answer = client.get(path, params={"tag": "9" * 5_000})
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-input")
