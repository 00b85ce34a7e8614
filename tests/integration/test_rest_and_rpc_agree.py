"""Whatever both edges can do, they do alike: every operation through HTTP and through gRPC, of one library."""

import json
import os
import time
from datetime import UTC, datetime
from io import BytesIO

import httpx
import numpy as np
import pytest

from segsearch.core.bundle import Bundle
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.reindex import reindex
from segsearch.service.jobs.reindex_process import ReindexJobs
from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.bundle_folder import BundleFolder
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.settings import Settings
from segsearch.v1 import search_pb2 as pb
from tests.library_fixtures import make_videos, serving
from tests.messages_as_rest import (
    comparison,
    generation,
    job,
    model,
    plain,
    scored,
    search,
    similar,
    tag,
    video,
)
from tests.rpc_serving import failure, info, stub_of
from tests.tiny_model import NAMES, write_tiny_bundle

VIDEO = make_videos(1, seed=9, prefix="up")[0]
FRAMES = VIDEO.frames.tobytes()
JOB_TIMEOUT_S = 120  # of a process that starts on a busy machine
LIMITS = Settings(port=0, frame_limit=200, body_limit_bytes=100_000, shutdown_s=5)


@pytest.fixture(scope="module")
def edges(served_library):
    """Both edges of a library that is only searched."""
    with serving(served_library, LIMITS) as rest, stub_of(served_library, LIMITS) as rpc:
        yield rest, rpc


@pytest.fixture
def live_edges(scorer, index):
    """Both edges of a library that takes uploads."""
    with LiveStore.open(index.root / LIVE, scorer.bundle.manifest.features.space) as store:
        library = SegmentLibrary(scorer, index, store)
        with serving(library, LIMITS) as rest, stub_of(library, LIMITS) as rpc:
            yield rest, rpc


def score(rest: httpx.Client, frames: np.ndarray, **query: object) -> httpx.Response:
    out = BytesIO()
    np.save(out, frames)
    return rest.post("/score", params=query, content=out.getvalue(), headers={"content-type": "application/x-npy"})


QUERIES = [
    {"tag": "Rain"},
    {"tag": "Rain", "k": 1},
    {"tag": "rain and not Cat", "k": 50},
    {"tag": "(Cat or Guitar) and Speech", "k": 1000, "min_score": 0.05},
    {"tag": "43", "k": 10, "per_video": 1},
    {"tag": "/m/002", "min_score": 1.0},
]


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: " ".join(map(str, query.values())))
def test_searches(edges, query, merge):
    rest, rpc = edges
    answer = search(rpc.Search(pb.SearchRequest(**query, merge=merge)), merge=merge)
    assert plain(rest.get("/search", params={**query, "merge": merge}), answer) == answer
    (streamed,) = rpc.SearchStream(pb.SearchRequest(**query, merge=merge))
    assert search(streamed, merge=merge) == answer


@pytest.mark.parametrize("more", [{}, {"min_score": 0.1}, {"per_video": 3}])  # 0.1 is another number in 32 bits
def test_pages_go_on_at_the_same_place_at_either_edge(edges, more):
    rest, rpc = edges
    asked = {"tag": "Rain", "k": 9, **more}
    token = rpc.Search(pb.SearchRequest(**asked)).next_page_token
    assert token
    assert rest.get("/search", params=asked).json()["next_page_token"] == token
    answer = search(rpc.Search(pb.SearchRequest(**asked, page_token=token)), merge=False)
    assert answer["segments"]
    assert plain(rest.get("/search", params={**asked, "page_token": token}), answer) == answer


def test_neighbours(edges, videos):
    rest, rpc = edges
    answer = similar(rpc.Similar(pb.SimilarRequest(segment=pb.Segment(video=videos[2].id, start_s=0), k=9)))
    assert plain(rest.post("/similar", json={"video_id": videos[2].id, "start_s": 0, "k": 9}), answer) == answer


def test_models(edges):
    rest, rpc = edges
    assert rest.get("/models").json() == model(rpc.GetModel(pb.GetModelRequest()))


