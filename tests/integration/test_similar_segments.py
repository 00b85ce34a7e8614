"""Similar segments, from a reindex that keeps embeddings to the library's answers, while videos come and go."""

import json

import numpy as np
import pytest

from segsearch.core.bundle import Bundle
from segsearch.core.errors import InvalidInput, NoEmbeddings, UnknownVideo
from segsearch.core.records import write_records
from segsearch.core.segments import segment_starts
from segsearch.core.videos import serialise_video
from segsearch.service.index.format import EMBEDDINGS, LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.vectors import packed, unit
from segsearch.service.index.verification import verify_order
from segsearch.service.jobs.compaction import compact
from segsearch.service.jobs.local_processes import LocalProcesses
from segsearch.service.jobs.reindex import reindex
from segsearch.service.jobs.workers import WorkerScorer
from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from tests.integration.test_reindex_ray import finish, start
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_blocks import tiny_line, write_block_bundle
from tests.tiny_model import SPEC

UPLOAD = make_videos(1, seed=7, prefix="up")[0]


@pytest.fixture
def index(tmp_path, scorer, shards):
    """The thirty videos with their embeddings as generation 1."""
    directory = IndexDirectory(tmp_path / "index")
    reindex(scorer, shards, directory, keep=1000, embeddings=True)
    return directory


@pytest.fixture
def store(index):
    with LiveStore.open(index.root / LIVE, SPEC.space) as opened:
        yield opened


@pytest.fixture
def live(scorer, index, store):
    return SegmentLibrary(scorer, index, store)


def everything(scorer, videos):
    """Video ids, starts and unit embeddings of all segments, as scoring them one by one gives them."""
    ids = [video.id for video in videos for _ in segment_starts(len(video.frames))]
    starts = np.concatenate([segment_starts(len(video.frames)) for video in videos])
    embeddings = np.concatenate([scorer.score(video.frames).embeddings for video in videos])
    return ids, starts, unit(embeddings)


def segments(page):
    return list(zip(page.video_ids, page.starts.tolist(), strict=True))


# Answers


def test_neighbours_of_a_segment_are_those_that_comparing_all_finds(live, scorer, videos):
    ids, starts, vectors = everything(scorer, videos)
    for row in (0, 17, len(ids) - 1):
        page = live.similar(ids[row], int(starts[row]), 20)
        cosines = vectors @ vectors[row]
        cosines[row] = -2
        np.testing.assert_allclose(page.similarities, np.sort(cosines)[::-1][:20], atol=1e-3)  # they are half floats
        assert (ids[row], starts[row]) not in segments(page)
        assert (page.generation.number, page.sequence, page.recall) == (1, 0, 1.0)


def test_frames_that_are_sent_find_the_same_video_in_the_library(live, videos):
    video = videos[4]
    page = live.similar_to(video.frames, 5, 3)
    assert segments(page)[0] == (video.id, 5)
    assert page.similarities[0] == pytest.approx(1, abs=1e-3)
    assert segments(page)[1:] == segments(live.similar(video.id, 5, 2))


def test_frames_without_a_start_stand_for_the_mean_of_their_segments(live, scorer, videos):
    _, _, vectors = everything(scorer, videos)
    mean = unit(unit(scorer.score(UPLOAD.frames).embeddings).mean(axis=0))
    page = live.similar_to(UPLOAD.frames, None, 10)
    np.testing.assert_allclose(page.similarities, np.sort(vectors @ mean)[::-1][:10], atol=1e-3)


@pytest.mark.parametrize("start_s", [-5, 3, 10_000])
def test_a_second_at_which_no_segment_begins_is_refused(live, videos, start_s):
    with pytest.raises(InvalidInput, match=r"start_s: -?\d+; wanted a multiple of 5 from 0 to"):
        live.similar(videos[4].id, start_s, 3)
    with pytest.raises(InvalidInput, match=r"start_s"):
        live.similar_to(videos[4].frames, start_s, 3)


def test_an_unknown_video_is_named(live):
    with pytest.raises(UnknownVideo, match="nobody"):
        live.similar("nobody", 0, 3)


def test_a_generation_without_embeddings_says_how_to_get_them(tmp_path, scorer, shards, videos):
    plain = IndexDirectory(tmp_path / "plain")
    reindex(scorer, shards, plain, keep=10)
    library = SegmentLibrary(scorer, plain)
    for ask in (lambda: library.similar(videos[0].id, 0, 3), lambda: library.similar_to(UPLOAD.frames, 0, 3)):
        with pytest.raises(
            NoEmbeddings, match="generation 1 keeps no embeddings; run `segsearch reindex --embeddings`"
        ):
            ask()


