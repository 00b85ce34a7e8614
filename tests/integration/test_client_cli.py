"""`segsearch score | search` against a real server: tables, JSON lines, exit codes, variables."""

import json
import subprocess

import numpy as np
import pytest

from segsearch.core.errors import MissingExtra
from segsearch.core.videos import serialise_video
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.security.key_file import add_key
from segsearch.service.security.keys import Scope, make_key
from segsearch.service.settings import Settings
from tests.conftest import ROOT
from tests.library_fixtures import make_videos, serving, write_shards
from tests.tiny_model import SPEC


@pytest.fixture(scope="module")
def reading(served_library):
    """Speaks HTTP with a server that only searches; frames up to 200."""
    with serving(served_library, Settings(port=0, frame_limit=200)) as http:
        yield http


@pytest.fixture
def ask(reading, command_line, monkeypatch):
    """Runs a command line whose server the variable names."""
    monkeypatch.setenv("SEGSEARCH_URL", str(reading.base_url))
    monkeypatch.setenv("COLUMNS", "100")
    return command_line


def test_search_prints_the_services_segments_as_json_lines(ask, reading):
    code, lines, told = ask("search", "Rain", "-k", 7, "--json")
    answer = reading.get("/search", params={"tag": "Rain", "k": 7}).json()
    assert (code, [json.loads(line) for line in lines]) == (0, answer["segments"])
    assert told == "7 of generation 1 at change 0\n"


def test_search_prints_moments_as_json_lines(ask, reading):
    words = ("search", "Rain and not Cat", "-k", 30, "--min-score", 0.1, "--per-video", 4)
    _, lines, _ = ask(*words, "--moments", "--json")
    query = {"tag": "Rain and not Cat", "k": 30, "min_score": 0.1, "per_video": 4, "merge": True}
    assert [json.loads(line) for line in lines] == reading.get("/search", params=query).json()["moments"]


def test_search_prints_a_table_for_people(ask, reading):
    code, lines, _ = ask("search", "Rain", "-k", 3)
    hits = reading.get("/search", params={"tag": "Rain", "k": 3}).json()["segments"]
    assert (code, lines[0].split()) == (0, ["video", "from", "to", "score"])
    shown = [line.split() for line in lines[1:]]
    assert [(video, score) for video, _, _, score in shown] == [(hit["video"], f"{hit['score']:.3f}") for hit in hits]
    assert shown[0][1] == f"0:{hits[0]['start_s']:02d}"


def test_similar_prints_the_services_segments(scorer, shards, command_line, tmp_path):
    reindex(scorer, shards, IndexDirectory(tmp_path / "index"), keep=100, embeddings=True)
    with serving(SegmentLibrary(scorer, IndexDirectory(tmp_path / "index"))) as http:
        words = ("similar", "v004:5", "-k", 7, "--url", http.base_url)
        code, lines, told = command_line(*words, "--json")
        answer = http.post("/similar", json={"video_id": "v004", "start_s": 5, "k": 7}).json()["segments"]
        assert (code, [json.loads(line) for line in lines]) == (0, answer)
        assert told.splitlines()[-1].startswith("7 of generation 1 at change 0, recall ")
        _, lines, _ = command_line(*words)
        assert lines[0].split() == ["video", "from", "to", "similarity"]
        assert [line.split()[0] for line in lines[1:]] == [hit["video"] for hit in answer]


def test_score_prints_what_the_service_answers_as_a_json_line_for_each_video(ask, reading, shards, videos):
    code, lines, _ = ask("score", shards[0], "--json", "--top", 2)
    told = [json.loads(line) for line in lines]
    assert (code, [row["video"] for row in told]) == (0, [video.id for video in videos[:15]])
    body = serialise_video(videos[0], SPEC)
    answer = reading.post("/score?top=2", content=body, headers={"content-type": "application/x-protobuf"}).json()
    for segment in answer["segments"]:
        del segment["end_s"]
    assert told[0] == {name: answer[name] for name in ("video", "frames", "stored", "segments")}


