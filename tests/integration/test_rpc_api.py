"""Every rpc over a real server: what it answers."""

import time

import numpy as np
import pytest
from grpc import StatusCode

from segsearch.core.bundle import Bundle
from segsearch.core.score_codes import PROBABILITIES
from segsearch.core.segments import segment_starts
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.jobs.reindex_process import ReindexJobs
from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.bundle_folder import BundleFolder
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.v1 import search_pb2 as pb
from tests.library_fixtures import make_videos, write_shards
from tests.rpc_serving import TIMEOUT_S, failure, reason, stub_of
from tests.tiny_model import SPEC, write_tiny_bundle

VIDEO = make_videos(1, seed=7, prefix="up")[0]
FRAMES = VIDEO.frames.tobytes()


@pytest.fixture(scope="module")
def stub(served_library):
    with stub_of(served_library) as opened:
        yield opened


@pytest.fixture
def live_stub(live):
    with stub_of(live) as opened:
        yield opened


def hits(answer):
    return [(hit.video, hit.start_s, hit.score) for hit in answer.segments]


def library_hits(page):
    return list(zip(page.video_ids, page.starts.tolist(), PROBABILITIES[page.codes].tolist(), strict=True))


# Searching


def test_a_search_answers_what_the_library_finds(stub, served_library):
    answer = stub.Search(pb.SearchRequest(tag="rain", k=7, min_score=0.01, per_video=2))
    page = served_library.search("rain", 7, min_score=0.01, per_video=2)
    assert hits(answer) == library_hits(page)
    assert (answer.generation.number, answer.sequence, answer.complete) == (1, 0, True)
    assert [tag.name for tag in answer.tags] == ["Rain"]


def test_a_hundred_segments_are_found_unless_told(stub):
    assert len(stub.Search(pb.SearchRequest(tag="Rain")).segments) == 100


def test_the_same_search_again_has_the_same_bytes_until_something_changes(live_stub):
    question = pb.SearchRequest(tag="Rain", k=5)
    first = live_stub.Search(question)
    assert live_stub.Search(question).SerializeToString() == first.SerializeToString()
    live_stub.DeleteVideo(pb.DeleteVideoRequest(video=first.segments[0].video))
    after = live_stub.Search(question)
    assert after.sequence == 1
    assert first.segments[0].video not in {hit.video for hit in after.segments}


def test_moments_come_in_the_place_of_segments(stub, served_library):
    answer = stub.Search(pb.SearchRequest(tag="Rain", k=20, merge=True))
    page = served_library.moments("Rain", 20)
    assert not answer.segments
    assert [(m.video, m.start_s, m.end_s, m.peak_s) for m in answer.moments] == list(
        zip(page.video_ids, page.starts.tolist(), page.ends.tolist(), page.peaks.tolist(), strict=True)
    )


def test_a_streamed_search_of_100_000_comes_in_messages_that_together_are_the_answer(large_stub, large_library):
    answers = list(large_stub.SearchStream(pb.SearchRequest(tag="Rain", k=100_000)))
    page = large_library.search("Rain", 100_000)
    assert len(answers) > 1
    assert all(len(answer.segments) <= 10_000 for answer in answers)
    assert [hit for answer in answers for hit in hits(answer)] == library_hits(page)
    assert [answer.HasField("generation") for answer in answers] == [True] + [False] * (len(answers) - 1)


def test_a_streamed_search_without_hits_still_says_what_it_was_asked(stub):
    (answer,) = stub.SearchStream(pb.SearchRequest(tag="Rain", min_score=1.0))
    assert (len(answer.segments), answer.tags[0].name, answer.generation.number) == (0, "Rain", 1)


@pytest.fixture(scope="module")
def large_library(tmp_path_factory, scorer):
    """A library of more segments than one message may hold."""
    videos = [video for seed in range(12) for video in make_videos(250, seed=seed, prefix=f"p{seed:02d}")]
    files = write_shards(tmp_path_factory.mktemp("large"), videos, 1)
    directory = IndexDirectory(tmp_path_factory.mktemp("large") / "index")
    reindex(scorer, files, directory, keep=100_000)
    return SegmentLibrary(scorer, directory)


@pytest.fixture(scope="module")
def large_stub(large_library):
    with stub_of(large_library) as opened:
        yield opened


def test_pages_by_token_are_together_one_long_page(stub, served_library):
    found, token = [], ""
    while True:
        page = stub.Search(pb.SearchRequest(tag="Rain", k=50, page_token=token))
        found += hits(page)
        token = page.next_page_token
        if not token:
            break
    assert found == library_hits(served_library.search("Rain", 1000))
    assert len(found) > 100


