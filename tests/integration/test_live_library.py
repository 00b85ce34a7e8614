"""Uploads and deletions through the library: at once in every answer, and the same answers after compaction."""

import json

import numpy as np
import pytest

from segsearch.core.errors import NotIndexing, UnknownGeneration, UnknownVideo
from segsearch.core.score_codes import PROBABILITIES, encode_probabilities
from segsearch.core.segments import segment_starts
from segsearch.service.index.format import LIVE
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.compaction import compact
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SEARCH_LIMIT, SegmentLibrary
from tests.library_fixtures import make_videos

UPLOADS = make_videos(6, seed=7, prefix="up")


@pytest.fixture
def store(index, scorer):
    with LiveStore.open(index.root / LIVE, scorer.bundle.manifest.features.space) as opened:
        yield opened


@pytest.fixture
def live(scorer, index, store):
    return SegmentLibrary(scorer, index, store)


def everything(library):
    """All segments of every tag: ids, starts, codes."""
    answers = {}
    for entry in library.view().vocabulary.entries:
        page = library.search(str(entry.label_index), SEARCH_LIMIT)
        answers[entry.name] = (page.video_ids, page.starts.tolist(), page.codes.tolist())
    return answers


def upload_all(library):
    for video in UPLOADS:
        library.add(video.id, video.frames, 1)


@pytest.mark.parametrize("what", ["codes", "frames"])
def test_one_damaged_upload_is_hidden_and_keeps_no_other_from_being_found(scorer, index, what):
    space, digest = scorer.bundle.manifest.features.space, scorer.bundle.digest
    with LiveStore.open(index.root / LIVE, space) as store:
        upload_all(SegmentLibrary(scorer, index, store))
        data, damaged = store.path, store.get(UPLOADS[2].id)
    whole = (damaged.codes[digest] if what == "codes" else damaged.frames).tobytes()
    data.write_bytes(data.read_bytes().replace(whole, whole[:1] + bytes([whole[1] ^ 4]) + whole[2:]))  # old copies, too
    names = {video.id for video in UPLOADS}
    shown = names - ({damaged.video_id} if what == "codes" else set())
    with LiveStore.open(index.root / LIVE, space) as store:
        library = SegmentLibrary(scorer, index, store)
        assert names & set(library.search("Rain", SEARCH_LIMIT).video_ids) == shown
        compact(index, store)
        library.refresh()
        assert names & set(library.search("Rain", SEARCH_LIMIT).video_ids) == shown
        library.delete(damaged.video_id)
        assert damaged.video_id not in library.search("Rain", SEARCH_LIMIT).video_ids
        with pytest.raises(UnknownVideo):
            library.delete(damaged.video_id)
        library.add(damaged.video_id, UPLOADS[2].frames, 1)
        assert names <= set(library.search("Rain", SEARCH_LIMIT).video_ids)
        store.verify()


def test_an_upload_is_in_the_next_answer(live, scorer):
    before = live.search("Rain", SEARCH_LIMIT)
    video = UPLOADS[0]
    scored, stored = live.add(video.id, video.frames, 3)
    after = live.search("Rain", SEARCH_LIMIT)
    assert (before.sequence, after.sequence, stored.unchanged) == (0, stored.sequence, False)
    own = {
        start: code
        for name, start, code in zip(after.video_ids, after.starts, after.codes, strict=True)
        if name == video.id
    }
    rain = encode_probabilities(scorer.score(video.frames).probabilities[:, live.view().vocabulary.find("Rain")])
    assert own == dict(zip(segment_starts(len(video.frames)).tolist(), rain.tolist(), strict=True))
    assert len(after.video_ids) == len(before.video_ids) + len(own)
    assert (np.diff(after.codes.astype(int)) <= 0).all()
    np.testing.assert_array_equal(scored.starts, segment_starts(len(video.frames)))


