"""`POST /similar` over a real socket: a segment of the library or frames in, neighbours or a problem out."""

import base64
import gzip
import json
import sys

import httpx
import numpy as np
import pytest

from segsearch.service.index import neighbour_building
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SIMILAR_LIMIT, SegmentLibrary
from segsearch.service.rest.similar import SimilarAnswer
from segsearch.service.settings import Settings
from tests.library_fixtures import make_videos, serving
from tests.made_up_embeddings import clustered, write_generation
from tests.rest_bodies import NPY, json_of, npy_of, npz_of, problem
from tests.tiny_model import SPEC

FRAMES = make_videos(1, seed=11)[0].frames  # (T, 12)


@pytest.fixture(scope="module")
def library(tmp_path_factory, scorer, shards):
    directory = IndexDirectory(tmp_path_factory.mktemp("similar") / "index")
    reindex(scorer, shards, directory, keep=100, embeddings=True)
    return SegmentLibrary(scorer, directory)


@pytest.fixture(scope="module")
def client(library):
    with serving(library, Settings(port=0, frame_limit=200, body_limit_bytes=100_000)) as opened:
        yield opened


def ask(client: httpx.Client, **body: object) -> httpx.Response:
    return client.post("/similar", json=body)


def answer_of(answer: httpx.Response) -> SimilarAnswer:
    assert answer.status_code == 200, answer.text
    return SimilarAnswer.model_validate_json(answer.content)


def test_a_segment_of_the_library_gets_its_neighbours(client, library, videos):
    found = answer_of(ask(client, video_id=videos[4].id, start_s=5, k=7))
    assert found == SimilarAnswer.of(library.similar(videos[4].id, 5, 7))
    assert len(found.segments) == 7
    assert all(hit.segment == f"{hit.video}:{hit.start_s}" and hit.end_s == hit.start_s + 5 for hit in found.segments)


def test_a_hundred_come_unless_told_otherwise(client, videos):
    assert len(answer_of(ask(client, video_id=videos[4].id, start_s=0)).segments) == 100


def bodies() -> dict[str, tuple[dict[str, object], dict[str, str]]]:
    rgb, audio = FRAMES[:, :8], FRAMES[:, 8:]
    streams = {"rgb": rgb, "audio": audio}
    coded = {"frames": {name: base64.b64encode(rows.tobytes()).decode() for name, rows in streams.items()}}
    return {
        "json": ({"json": json_of(FRAMES)}, {}),
        "base64": ({"json": coded}, {}),
        "npy": ({"content": npy_of(FRAMES)}, NPY),
        "gzip": ({"content": gzip.compress(npy_of(FRAMES))}, {**NPY, "content-encoding": "gzip"}),
        "npz": ({"content": npz_of(rgb=rgb, audio=audio)}, {"content-type": "application/x-npz"}),
    }


@pytest.mark.parametrize("form", bodies())
def test_frames_in_every_form_get_theirs(client, library, form):
    body, headers = bodies()[form]
    found = answer_of(client.post("/similar", params={"start_s": 5, "k": 9}, headers=headers, **body))
    assert found == SimilarAnswer.of(library.similar_to(FRAMES, 5, 9))


def test_frames_without_a_start_stand_for_the_whole_video(client, library):
    found = answer_of(client.post("/similar", content=npy_of(FRAMES), headers=NPY))
    assert found == SimilarAnswer.of(library.similar_to(FRAMES, None, 100))


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"video_id": "nobody", "start_s": 0}, 404, "unknown-video", "nobody"),
        ({"video_id": "v004", "start_s": 3}, 422, "invalid-input", "start_s: 3; wanted a multiple of 5"),
        ({"video_id": "v004", "start_s": -5}, 422, "invalid-input", "start_s"),
        ({"video_id": "v004", "start_s": 1.5}, 422, "invalid-input", "start_s"),
        ({"video_id": "v004", "start_s": 10**30}, 422, "invalid-input", "start_s"),
        ({"video_id": "v004"}, 422, "invalid-input", "start_s"),
        ({"start_s": 0}, 422, "invalid-input", "video_id"),
        ({"video_id": "", "start_s": 0}, 422, "invalid-input", "video_id"),
        ({"video_id": 4, "start_s": 0}, 422, "invalid-input", "video_id"),
        ({"video_id": "v004", "start_s": 0, "k": 0}, 422, "invalid-input", "k"),
        ({"video_id": "v004", "start_s": 0, "k": SIMILAR_LIMIT + 1}, 422, "invalid-input", "k"),
        ({"video_id": "v004", "start_s": 0, "top": 1}, 422, "invalid-input", "top"),
        ({"video_id": "v" * 5_000, "start_s": 0}, 422, "invalid-input", "frames"),
        ({}, 422, "invalid-input", "video_id"),
        ([], 422, "invalid-input", "body"),
    ],
)  # fmt: skip
def test_a_body_that_names_no_segment_says_why(client, body, status, code, said):
    assert said in problem(client.post("/similar", json=body), status, code)