def test_score_prints_a_table_for_each_video(ask, tmp_path):
    np.save(tmp_path / "frames.npy", np.zeros((12, SPEC.size), np.uint8))
    code, lines, _ = ask("score", tmp_path / "frames.npy", "--video-id", "mine")
    assert (code, lines[0].strip()) == (0, "mine: 12 frames")
    assert [line.split()[0] for line in lines[2:]] == ["0:00", "0:05", "0:10"]


def test_a_video_that_is_refused_is_named_and_the_others_are_scored(ask, tmp_path):
    good, long, other = make_videos(3)
    long = type(long)(long.id, None, frames=np.zeros((201, SPEC.size), np.uint8))
    (shard,) = write_shards(tmp_path, [good, long, other], 1)
    code, lines, told = ask("score", shard, "--json")
    assert (code, [json.loads(line)["video"] for line in lines]) == (1, ["v000", "v002"])
    assert told.startswith("v001: rgb: 201 frames")


def test_score_indexes_where_that_is_asked_for(scorer, index, command_line, tmp_path):
    np.save(tmp_path / "frames.npy", np.zeros((7, SPEC.size), np.uint8))
    words = ("score", tmp_path / "frames.npy", "--index", "--video-id", "mine")
    space = scorer.bundle.manifest.features.space
    with LiveStore.open(index.root / LIVE, space) as store, serving(SegmentLibrary(scorer, index, store)) as http:
        _, lines, _ = command_line(*words, "--json", "--url", http.base_url)
        assert json.loads(lines[0])["stored"] == {"sequence": 1, "unchanged": False}
        _, lines, _ = command_line(*words, "--url", http.base_url)
        assert lines[0].strip() == "mine: 7 frames, stored as change 1 before"
        _, lines, _ = command_line("search", "Rain", "-k", 1000, "--json", "--url", http.base_url)
        assert {"mine"} < {json.loads(line)["video"] for line in lines}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("search", "Rian"), "error: no tag 'Rian'; nearest: Rain"),
        (("search", "Rain", "-k", 0), "error: query.k: "),
        (("search", "Rain", "--url", "http://127.0.0.1:9", "--timeout-s", 0.2), "error: service http://127.0.0.1:9: "),
        (("search", "Rain", "--url", "127.0.0.1:8000"), "error: url is '127.0.0.1:8000', wanted http://"),
        (("similar", "v004"), "error: segment id: 'v004'; wanted <video id>:<start>"),
        (("similar", "nobody:5"), "error: no video 'nobody' in the library"),
        (("score", "film.mp4"), "error: source: a file *.mp4; wanted one of .npy, .npz, .tfrecord"),
        (("score", "none.npy"), "error: [Errno 2] No such file or directory: 'none.npy'"),
        (("score", "none.npy", "--concurrency", 0), "error: "),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_code_1(ask, words, message):
    code, lines, told = ask(*words)
    assert (code, lines, told.count("\n")) == (1, [], 1)
    assert told.startswith(message)


def test_a_key_comes_from_its_variable(served_library, command_line, monkeypatch, tmp_path):
    key, kept = make_key("anna", Scope.read)
    add_key(tmp_path / "keys", kept)
    with serving(served_library, Settings(port=0, keys=tmp_path / "keys")) as http:
        monkeypatch.setenv("SEGSEARCH_URL", str(http.base_url))
        code, _, told = command_line("search", "Rain")
        assert (code, told.startswith("error: no key")) == (1, True)
        monkeypatch.setenv("SEGSEARCH_KEY", key)
        assert command_line("search", "Rain")[0] == 0


def test_the_serving_environment_has_no_client_and_says_what_to_install():
    done = subprocess.run([ROOT / ".venv-serve/bin/segsearch", "search", "Rain"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: {MissingExtra('score | search | similar', 'client', 'httpx')}\n"