def test_embeddings_of_another_bundle_are_not_compared(index, next_scorer, videos):
    library = SegmentLibrary(next_scorer, index)
    with pytest.raises(NoEmbeddings, match=r"generation 1 keeps embeddings of tiny/1 \w+, and tiny/1 \w+ scores"):
        library.similar_to(UPLOAD.frames, 0, 3)
    assert len(library.similar(videos[0].id, 0, 3).video_ids) == 3


# Videos that come and go


def test_deleted_and_replaced_videos_are_nobody_s_neighbours(live, videos):
    deleted, replaced = videos[6].id, videos[7].id
    asked = videos[4].id
    assert {deleted, replaced} <= set(live.similar(asked, 0, 1000).video_ids)
    live.delete(deleted)
    live.add(replaced, UPLOAD.frames, 1)
    page = live.similar(asked, 0, 1000)
    assert not {deleted, replaced} & set(page.video_ids)
    assert page.sequence == 2
    with pytest.raises(UnknownVideo):
        live.similar(deleted, 0, 3)


def test_an_upload_can_be_asked_for_at_once_and_is_found_after_a_reindex(live, index, scorer, shards, store):
    live.add(UPLOAD.id, UPLOAD.frames, 1)
    page = live.similar(UPLOAD.id, 0, 1000)
    assert UPLOAD.id not in page.video_ids
    assert segments(page) == segments(live.similar_to(UPLOAD.frames, 0, 1000))
    reindex(scorer, shards, index, keep=1000, embeddings=True, store=store)
    live.refresh()
    again = live.similar(UPLOAD.id, 0, 1000)
    others = [segment for segment in segments(again) if segment[0] != UPLOAD.id]
    assert len(segments(again)) - len(others) == len(segment_starts(len(UPLOAD.frames))) - 1
    assert sorted(others) == sorted(segments(page))


def test_a_library_without_its_store_cannot_know_what_came_later(live, index, scorer):
    live.add(UPLOAD.id, UPLOAD.frames, 1)
    with pytest.raises(UnknownVideo):
        SegmentLibrary(scorer, index).similar(UPLOAD.id, 0, 3)


def test_compaction_keeps_the_embeddings_that_there_are(live, index, store, scorer, videos):
    live.add(UPLOAD.id, UPLOAD.frames, 1)
    live.delete(videos[6].id)
    before, own = live.similar(videos[4].id, 0, 1000), live.similar(UPLOAD.id, 5, 1000)
    compact(index, store)
    live.refresh()
    after, still = live.similar(videos[4].id, 0, 1000), live.similar(UPLOAD.id, 5, 1000)
    assert (before.generation.number, after.generation.number) == (1, 2)
    assert (segments(after), segments(still)) == (segments(before), segments(own))
    np.testing.assert_array_equal(after.similarities, before.similarities)
    generation = index.open_current()
    generation.verify()
    verify_order(generation)
    with pytest.raises(NoEmbeddings, match=f"segment {UPLOAD.id}:5 came after the last reindex"):
        SegmentLibrary(scorer, index).similar(UPLOAD.id, 5, 3)


# The reindex that keeps them


def test_a_generation_keeps_the_embeddings_that_the_scorer_gives(index, scorer, videos):
    _, _, vectors = everything(scorer, videos)
    kept = index.open_current().neighbours.embeddings
    np.testing.assert_allclose(kept.astype(np.float32), packed(vectors).astype(np.float32), atol=1e-3)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, scorer, many_shards):
    """Every file of the generation with embeddings that this process makes of the six shards."""
    index = IndexDirectory(tmp_path_factory.mktemp("undisturbed"))
    reindex(scorer, many_shards, index, keep=9, scores=True, embeddings=True)
    return index.open_current().manifest.files


def test_keeping_embeddings_changes_nothing_else(undisturbed, alone):
    assert {name: sum_ for name, sum_ in undisturbed.items() if name != EMBEDDINGS} == alone


def test_two_processes_keep_the_same_embeddings_to_the_bit(tmp_path, scorer, many_shards, undisturbed):
    index, workers = IndexDirectory(tmp_path), LocalProcesses(WorkerScorer.like(scorer, "auto", threads=1), 2)
    reindex(scorer, many_shards, index, keep=9, scores=True, embeddings=True, engine=workers)
    assert index.open_current().manifest.files == undisturbed