@pytest.fixture
def loading(index, tmp_path):
    """Both edges of a library that may load the bundles `one`, which it uses, and `two`; and the folder of bundles."""
    for seed, name in enumerate(("one", "two")):
        write_tiny_bundle(tmp_path / name, seed=seed)
    bundles = BundleFolder(tmp_path, lambda found, tuning=None: OnnxScorer(found, batch=8, threads=1, tuning=tuning))
    library = SegmentLibrary(
        OnnxScorer(Bundle.open(tmp_path / "one/tiny/1"), batch=8), index, bundles=bundles,
        jobs=ReindexJobs(index, tmp_path, bundles),
    )  # fmt: skip
    with serving(library, LIMITS) as rest, stub_of(library, LIMITS) as rpc:
        yield rest, rpc, tmp_path
    library.close()


def test_loading_a_model(loading):
    rest, rpc, _ = loading
    two = model(rpc.LoadModel(pb.LoadModelRequest(path="two/tiny")))
    assert rest.get("/models").json() == two
    one = rest.post("/models:load", json={"path": "one/tiny"}).json()
    assert model(rpc.GetModel(pb.GetModelRequest())) == one != two
    told = info(failure(rpc.LoadModel, pb.LoadModelRequest(path="three/tiny")))
    assert rest.post("/models:load", json={"path": "three/tiny"}).json()["type"] == f"/problems/{told.reason}"
    assert told.reason == "model-not-loaded"


def test_what_is_told_of_a_load_that_was_refused_until_one_succeeds(loading):
    rest, rpc, root = loading
    began = datetime.now(UTC).replace(microsecond=0)
    (write_tiny_bundle(root / "bad") / "setup.py").touch()
    (write_tiny_bundle(root / "odd") / os.fsdecode(b"\xff")).touch()  # no text in any encoding that is sent
    write_tiny_bundle(root / "other", names=NAMES[::-1])
    assert rest.get("/models").json()["refused_load"] is None
    for path, reason in (
        ("bad/tiny", "unknown file setup.py"), ("odd/tiny", "unknown file ?"), ("other/tiny", "vocabulary"),
        ("x" * 1000, "File name too long"),
    ):  # fmt: skip
        rest.post("/models:load", json={"path": path})
        answer = rest.get("/models").json()
        assert answer == model(rpc.GetModel(pb.GetModelRequest()))
        refused = answer["refused_load"]
        assert refused["path"] == path
        assert reason in refused["reason"]
        assert len(refused["reason"]) <= 1000
        assert str(root) not in refused["reason"]
        assert began <= datetime.fromisoformat(refused["at"]) <= datetime.now(UTC)
        told = rest.get("/v2/models/tiny").json()["parameters"]
        assert told == {f"refused_load_{name}": fact for name, fact in refused.items()}
        assert "segsearch_model_load_failed 1.0" in rest.get("/metrics").text
    rest.post("/models:load", json={"path": "../one"})  # leads elsewhere: it is no load
    assert rest.get("/models").json()["refused_load"] == refused
    assert model(rpc.LoadModel(pb.LoadModelRequest(path="two/tiny")))["refused_load"] is None
    assert rest.get("/models").json() == model(rpc.GetModel(pb.GetModelRequest()))
    assert "parameters" not in rest.get("/v2/models/tiny").json()
    assert "segsearch_model_load_failed 0.0" in rest.get("/metrics").text


def test_audit_lines_say_the_same_of_what_was_asked_for(loading, caplog):
    rest, rpc, _ = loading
    wish = {"shards": ["*.tfrecord", "x*"], "bundle": "two"}
    with caplog.at_level("INFO", "segsearch.service"):
        for path in ("two/tiny", "three", "../two"):
            status = rest.post("/models:load", json={"path": path}).status_code
            if status == 200:
                rpc.LoadModel(pb.LoadModelRequest(path=path))
            else:
                failure(rpc.LoadModel, pb.LoadModelRequest(path=path))
        rest.post("/reindex", json={**wish, "on_error": "skip"})
        failure(rpc.StartReindex, pb.StartReindexRequest(**wish, skip_bad=True))
    lines = [json.loads(record.message) for record in caplog.records if record.name == "segsearch.service"]
    told = [(line["status"], line["asked"]) for line in lines if line["event"] == "admin_action"]
    loads = [{"path": path} for path in ("two/tiny", "three", "../two")]
    assert [asked for _, asked in told] == [
        asked for asked in (*loads, {**wish, "skip_bad": True}) for _ in ("rest", "rpc")
    ]
    assert [status for status, _ in told] == [200, "OK", *[422, "INVALID_ARGUMENT"] * 3]