@pytest.mark.parametrize("query", [{"start_s": 3}, {"start_s": 500}, {"k": 0}, {"top": 3}, {"start_s": "x"}])
def test_a_query_that_does_not_go_with_its_frames_is_refused(client, query):
    problem(client.post("/similar", params=query, content=npy_of(FRAMES), headers=NPY), 422, "invalid-input")


def test_a_query_beside_a_body_that_names_a_segment_is_refused(client):
    answer = client.post("/similar", params={"k": 3}, json={"video_id": "v004", "start_s": 0})
    assert "start_s and k in the body" in problem(answer, 422, "invalid-input")


def test_frames_beyond_the_server_s_limits_and_bodies_of_other_kinds_are_refused(client):
    long = npy_of(np.zeros((201, SPEC.size), np.uint8))
    problem(client.post("/similar", content=long, headers=NPY), 413, "too-large")
    problem(client.post("/similar", content=bytes(100_001), headers=NPY), 413, "too-large")
    text = client.post("/similar", content=b"hello", headers={"content-type": "text/plain"})
    problem(text, 415, "unsupported-content")
    problem(client.get("/similar"), 405, "method-not-allowed")


def test_a_generation_without_embeddings_says_how_to_get_them(served_without):
    said = problem(ask(served_without, video_id="v004", start_s=0), 409, "no-embeddings")
    assert said == "generation 1 keeps no embeddings; run `segsearch reindex --embeddings`"


@pytest.fixture
def served_without(tmp_path, scorer, shards):
    directory = IndexDirectory(tmp_path / "index")
    reindex(scorer, shards, directory, keep=100)
    with serving(SegmentLibrary(scorer, directory)) as opened:
        yield opened


class OpenLibrary(SegmentLibrary):
    """Serves a generation whatever bundle it is of: made-up embeddings have none."""

    def _check(self, generation):
        pass


def test_where_faiss_is_not_installed_the_operator_hears_which_package_is_missing(
    tmp_path, scorer, monkeypatch, caplog
):
    monkeypatch.setattr(neighbour_building, "FLAT_BELOW", 500)
    write_generation(tmp_path, clustered(1_000, 12))
    monkeypatch.setitem(sys.modules, "faiss", None)
    with serving(OpenLibrary(scorer, IndexDirectory(tmp_path))) as client:
        said = problem(ask(client, video_id="v4", start_s=0), 501, "missing-extra")
    assert "package" in said
    assert any("segsearch[similar]" in record.message for record in caplog.records)


def test_a_deleted_video_is_in_no_later_answer(tmp_path, scorer, shards, videos):
    directory = IndexDirectory(tmp_path / "index")
    reindex(scorer, shards, directory, keep=100, embeddings=True)
    with (
        LiveStore.open(tmp_path / "live", SPEC.space) as store,
        serving(SegmentLibrary(scorer, directory, store)) as client,
    ):
        first = answer_of(ask(client, video_id=videos[4].id, start_s=0, k=1000))
        gone = next(hit.video for hit in first.segments if hit.video != videos[4].id)
        assert client.delete(f"/videos/{gone}").status_code == 200
        after = answer_of(ask(client, video_id=videos[4].id, start_s=0, k=1000))
        assert after.segments == [hit for hit in first.segments if hit.video != gone]
        problem(ask(client, video_id=gone, start_s=0), 404, "unknown-video")


def test_requests_are_counted_by_route_and_frames_as_scored(client):
    def told(line: str) -> float:
        return sum(float(row.split()[-1]) for row in client.get("/metrics").text.splitlines() if row.startswith(line))

    requests, scored = 'segsearch_http_requests_total{route="/similar"', "segsearch_scored_segments_total"
    before = told(requests), told(scored)
    client.post("/similar", content=npy_of(FRAMES), headers=NPY)
    assert (told(requests), told(scored)) == (before[0] + 1, before[1] + -(-len(FRAMES) // 5))


def test_openapi_describes_both_bodies(client):
    described = client.get("/openapi.json").json()["paths"]["/similar"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert [sorted(form["properties"]) for form in schema] == [["k", "start_s", "video_id"], ["frames", "video_id"]]
    assert "application/x-npy" in described["requestBody"]["content"]
    assert "#/components/schemas/SimilarAnswer" in json.dumps(described["responses"]["200"])
