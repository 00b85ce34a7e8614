"""A reindex over a live store: uploads are found before, during and after the switch; what was deleted stays away."""

import time

import numpy as np
import pytest

from segsearch.core.errors import BadRecord, DataError, LackingScores, StorageFailed
from segsearch.core.score_codes import encode_probabilities
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.delta import Delta
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.view import View
from segsearch.service.jobs.catching_up import CatchingUp
from segsearch.service.jobs.compaction import compact
from segsearch.service.jobs.engines import InProcess
from segsearch.service.jobs.live_videos import replay
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_model import SPEC

KEEP = 1000


@pytest.fixture
def store(tmp_path):
    """An empty live store."""
    with LiveStore.open(tmp_path / "live", SPEC.space, map_bytes=16 << 20) as opened:
        yield opened


@pytest.mark.parametrize("what", ["codes", "frames"])
def test_one_damaged_upload_keeps_no_other_from_being_scored_again(tmp_path, scorer, next_scorer, shards, what):
    videos, place, digest = make_videos(4, seed=21, prefix="up"), tmp_path / "live", scorer.bundle.digest
    with LiveStore.open(place, SPEC.space, map_bytes=16 << 20) as store:
        for video in videos:
            upload(store, scorer, video)
        data, damaged = store.path, store.get(videos[1].id)
    whole = (damaged.codes[digest] if what == "codes" else damaged.frames).tobytes()
    data.write_bytes(data.read_bytes().replace(whole, whole[:1] + bytes([whole[1] ^ 4]) + whole[2:]))  # old copies, too
    index = IndexDirectory(tmp_path / "index")
    with LiveStore.open(place, SPEC.space, map_bytes=16 << 20) as store:
        reindex(next_scorer, shards, index, keep=KEEP, store=store)
    left_out = {damaged.video_id} if what == "frames" else set()  # codes are made anew
    assert {video.id for video in videos} - set(ids_of(index)) == left_out


def codes_of(scorer, frames):
    return np.concatenate(list(scorer.codes([frames])))


def upload(store, scorer, video):
    """As a server does it that serves one bundle."""
    return store.put(video.id, video.frames, {scorer.bundle.digest: codes_of(scorer, video.frames)})


def ids_of(index):
    """Video ids of the published generation, in its order."""
    generation = index.open_current()
    ids, _ = generation.segments(np.arange(generation.manifest.segment_count))
    return list(dict.fromkeys(ids))


def found(index, store):
    """Every video that can be found now, with whose scores: the generation, with what changed behind it over it."""
    manifest = index.open_current().manifest
    changes = {change.video_id: change for change in store.changes(manifest.live_sequence, manifest.bundle.digest)}
    shown = dict.fromkeys(set(ids_of(index)) - set(changes), manifest.bundle.digest)
    for change in changes.values():
        if not change.deleted:
            assert change.codes is not None
            shown[change.video_id] = None if change.lacking else manifest.bundle.digest
    return shown


class Meanwhile:
    """Scores as this process does, and lets something happen behind the first shard."""

    def __init__(self, scorer, happens):
        self._engine, self._happens = InProcess(scorer), happens

    def run(self, tasks):
        for number, step in enumerate(self._engine.run(tasks)):
            if not number:
                self._happens()
            yield step


def test_uploads_come_behind_the_shards_in_order_of_sequence(tmp_path, store, scorer, shards, videos):
    new = make_videos(3, prefix="new", seed=5)
    for video in (new[2], new[0], new[1]):
        upload(store, scorer, video)
    index = IndexDirectory(tmp_path / "index")
    manifest = reindex(scorer, shards, index, keep=KEEP, store=store).manifest
    assert ids_of(index) == [*(video.id for video in videos), "new002", "new000", "new001"]
    assert (manifest.live_sequence, manifest.video_count) == (3, 33)