def test_jobs(index, scorer, shards):
    jobs = ReindexJobs(index, shards[0].parent, options=["--batch", "8", "--threads", "1"])
    library = SegmentLibrary(scorer, index, jobs=jobs)
    with serving(library, LIMITS) as rest, stub_of(library, LIMITS) as rpc:
        started = rest.post("/reindex", json={"shards": ["*.tfrecord"]}).json()
        busy = info(failure(rpc.StartReindex, pb.StartReindexRequest(shards=["*.tfrecord"])))
        assert rest.post("/reindex", json={"shards": ["*.tfrecord"]}).json()["type"] == f"/problems/{busy.reason}"
        assert busy.reason == "index-busy"
        ended = job(rpc.CancelJob(pb.CancelJobRequest(id=started["job"])))
        assert (ended["state"], ended["created_at"]) == ("cancelled", started["created_at"])
        assert rest.get(f"/jobs/{started['job']}").json() == ended
        assert rest.post(f"/jobs/{started['job']}:cancel").json() == ended
        again = job(rpc.StartReindex(pb.StartReindexRequest(shards=["library00.*"])))
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while (told := rest.get(f"/jobs/{again['job']}").json())["state"] == "running":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert told["state"] == "done", told
        assert job(rpc.GetJob(pb.GetJobRequest(id=again["job"]))) == told
        unknown = info(failure(rpc.GetJob, pb.GetJobRequest(id="20260101-000000-00000000")))
        assert rest.get("/jobs/20260101-000000-00000000").json()["type"] == f"/problems/{unknown.reason}"


@pytest.mark.parametrize("query", [{}, {"prefix": "do"}, {"prefix": "DOG", "limit": 1}, {"prefix": "nothing"}])
def test_lists_of_tags(edges, query):
    rest, rpc = edges
    message = rpc.ListTags(pb.ListTagsRequest(**query))
    tags = [{**tag(each.tag), "segments": each.segments} for each in message.tags]
    assert rest.get("/tags", params=query).json() == {"generation": message.generation, "tags": tags}


def test_strips(edges, videos):
    rest, rpc = edges
    for each in videos[:5]:
        answer = video(rpc.GetVideo(pb.GetVideoRequest(video=each.id, tags=["Rain", "cat"])))
        assert plain(rest.get(f"/videos/{each.id}", params={"tag": ["Rain", "cat"]}), answer) == answer


@pytest.mark.parametrize("options", [{}, {"top": 3}, {"video": "mine", "top": 1}])
def test_scores(edges, options):
    rest, rpc = edges
    answer = scored(rpc.Score(pb.ScoreRequest(frames=FRAMES, **options)))
    query = {"video_id" if name == "video" else name: value for name, value in options.items()}
    told = plain(score(rest, VIDEO.frames, **query), answer)
    assert [each["tags"] for each in told.pop("segments")] == [  # batch mates may move a score by 1e-5
        [{**t, "score": pytest.approx(t["score"], abs=1e-5)} for t in each["tags"]] for each in answer.pop("segments")
    ]
    assert told == answer


def test_uploads_and_deletions(live_edges):
    rest, rpc = live_edges
    upload = pb.ScoreRequest(video="mine", frames=FRAMES, index=True)
    assert scored(rpc.Score(upload))["stored"] == {"sequence": 1, "unchanged": False}
    assert score(rest, VIDEO.frames, video_id="mine", index=True).json()["stored"] == {
        "sequence": 1, "unchanged": True,
    }  # fmt: skip
    answer = search(rpc.Search(pb.SearchRequest(tag="Rain", k=500)), merge=False)
    assert plain(rest.get("/search", params={"tag": "Rain", "k": 500}), answer) == answer
    assert any(hit["video"] == "mine" for hit in answer["segments"])
    assert rest.delete("/videos/mine").json() == {"sequence": 2, "unchanged": False}
    assert rpc.Search(pb.SearchRequest(tag="Rain", k=500)).sequence == 2


@pytest.fixture(scope="module")
def two_generations(tmp_path_factory, scorer, shards):
    """Both edges of a library whose second generation has half of the videos."""
    index = IndexDirectory(tmp_path_factory.mktemp("two") / "index")
    reindex(scorer, shards, index, keep=1000)
    reindex(scorer, shards[:1], index, keep=1000)
    library = SegmentLibrary(scorer, index)
    with serving(library, LIMITS) as rest, stub_of(library, LIMITS) as rpc:
        yield rest, rpc


