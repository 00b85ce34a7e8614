"""Uploads, deletions and richer queries over HTTP: a real server on a socket."""

from io import BytesIO

import numpy as np
import pytest

from segsearch.core.segments import segment_starts
from segsearch.service.rest.answers import MomentsAnswer, SearchAnswer
from segsearch.service.settings import Settings
from tests.library_fixtures import make_videos, serving
from tests.rest_bodies import problem
from tests.tiny_model import NAMES

UPLOADS = make_videos(4, seed=7, prefix="up")


@pytest.fixture
def served(live):
    with serving(live, Settings(port=0)) as client:
        yield client


def upload(client, video_id, frames, **query):
    params = {"video_id": video_id, "index": True, "top": 2, **query}
    body = npy(frames)
    return client.post("/score", params=params, content=body, headers={"content-type": "application/x-npy"})


def npy(frames):
    file = BytesIO()
    np.save(file, frames)
    return file.getvalue()


def search(client, **query):
    return client.get("/search", params={"tag": "Rain", "k": 1000, **query})


def test_an_upload_can_be_found_once_it_is_answered_and_is_gone_once_deleted(served):
    frames = UPLOADS[0].frames
    stored = upload(served, "mine", frames).json()["stored"]
    answer = search(served).json()
    assert (stored, answer["sequence"]) == ({"sequence": 1, "unchanged": False}, 1)
    assert sum(hit["video"] == "mine" for hit in answer["segments"]) == len(segment_starts(len(frames)))
    assert upload(served, "mine", frames).json()["stored"] == {"sequence": 1, "unchanged": True}
    assert served.delete("/videos/mine").json() == {"sequence": 2, "unchanged": False}
    assert all(hit["video"] != "mine" for hit in search(served).json()["segments"])
    assert "mine" in problem(served.delete("/videos/mine"), 404, "unknown-video")


def test_scoring_alone_stores_nothing(served):
    assert upload(served, "mine", UPLOADS[0].frames, index=False).json()["stored"] is None
    assert search(served).json()["sequence"] == 0


def test_a_video_whose_id_has_a_slash_can_be_asked_for_and_deleted(served):
    upload(served, "shows/one", UPLOADS[0].frames)
    strip = served.get("/videos/shows%2Fone", params={"tag": ["Rain", "Cat"]}).json()
    assert [row["tag"]["tag"] for row in strip["tags"]] == ["Rain", "Cat"]
    own = {hit["start_s"]: hit["score"] for hit in search(served).json()["segments"] if hit["video"] == "shows/one"}
    assert dict(zip(strip["starts_s"], strip["tags"][0]["scores"], strict=True)) == pytest.approx(own)
    assert served.delete("/videos/shows%2Fone").status_code == 200


def test_queries_over_http_answer_what_the_library_finds(served, live):
    upload(served, "mine", UPLOADS[0].frames)
    query = {"tag": 'Rain and not "Dog bark"', "k": 20, "per_video": 2, "min_score": 0.001}
    wanted = live.search(query["tag"], 20, per_video=2, min_score=0.001)
    told = SearchAnswer.model_validate_json(search(served, **query).content)
    assert told == SearchAnswer.of(wanted, told.next_page_token)
    merged = MomentsAnswer.model_validate_json(search(served, **query, merge=True).content)
    assert merged == MomentsAnswer.of(live.moments(query["tag"], 20, per_video=2, min_score=0.001))


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"tag": "Rain and"}, 422, "invalid-input"),
        ({"tag": "not Rain"}, 422, "invalid-input"),
        ({"tag": "Rain or Raim"}, 404, "unknown-tag"),
        ({"min_score": 1.5}, 422, "invalid-input"),
        ({"min_score": "nan"}, 422, "invalid-input"),
        ({"per_video": 0}, 422, "invalid-input"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(served, query, status, code):
    problem(search(served, **query), status, code)


def test_unknown_videos_and_tags_of_a_strip_are_named(served):
    problem(served.get("/videos/nowhere", params={"tag": "Rain"}), 404, "unknown-video")
    problem(served.get("/videos/v001", params={"tag": "Raim"}), 404, "unknown-tag")
    problem(served.get("/videos/v001"), 422, "invalid-input")


def test_a_server_that_only_searches_says_so(library):
    with serving(library, Settings(port=0)) as client:
        problem(upload(client, "mine", UPLOADS[0].frames), 409, "not-indexing")
        problem(client.delete("/videos/v001"), 409, "not-indexing")


def test_metrics_tell_what_is_live(served, videos):
    upload(served, "mine", UPLOADS[0].frames)
    served.delete(f"/videos/{videos[3].id}")
    told = served.get("/metrics").text.splitlines()
    segments = len(segment_starts(len(UPLOADS[0].frames)))
    assert f"segsearch_live_segments {segments}.0" in told
    assert f"segsearch_live_bytes {2 * len(NAMES) * segments}.0" in told
    assert {"segsearch_hidden_videos 1.0", "segsearch_live_sequence 2.0"} <= set(told)


def test_two_uploads_without_a_name_do_not_take_each_others_place(served):
    for each in UPLOADS[:2]:
        body, headers = npy(each.frames), {"content-type": "application/x-npy"}
        answer = served.post("/score", params={"index": True}, content=body, headers=headers)
        problem(answer, 422, "invalid-input")
        assert answer.json()["field"] == "query.video_id"
    assert search(served).json()["sequence"] == 0