def test_the_same_upload_twice_is_there_once(live):
    first = live.add("twice", UPLOADS[0].frames, 1)[1]
    again = live.add("twice", UPLOADS[0].frames, 1)[1]
    assert (again.sequence, again.unchanged) == (first.sequence, True)
    assert live.search("Rain", SEARCH_LIMIT).video_ids.count("twice") == len(segment_starts(len(UPLOADS[0].frames)))


def test_an_upload_replaces_what_had_its_id_in_the_generation_and_live(live, videos):
    name = videos[3].id
    for frames in (UPLOADS[0].frames, UPLOADS[1].frames):
        live.add(name, frames, 1)
        assert live.search("Rain", SEARCH_LIMIT).video_ids.count(name) == len(segment_starts(len(frames)))


def test_a_deleted_video_is_in_no_answer_and_stays_away(live, index, scorer, store, videos):
    live.add(UPLOADS[0].id, UPLOADS[0].frames, 1)
    for name in (UPLOADS[0].id, videos[5].id):
        live.delete(name)
        with pytest.raises(UnknownVideo, match=name):
            live.delete(name)
    again = SegmentLibrary(scorer, index, store)
    for library in (live, again):
        for ids, _, _ in everything(library).values():
            assert not {UPLOADS[0].id, videos[5].id} & set(ids)


def test_counts_and_strips_follow_uploads_and_deletions(live, videos):
    counted = live.tags("Rain", 1).counts[0][1]
    live.add("new", UPLOADS[0].frames, 1)
    live.delete(videos[5].id)
    change = len(segment_starts(len(UPLOADS[0].frames))) - len(segment_starts(len(videos[5].frames)))
    assert live.tags("Rain", 1).counts[0][1] == counted + change
    page = live.search("Rain", SEARCH_LIMIT)
    strip = live.strip("new", ["Rain"])
    own = {
        start: code
        for name, start, code in zip(page.video_ids, page.starts.tolist(), page.codes.tolist(), strict=True)
        if name == "new"
    }
    assert strip.known.all()
    assert dict(zip(strip.starts.tolist(), strip.codes[0].tolist(), strict=True)) == own
    with pytest.raises(UnknownVideo):
        live.strip(videos[5].id, ["Rain"])


def test_a_view_that_is_held_does_not_see_what_comes_later(live, videos):
    held = live.view()
    before = held.best(held.vocabulary.find("Rain"), 1000)
    upload_all(live)
    live.delete(videos[0].id)
    after = held.best(held.vocabulary.find("Rain"), 1000)
    np.testing.assert_array_equal(before.places, after.places)
    np.testing.assert_array_equal(before.codes, after.codes)


def test_a_library_without_a_store_says_that_it_takes_nothing(library):
    with pytest.raises(NotIndexing):
        library.add("new", UPLOADS[0].frames, 1)
    with pytest.raises(NotIndexing):
        library.delete("v001")


def test_answers_are_the_same_after_compaction_and_after_going_back(live, index, store, videos):
    upload_all(live)
    live.delete(videos[2].id)
    live.delete(UPLOADS[1].id)
    live.add(videos[4].id, UPLOADS[2].frames, 1)
    before = everything(live)
    done = compact(index, store)
    live.refresh()
    assert (live.view().number, done.manifest.live_sequence) == (2, store.sequence)
    assert len(live.view().delta.starts) == 0
    assert everything(live) == before
    index.activate(1)
    live.refresh()
    assert live.view().number == 1
    assert everything(live) == before


def test_compaction_with_everybody_s_scores_keeps_them(live, index, store, scorer, shards, videos):
    reindex(scorer, shards, index, keep=4, scores=True)
    live.refresh()
    upload_all(live)
    live.delete(videos[2].id)
    before = everything(live)
    assert all(len(ids) == live.view().segment_count for ids, _, _ in before.values())  # refilled beyond the four kept
    compact(index, store)
    live.refresh()
    assert everything(live) == before
    live.view().generation.verify()