def test_ray_actors_keep_the_same_embeddings_to_the_bit(tmp_path, tiny_bundle, many_shards, undisturbed):
    index = IndexDirectory(tmp_path / "index")
    code, told, _ = finish(start(tiny_bundle, many_shards, index, "--embeddings"))
    assert code == 0
    assert json.loads(told)["neighbours"]["kind"] == "flat"
    assert index.open_current().manifest.files == undisturbed


def test_a_reindex_that_stopped_goes_on_with_the_embeddings_it_has(tmp_path, scorer):
    files = write_shards(tmp_path / "shards", make_videos(12), 3)
    whole, stopped = IndexDirectory(tmp_path / "whole"), IndexDirectory(tmp_path / "stopped")
    reindex(scorer, files, whole, keep=9, embeddings=True)
    good = files[2].read_bytes()
    write_records(files[2], [b"\xff\xff\xff"])
    with pytest.raises(Exception, match=r"library02\.tfrecord, record 0"):
        reindex(scorer, files, stopped, keep=9, embeddings=True)
    files[2].write_bytes(good)
    assert reindex(scorer, files, stopped, keep=9, embeddings=True).resumed == 2
    assert stopped.open_current().manifest.files == whole.open_current().manifest.files


def test_pieces_without_embeddings_do_not_stand_in_for_those_with(tmp_path, scorer):
    files = write_shards(tmp_path / "shards", make_videos(12), 3)
    index = IndexDirectory(tmp_path / "index")
    good = files[2].read_bytes()
    write_records(files[2], [b"\xff\xff\xff"])
    with pytest.raises(Exception, match=r"library02\.tfrecord, record 0"):
        reindex(scorer, files, index, keep=9)
    files[2].write_bytes(good)
    assert reindex(scorer, files, index, keep=9, embeddings=True).resumed == 0


def test_skipped_and_replaced_videos_leave_embeddings_in_step(tmp_path, scorer, store, videos):
    store.put(videos[3].id, UPLOAD.frames, {})
    store.delete(videos[5].id)
    records = [serialise_video(video, SPEC) for video in videos[:9]]
    write_records(tmp_path / "a.tfrecord", [*records[:2], b"\xff\xff\xff", *records[2:]])
    index = IndexDirectory(tmp_path / "mixed")
    reindex(scorer, [tmp_path / "a.tfrecord"], index, keep=9, embeddings=True, skip_bad=True, store=store)
    generation = index.open_current()
    wanted = {video.id: video.frames for video in videos[:9] if video is not videos[5]} | {videos[3].id: UPLOAD.frames}
    for video_id, frames in wanted.items():
        own = generation.neighbours.embeddings[generation.segments_of(video_id)]
        np.testing.assert_allclose(unit(own), unit(scorer.score(frames).embeddings), atol=2e-3)
    assert generation.manifest.video_count == len(wanted)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_graph_of_blocks_gives_its_codes_and_embeddings_together(tmp_path, videos, batch):
    bundle, frames = Bundle.open(write_block_bundle(tmp_path, tiny_line())), [video.frames for video in videos]
    with OnnxScorer(bundle, batch=batch, threads=2) as scorer:
        blocks = list(scorer.codes_and_embeddings(frames))
        codes = np.concatenate(list(scorer.codes(frames, by_class=True)), axis=1)
        embeddings = np.concatenate([scorer.score(video).embeddings for video in frames])
    np.testing.assert_array_equal(np.concatenate([block for block, _ in blocks], axis=1), codes)
    np.testing.assert_allclose(np.concatenate([found for _, found in blocks]), embeddings, atol=1e-4)


def test_the_commands_tell_what_is_kept(tmp_path, command_line, tiny_bundle, shards):
    data, bundle = shards[0].parent / "library*.tfrecord", tiny_bundle.directory
    line = ("reindex", "--bundle", bundle, "--data", data, "--index", tmp_path, "--batch", 8, "--threads", 1)
    code, lines, told = command_line(*line, "--embeddings")
    assert (code, json.loads(lines[-1])["neighbours"]["embedding_size"]) == (0, SPEC.size), told
    assert json.loads(command_line(*line)[1][-1])["neighbours"] is None
    listed = [json.loads(line) for line in command_line("index", "list", tmp_path, "--json")[1]]
    assert [row["embeddings"] for row in listed] == [True, False]
    verified = [json.loads(command_line("index", "verify", tmp_path, number)[1][-1]) for number in (1, 2)]
    assert [facts["embeddings"] for facts in verified] == [True, False]