def test_an_upload_stands_in_for_the_shards_video_of_its_id(tmp_path, store, scorer, shards, videos):
    other = make_videos(9, seed=6)[4]
    upload(store, scorer, other)
    index = IndexDirectory(tmp_path / "index")
    reindex(scorer, shards, index, keep=KEEP, scores=True, store=store)
    generation = index.open_current()
    ids, _ = generation.segments(np.arange(generation.manifest.segment_count))
    rows = [row for row, video_id in enumerate(ids) if video_id == other.id]
    np.testing.assert_array_equal(generation.scores[rows], codes_of(scorer, other.frames))
    assert ids_of(index) == [*(video.id for video in videos if video.id != other.id), other.id]


def test_the_generation_is_that_of_a_library_that_never_held_what_was_deleted(
    tmp_path, store, tiny_bundle, shards, videos
):
    gone = {videos[3].id, videos[17].id}
    for video_id in gone:
        store.delete(video_id)
    index, never = IndexDirectory(tmp_path / "index"), IndexDirectory(tmp_path / "never")
    left = write_shards(tmp_path / "left", [video for video in videos if video.id not in gone])
    with OnnxScorer(tiny_bundle, batch=1, threads=1) as alone:  # a segment has no batch mates that could be others
        reindex(alone, shards, index, keep=20, scores=True, store=store)
        reindex(alone, left, never, keep=20, scores=True)
    assert index.open_current().manifest.files == never.open_current().manifest.files


def test_an_upload_during_a_reindex_is_found_before_during_and_after_the_switch(
    tmp_path, store, scorer, next_scorer, shards
):
    index, seen = IndexDirectory(tmp_path / "index"), []
    early, late = make_videos(2, prefix="new", seed=5)
    reindex(scorer, shards, index, keep=KEEP, store=store)
    upload(store, scorer, early)

    def happens():
        upload(store, scorer, late)
        seen.append(found(index, store))

    reindex(next_scorer, shards, index, keep=KEEP, store=store, engine=Meanwhile(next_scorer, happens))
    assert {early.id, late.id} <= seen[0].keys()
    manifest = index.open_current().manifest
    assert (manifest.number, manifest.live_sequence) == (2, 1)
    now = found(index, store)
    assert {now[early.id], now[late.id]} == {next_scorer.bundle.digest}  # nothing is shown by the old bundle's scores
    assert store.lacking(manifest.live_sequence, next_scorer.bundle.digest) == []


def test_what_is_deleted_or_replaced_during_a_reindex_does_not_come_back(
    tmp_path, store, scorer, next_scorer, shards, videos
):
    index = IndexDirectory(tmp_path / "index")
    first, second = make_videos(2, prefix="new", seed=5)
    for video in (first, second):
        upload(store, scorer, video)

    def happens():
        store.delete(first.id)
        store.delete(videos[20].id)
        upload(store, scorer, make_videos(2, prefix="new", seed=9)[1])

    reindex(next_scorer, shards, index, keep=KEEP, store=store, engine=Meanwhile(next_scorer, happens))
    shown = found(index, store)
    assert first.id not in shown
    assert videos[20].id not in shown
    assert shown[second.id] == next_scorer.bundle.digest


def test_a_deleted_video_stays_away_in_every_later_reindex(tmp_path, store, scorer, next_scorer, shards, videos):
    index = IndexDirectory(tmp_path / "index")
    store.delete(videos[0].id)
    for each in (scorer, next_scorer):
        reindex(each, shards, index, keep=KEEP, store=store)
    assert videos[0].id not in ids_of(index)


def test_an_upload_is_in_every_later_reindex(tmp_path, store, scorer, next_scorer, shards):
    index = IndexDirectory(tmp_path / "index")
    video = make_videos(1, prefix="new", seed=5)[0]
    upload(store, scorer, video)
    for each in (scorer, next_scorer):
        reindex(each, shards, index, keep=KEEP, store=store)
    assert ids_of(index)[-1] == video.id


def test_an_index_may_be_of_uploads_alone(tmp_path, store, scorer, shards, videos):
    upload(store, scorer, make_videos(1, prefix="new")[0])
    for video in videos:
        store.delete(video.id)
    index = IndexDirectory(tmp_path / "index")
    reindex(scorer, shards, index, keep=KEEP, store=store)
    assert ids_of(index) == ["new000"]