def test_lists_that_deletions_shorten_stay_exact_and_say_so(live, index, scorer, shards):
    reindex(scorer, shards, index, keep=20)
    live.refresh()
    full = live.search("Rain", 20)
    live.delete(full.video_ids[0])
    after = live.search("Rain", 20)
    wanted = [
        segment for segment in zip(full.video_ids, full.starts.tolist(), strict=True) if segment[0] != full.video_ids[0]
    ]
    assert list(zip(after.video_ids, after.starts.tolist(), strict=True)) == wanted
    assert (full.complete, after.complete) == (True, False)


def test_what_arrives_during_a_compaction_stays_live(live, index, store):
    upload_all(live)
    compact(index, store)
    live.add("later", UPLOADS[0].frames, 1)
    live.refresh()
    assert live.view().number == 2
    assert live.search("Rain", SEARCH_LIMIT).video_ids.count("later") == len(segment_starts(len(UPLOADS[0].frames)))


def test_the_command_compacts_what_a_server_stored(index, scorer, videos, command_line):
    with LiveStore.open(index.root / LIVE, scorer.bundle.manifest.features.space) as store:
        live = SegmentLibrary(scorer, index, store)
        upload_all(live)
        live.delete(videos[2].id)
        before, segments = everything(live), live.view().segment_count
    code, lines, _ = command_line("index", "compact", index.root)
    told = json.loads(lines[-1])
    assert (code, told["generation"], told["segments"]) == (0, 2, segments)
    assert told["removed"] == len(segment_starts(len(videos[2].frames)))
    assert everything(SegmentLibrary(scorer, index)) == before
    assert json.loads(command_line("index", "compact", index.root)[1][-1])["changed"] is False


def test_an_index_that_nothing_was_uploaded_to_says_so(index, command_line):
    code, _, told = command_line("index", "compact", index.root)
    assert code == 1
    assert "no live store" in told


def test_without_a_change_there_is_nothing_to_compact(index, store):
    assert compact(index, store) is None
    with pytest.raises(UnknownGeneration):
        index.open(2)


def test_min_score_cuts_where_the_probability_falls_below(live):
    page = live.search("Rain", SEARCH_LIMIT)
    middle = float(PROBABILITIES[page.codes[len(page.codes) // 2]])
    cut = live.search("Rain", SEARCH_LIMIT, min_score=middle)
    assert (PROBABILITIES[cut.codes] >= np.float32(middle)).all()
    assert len(cut.codes) == int((PROBABILITIES[page.codes] >= np.float32(middle)).sum())
    assert cut.complete


def test_per_video_lets_other_videos_move_up(live):
    page = live.search("Rain", 10, per_video=1)
    assert len(set(page.video_ids)) == len(page.video_ids) == 10


def test_moments_hold_the_segments_of_the_search(live):
    page, merged = live.search("Rain", 60), live.moments("Rain", 60)
    spans = {(name, start) for name, start in zip(page.video_ids, page.starts.tolist(), strict=True)}
    held = {
        (name, start)
        for name, first, end in zip(merged.video_ids, merged.starts.tolist(), merged.ends.tolist(), strict=True)
        for start in range(first, end, 5)
    }
    assert held == spans
    assert len(merged.video_ids) < len(page.video_ids)


def test_several_tags_are_answered_from_live_segments_too(live):
    upload_all(live)
    first, second = (entry.name for entry in live.view().vocabulary.entries[:2])
    both = live.search(f'"{first}" and "{second}"', SEARCH_LIMIT)
    scores = [live.search(f'"{name}"', SEARCH_LIMIT) for name in (first, second)]
    codes = [
        dict(zip(zip(page.video_ids, page.starts.tolist(), strict=True), page.codes.tolist(), strict=True))
        for page in scores
    ]
    found = zip(zip(both.video_ids, both.starts.tolist(), strict=True), both.codes.tolist(), strict=True)
    assert all(code == min(codes[0][segment], codes[1][segment]) for segment, code in found)
    assert len(both.codes) == live.view().segment_count
    assert {video.id for video in UPLOADS} <= set(both.video_ids)