def test_a_stream_goes_on_where_a_page_ended(stub, served_library):
    token = stub.Search(pb.SearchRequest(tag="Rain", k=50)).next_page_token
    (rest,) = stub.SearchStream(pb.SearchRequest(tag="Rain", k=1000, page_token=token))
    assert hits(rest) == library_hits(served_library.search("Rain", 1000))[50:]


@pytest.mark.parametrize("token", ["x", "x" * 300, "\u2028", "A" * 95])
def test_a_token_that_is_none_of_ours_is_refused(stub, token):
    error = failure(stub.Search, pb.SearchRequest(tag="Rain", page_token=token))
    assert (error.code(), reason(error)) == (StatusCode.INVALID_ARGUMENT, "invalid-page-token")


def test_a_token_of_another_query_is_refused(stub):
    token = stub.Search(pb.SearchRequest(tag="Rain", k=5)).next_page_token
    error = failure(stub.Search, pb.SearchRequest(tag="Cat", k=5, page_token=token))
    assert reason(error) == "invalid-page-token"


# Neighbours


def neighbours(answer):
    return [(hit.video, hit.start_s) for hit in answer.segments]


def library_neighbours(page):
    return list(zip(page.video_ids, page.starts.tolist(), strict=True))


def test_a_segment_of_the_library_gets_its_neighbours(stub, served_library, videos):
    named = pb.Segment(video=videos[4].id, start_s=5)
    answer = stub.Similar(pb.SimilarRequest(segment=named, k=7))
    page = served_library.similar(videos[4].id, 5, 7)
    assert neighbours(answer) == library_neighbours(page)
    np.testing.assert_allclose([hit.similarity for hit in answer.segments], page.similarities, atol=1e-6)
    assert (answer.generation.number, answer.recall) == (1, pytest.approx(page.recall))


@pytest.mark.parametrize("start_s", [None, 0])
def test_frames_get_the_neighbours_of_one_segment_or_of_their_mean(stub, served_library, start_s):
    answer = stub.Similar(pb.SimilarRequest(frames=FRAMES, start_s=start_s, k=5))
    assert neighbours(answer) == library_neighbours(served_library.similar_to(VIDEO.frames, start_s, 5))


# Scoring


def test_a_score_names_the_best_tags_of_every_segment(stub, served_library):
    answer = stub.Score(pb.ScoreRequest(video="mine", frames=FRAMES, top=3))
    scored = served_library.score(VIDEO.frames, 3)
    entries = served_library.scorer.bundle.vocabulary.entries
    assert (answer.video, answer.frames, answer.HasField("stored")) == ("mine", len(VIDEO.frames), False)
    assert [segment.start_s for segment in answer.segments] == segment_starts(len(VIDEO.frames)).tolist()
    assert [[tag.tag for tag in segment.tags] for segment in answer.segments] == [
        [entries[row].name for row in rows] for rows in scored.classes
    ]
    told = [[tag.score for tag in segment.tags] for segment in answer.segments]
    np.testing.assert_allclose(told, scored.probabilities, atol=1e-5)


def test_frames_in_pieces_score_as_frames_in_one(stub):
    whole = stub.Score(pb.ScoreRequest(video="mine", frames=FRAMES, top=3))
    cut = 2 * SPEC.size
    pieces = [pb.ScoreRequest(video="mine", top=3), pb.ScoreRequest(frames=FRAMES[:cut]),
              pb.ScoreRequest(frames=FRAMES[cut:])]  # fmt: skip
    assert stub.ScoreStream(iter(pieces)) == whole


def test_an_upload_can_be_found_once_it_is_answered_and_is_gone_once_deleted(live_stub):
    upload = pb.ScoreRequest(video="mine", frames=FRAMES, index=True)
    assert live_stub.Score(upload).stored == pb.Stored(sequence=1)
    assert live_stub.ScoreStream(iter([upload])).stored == pb.Stored(sequence=1, unchanged=True)
    found = live_stub.Search(pb.SearchRequest(tag="Rain", k=1000))
    assert sum(hit.video == "mine" for hit in found.segments) == len(segment_starts(len(VIDEO.frames)))
    assert live_stub.DeleteVideo(pb.DeleteVideoRequest(video="mine")) == pb.Stored(sequence=2)
    assert reason(failure(live_stub.DeleteVideo, pb.DeleteVideoRequest(video="mine"))) == "unknown-video"


# The rest