def test_where_everything_was_deleted_the_old_generation_stays(index, store, scorer, shards, videos):
    for video in videos:
        store.delete(video.id)
    with pytest.raises(DataError, match="none that can be used"):
        reindex(scorer, shards, index, keep=KEEP, store=store)
    assert index.current() == 1


def test_uploads_of_a_stopped_reindex_are_not_scored_again(tmp_path, store, scorer, shards, capsys):
    for video in make_videos(3, prefix="new", seed=5):
        upload(store, scorer, video)
    index, alone = IndexDirectory(tmp_path / "index"), IndexDirectory(tmp_path / "alone")
    reindex(scorer, shards, alone, keep=9, store=store)
    assert stop_behind_the_uploads(index, scorer, shards, store) == 3
    capsys.readouterr()
    assert reindex(scorer, shards, index, keep=9, store=store).resumed == 2
    assert "reindex: uploads: 0/3 videos" in capsys.readouterr().err
    assert index.open_current().manifest.files == alone.open_current().manifest.files


def stop_behind_the_uploads(index, scorer, shards, store):
    """A reindex that cannot publish: a file lies where its generation should go. Returns how many pieces are left."""
    index.root.mkdir()
    (index.root / "1").write_text("in the way")
    with pytest.raises(StorageFailed, match=r"1'"):
        reindex(scorer, shards, index, keep=9, store=store)
    (index.root / "1").unlink()
    return len(list(index.root.glob(".work-*/*.scores")))


def test_a_server_scores_again_what_the_model_before_scored_once_the_generation_s_own_is_loaded(
    tmp_path, store, scorer, next_scorer, shards
):
    index = IndexDirectory(tmp_path / "index")
    reindex(next_scorer, shards, index, keep=KEEP, store=store)
    library = SegmentLibrary(OnnxScorer(scorer.bundle, batch=8, threads=1), index, store)
    for video in make_videos(20, seed=5, prefix="up"):
        library.add(video.id, video.frames, 1)
    with CatchingUp(library.catch_up, look_every_s=0.01, retry_s=0.01):
        time.sleep(0.1)
        assert library.view().delta.lacking == 20, "it is not the generation's own model"
        with pytest.raises(LackingScores):
            compact(index, store)
        library.use(next_scorer)
        deadline = time.monotonic() + 60
        while library.view().delta.lacking:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    done = compact(index, store)
    assert done is not None
    rain = library.view().vocabulary.find("Rain")
    own = encode_probabilities(next_scorer.score(video.frames).probabilities[:, rain])
    page = library.search("Rain", KEEP, view=View.of(index.open_current(), Delta.empty(len(library.view().vocabulary))))
    assert done.manifest.bundle.digest == next_scorer.bundle.digest
    assert sorted(page.codes[[name == video.id for name in page.video_ids]].tolist()) == sorted(own.tolist())


def test_replay_ends_where_uploads_never_do(store, scorer, next_scorer):
    videos = iter(make_videos(40, prefix="new"))

    class Endless:
        """A store into which one video is put whenever it is asked what lacks."""

        def __getattr__(self, name):
            return getattr(store, name)

        def lacking(self, after, bundle):
            upload(store, scorer, next(videos))
            return store.lacking(after, bundle)

    assert 0 < replay(next_scorer, Endless(), 0) < 40
    assert len(store.lacking(0, next_scorer.bundle.digest)) < 3


def test_a_video_that_comes_twice_in_the_shards_is_an_error_even_where_an_upload_stands_in(
    tmp_path, store, scorer, videos
):
    upload(store, scorer, videos[1])
    files = write_shards(tmp_path / "twice", [*videos[:4], videos[1]])
    with pytest.raises(BadRecord, match="'v001' a second time"):
        reindex(scorer, files, IndexDirectory(tmp_path / "index"), keep=9, store=store)