def test_generations(two_generations):
    rest, rpc = two_generations
    there = rpc.ListGenerations(pb.ListGenerationsRequest())
    answer = {"serving": there.serving, "numbers": list(there.numbers)}
    assert plain(rest.get("/generations"), answer) == answer
    activated = generation(rpc.ActivateGeneration(pb.ActivateGenerationRequest(number=1)))
    assert plain(rest.post("/generations/1:activate"), activated) == activated


def test_a_generation_that_would_not_be_served_is_not_activated(library, index, tmp_path, shards):
    with OnnxScorer(Bundle.open(write_tiny_bundle(tmp_path / "reversed", names=NAMES[::-1])), batch=8) as other:
        reindex(other, shards[:1], index, keep=7)
    index.activate(1)
    with serving(library, LIMITS) as rest, stub_of(library, LIMITS) as rpc:
        answer = rest.post("/generations/2:activate")
        told = info(failure(rpc.ActivateGeneration, pb.ActivateGenerationRequest(number=2)))
    problem = answer.json()
    facts = {name: problem[name] for name in ("field", "found", "wanted")}
    assert (answer.status_code, problem["type"]) == (422, "/problems/invalid-input")
    assert (told.reason, dict(told.metadata)) == ("invalid-input", facts)
    assert index.current() == 1


@pytest.mark.parametrize("options", [{}, {"k": 7}, {"k": 20, "limit": 3}, {"limit": 0}])
def test_comparisons_of_generations(two_generations, options):
    rest, rpc = two_generations
    answer = comparison(rpc.CompareGenerations(pb.CompareGenerationsRequest(a=1, b=2, **options)))
    assert rest.get("/generations/compare", params={"a": 1, "b": 2, **options}).json() == answer
    assert len(answer["tags"]) == options.get("limit", 8)


def test_a_comparison_says_what_went_and_what_came(two_generations):
    rest, _ = two_generations
    for pair, changed in (((1, 2), (62, 0)), ((2, 1), (0, 62)), ((2, 2), (0, 0))):  # of 126 and 64 segments
        answer = rest.get("/generations/compare", params={"a": pair[0], "b": pair[1]}).json()
        assert (answer["a"]["number"], answer["b"]["number"]) == pair
        assert {(each["gone"], each["come"]) for each in answer["tags"]} == {changed}
        assert answer["mean_overlap"] == pytest.approx(1.0 if changed == (0, 0) else 64 / 126)