def test_tags_that_begin_so_come_with_their_counts(stub, served_library):
    answer = stub.ListTags(pb.ListTagsRequest(prefix="dog", limit=5))
    found = served_library.tags("dog", 5)
    assert [(each.tag.name, each.segments) for each in answer.tags] == [(tag.name, n) for tag, n in found.counts]
    assert answer.generation == 1


def test_a_video_has_a_score_for_each_tag_and_segment(stub, videos):
    answer = stub.GetVideo(pb.GetVideoRequest(video=videos[3].id, tags=["Cat", "Rain"]))
    assert [row.tag.name for row in answer.tags] == ["Cat", "Rain"]
    assert list(answer.starts_s) == segment_starts(len(videos[3].frames)).tolist()
    every = stub.Search(pb.SearchRequest(tag="Rain", k=1000)).segments
    own = {hit.start_s: hit.score for hit in every if hit.video == videos[3].id}
    assert dict(zip(answer.starts_s, answer.tags[1].scores, strict=True)) == own


def test_a_score_that_is_not_kept_is_no_number(scorer, shards, tmp_path, videos):
    directory = IndexDirectory(tmp_path / "short")
    reindex(scorer, shards, directory, keep=1)
    with stub_of(SegmentLibrary(scorer, directory)) as short:
        strips = [short.GetVideo(pb.GetVideoRequest(video=video.id, tags=["Rain"])).tags[0] for video in videos]
    scores = np.concatenate([strip.scores for strip in strips])
    assert np.isfinite(scores).sum() == 1


def test_an_older_generation_answers_after_it_was_activated(index, scorer, shards):
    reindex(scorer, shards[:1], index, keep=1000)
    library = SegmentLibrary(scorer, IndexDirectory(index.root))
    with stub_of(library) as stub:
        assert stub.ListGenerations(pb.ListGenerationsRequest()) == pb.ListGenerationsResponse(
            serving=2, numbers=[1, 2]
        )
        assert stub.ActivateGeneration(pb.ActivateGenerationRequest(number=1)).number == 1
        library.refresh()
        assert stub.Search(pb.SearchRequest(tag="Rain")).generation.number == 1


def test_another_model_scores_once_it_is_loaded(index, tmp_path):
    for name, seed in (("one", 7), ("two", 8)):
        write_tiny_bundle(tmp_path / name, seed=seed)
    library = SegmentLibrary(
        _scorer(Bundle.open(tmp_path / "one/tiny/1")), index, bundles=BundleFolder(tmp_path, _scorer)
    )
    two = Bundle.open(tmp_path / "two/tiny/1").digest
    with stub_of(library) as stub:
        assert stub.GetModel(pb.GetModelRequest()).bundle.digest == library.scorer.bundle.digest != two
        loaded = stub.LoadModel(pb.LoadModelRequest(path="two/tiny"))
        assert (loaded.bundle.digest, loaded.precision) == (two, "float32")
        assert stub.Score(pb.ScoreRequest(frames=FRAMES)).bundle.digest == two
        error = failure(stub.LoadModel, pb.LoadModelRequest(path="three/tiny"))
        assert (error.code(), reason(error)) == (StatusCode.INVALID_ARGUMENT, "model-not-loaded")
        assert stub.GetModel(pb.GetModelRequest()).bundle == loaded.bundle
    library.close()


def test_a_reindex_that_is_started_can_be_asked_for_until_it_is_done(index, scorer, shards):
    jobs = ReindexJobs(index, shards[0].parent, options=["--batch", "8", "--threads", "1"])
    with stub_of(SegmentLibrary(scorer, index, jobs=jobs)) as stub:
        error = failure(stub.StartReindex, pb.StartReindexRequest(shards=["nothing*"]))
        assert (error.code(), reason(error)) == (StatusCode.INVALID_ARGUMENT, "invalid-input")
        started = stub.StartReindex(pb.StartReindexRequest(shards=["library00.*"]))
        assert (started.state, list(started.shards), started.bundle) == (pb.Job.RUNNING, ["library00.*"], "")
        deadline = time.monotonic() + 4 * TIMEOUT_S
        while (job := stub.GetJob(pb.GetJobRequest(id=started.id))).state == pb.Job.RUNNING:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert (job.state, job.result.generation, job.result.videos) == (pb.Job.DONE, 2, 15), job
        assert stub.CancelJob(pb.CancelJobRequest(id=job.id)) == job  # what has ended stays as it is
        assert reason(failure(stub.GetJob, pb.GetJobRequest(id="20260101-000000-00000000"))) == "unknown-job"


def _scorer(bundle, tuning=None):
    return OnnxScorer(bundle, batch=8, threads=1, tuning=tuning)