# What is refused: a request of REST, one of gRPC, and the code that both answer.
REFUSED = {
    "half a query": (("GET", "/search?tag=Rain+and"), ("Search", pb.SearchRequest(tag="Rain and")), "invalid-input"),
    "an unknown tag": (("GET", "/search?tag=Raim"), ("Search", pb.SearchRequest(tag="Raim")), "unknown-tag"),
    "no tag": (("GET", "/search?tag="), ("Search", pb.SearchRequest()), "invalid-input"),
    "a long tag": (
        ("GET", f"/search?tag={'x' * 1001}"), ("Search", pb.SearchRequest(tag="x" * 1001)), "invalid-input",
    ),
    "k of 0": (("GET", "/search?tag=Rain&k=0"), ("Search", pb.SearchRequest(tag="Rain", k=0)), "invalid-input"),
    "k beyond all": (
        ("GET", "/search?tag=Rain&k=100001"), ("SearchStream", pb.SearchRequest(tag="Rain", k=100_001)),
        "invalid-input",
    ),
    "a score beyond 1": (
        ("GET", "/search?tag=Rain&min_score=1.01"), ("Search", pb.SearchRequest(tag="Rain", min_score=1.01)),
        "invalid-input",
    ),
    "none of a video": (
        ("GET", "/search?tag=Rain&per_video=0"), ("Search", pb.SearchRequest(tag="Rain", per_video=0)),
        "invalid-input",
    ),
    "no tags listed": (("GET", "/tags?limit=0"), ("ListTags", pb.ListTagsRequest(limit=0)), "invalid-input"),
    "too many listed": (("GET", "/tags?limit=1001"), ("ListTags", pb.ListTagsRequest(limit=1001)), "invalid-input"),
    "a long prefix": (
        ("GET", f"/tags?prefix={'x' * 257}"), ("ListTags", pb.ListTagsRequest(prefix="x" * 257)), "invalid-input",
    ),
    "an unknown video": (
        ("GET", "/videos/nowhere?tag=Rain"), ("GetVideo", pb.GetVideoRequest(video="nowhere", tags=["Rain"])),
        "unknown-video",
    ),
    "a strip of nothing": (("GET", "/videos/v001"), ("GetVideo", pb.GetVideoRequest(video="v001")), "invalid-input"),
    "a strip of too much": (
        ("GET", "/videos/v001?" + "&".join(["tag=Rain"] * 101)),
        ("GetVideo", pb.GetVideoRequest(video="v001", tags=["Rain"] * 101)), "invalid-input",
    ),
    "deleting": (("DELETE", "/videos/v001"), ("DeleteVideo", pb.DeleteVideoRequest(video="v001")), "not-indexing"),
    "a generation that is gone": (
        ("POST", "/generations/99:activate"), ("ActivateGeneration", pb.ActivateGenerationRequest(number=99)),
        "unknown-generation",
    ),
    "a forged token": (
        ("GET", "/search?tag=Rain&page_token=xx"), ("Search", pb.SearchRequest(tag="Rain", page_token="xx")),
        "invalid-page-token",
    ),
    "moments of a page": (
        ("GET", "/search?tag=Rain&merge=true&page_token=xx"),
        ("Search", pb.SearchRequest(tag="Rain", merge=True, page_token="xx")), "invalid-input",
    ),
    "comparing with what is gone": (
        ("GET", "/generations/compare?a=1&b=99"), ("CompareGenerations", pb.CompareGenerationsRequest(a=1, b=99)),
        "unknown-generation",
    ),
    "comparing with nothing": (
        ("GET", "/generations/compare?a=1"), ("CompareGenerations", pb.CompareGenerationsRequest(a=1)),
        "invalid-input",
    ),
    "comparing too much": (
        ("GET", "/generations/compare?a=1&b=1&k=10001"),
        ("CompareGenerations", pb.CompareGenerationsRequest(a=1, b=1, k=10_001)), "invalid-input",
    ),
    "generation 0": (
        ("POST", "/generations/0:activate"), ("ActivateGeneration", pb.ActivateGenerationRequest(number=0)),
        "invalid-input",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(edges, what):
    rest, rpc = edges
    (verb, path), (method, request), code = REFUSED[what]
    problem, error = rest.request(verb, path).json(), failure(getattr(rpc, method), request)
    assert problem["type"] == f"/problems/{code}"
    assert info(error).reason == code
    if "nearest" in problem:
        assert info(error).metadata["nearest"].split("\n") == problem["nearest"]


UPLOADS = {
    "no frames": (np.zeros((0, VIDEO.frames.shape[1]), np.uint8), {}, "invalid-input"),
    "another width": (np.zeros((7, VIDEO.frames.shape[1] + 1), np.uint8), {}, "invalid-input"),
    "too many frames": (np.zeros((201, VIDEO.frames.shape[1]), np.uint8), {}, "too-large"),
    "too many bytes": (np.zeros((100_100 // VIDEO.frames.shape[1], VIDEO.frames.shape[1]), np.uint8), {}, "too-large"),
    "no tags": (VIDEO.frames, {"top": 0}, "invalid-input"),
    "too many tags": (VIDEO.frames, {"top": 1001}, "invalid-input"),
    "an id with a comma": (VIDEO.frames, {"video": "a,b"}, "invalid-input"),
    "indexing": (VIDEO.frames, {"video": "mine", "index": True}, "not-indexing"),
    "indexing without an id": (VIDEO.frames, {"index": True}, "invalid-input"),
}


@pytest.mark.parametrize("what", UPLOADS)
def test_refused_uploads(edges, what):
    rest, rpc = edges
    frames, options, code = UPLOADS[what]
    query = {"video_id" if name == "video" else name: value for name, value in options.items()}
    assert score(rest, frames, **query).json()["type"] == f"/problems/{code}"
    upload = pb.ScoreRequest(frames=frames.tobytes(), **options)
    assert info(failure(rpc.Score, upload)).reason == code
    assert info(failure(rpc.ScoreStream, iter([upload]))).reason == code
