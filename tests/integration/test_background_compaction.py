"""A server compacts by itself: answers stay the same, one compaction at a time, and its failures hurt nobody."""

import io
import json
import signal
import threading
import time

import httpx
import numpy as np
import pytest

from segsearch.core.errors import ConfigError, IndexBusy
from segsearch.service.index.format import LIVE
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.background_compaction import BackgroundCompaction, CompactAt
from segsearch.service.jobs.reindex import reindex
from segsearch.service.jobs.reindex_process import ReindexJobs, Wish
from segsearch.service.jobs.taking_turns import turn
from segsearch.service.library import SegmentLibrary
from segsearch.service.settings import Settings
from tests.integration.test_serving_commands import TIMEOUT_S, server
from tests.library_fixtures import make_videos
from tests.tiny_model import SPEC

NEVER = CompactAt(rows=0, deleted=0.0)
SOON_S = 0.02


@pytest.fixture
def live(index, scorer):
    """The thirty videos and a live store."""
    with LiveStore.open(index.root / LIVE, SPEC.space) as store:
        yield SegmentLibrary(scorer, index, store)


def compacting(library, compact_at, retry_s=60.0):
    return BackgroundCompaction(library.index, library.view, compact_at, look_every_s=SOON_S, retry_s=retry_s)


def upload(library, count, prefix="up"):
    for video in make_videos(count, seed=9, prefix=prefix):
        library.add(video.id, video.frames, 1)


def wait_until(happened):
    deadline = time.monotonic() + TIMEOUT_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def events(caplog):
    """Name and facts of what was logged about compaction."""
    found = [json.loads(record.message) for record in caplog.records if record.name == "segsearch.service"]
    return [(event["event"], event) for event in found if event["event"].startswith("compaction")]


def told(caplog):
    return [name for name, _ in events(caplog)]


def answers(library):
    """The whole of every tag's list."""
    pages = [library.search(entry.name, 1_000) for entry in library.view().vocabulary.entries]
    return [(page.video_ids, page.starts.tolist(), page.codes.tolist()) for page in pages]


def test_many_live_segments_become_part_of_a_generation_and_answers_stay(live, caplog):
    caplog.set_level("INFO", "segsearch.service")
    upload(live, 4)
    before, rows = answers(live), len(live.view().delta.starts)
    with compacting(live, CompactAt(rows=rows, deleted=0.0)):
        wait_until(lambda: live.view().number == 2)
        assert answers(live) == before
        assert len(live.view().delta.starts) == 0
        wait_until(lambda: "compaction_ended" in told(caplog))
    (_, started), (_, ended) = events(caplog)
    assert (started["generation"], started["live_segments"]) == (1, rows)
    assert (ended["generation"], ended["changed"], ended["added"], ended["removed"]) == (2, True, rows, 0)


def test_many_deleted_videos_leave_the_generation(live, videos, caplog):
    caplog.set_level("INFO", "segsearch.service")
    for video in videos[:3]:
        live.delete(video.id)
    before = answers(live)
    with compacting(live, CompactAt(rows=0, deleted=0.1, least_deleted=3)):
        wait_until(lambda: live.view().number == 2)
    assert answers(live) == before
    assert live.view().manifest.video_count == len(videos) - 3


def test_it_waits_until_there_is_enough(live, videos):
    view = live.view()
    assert not CompactAt(rows=1, deleted=0.01, least_deleted=1).reached(view)
    upload(live, 1)
    live.delete(videos[0].id)
    view = live.view()
    rows = len(view.delta.starts)
    assert CompactAt(rows=rows, deleted=0.0).reached(view)
    assert not CompactAt(rows=rows + 1, deleted=0.0).reached(view)
    assert CompactAt(rows=0, deleted=1 / 30, least_deleted=1).reached(view)
    assert not CompactAt(rows=0, deleted=1 / 29, least_deleted=1).reached(view)
    assert not CompactAt(rows=0, deleted=1 / 30, least_deleted=2).reached(view)
    assert not NEVER.reached(view)


def test_while_somebody_else_writes_to_the_index_it_waits_says_so_once_and_searches_go_on(live, index, caplog):
    caplog.set_level("INFO", "segsearch.service")
    upload(live, 2)
    before = answers(live)
    with compacting(live, CompactAt(rows=1, deleted=0.0), retry_s=SOON_S):
        with index.building():
            wait_until(lambda: told(caplog).count("compaction_started") >= 3)
            assert answers(live) == before
        wait_until(lambda: live.view().number == 2)
    assert told(caplog).count("compaction_failed") == 1
    assert "another" in next(event["reason"] for name, event in events(caplog) if name == "compaction_failed")


def test_a_reindex_is_refused_at_once_while_a_compaction_begins(live, index, tiny_bundle, shards):
    """And not later, when both come to the index: then it would be a job that failed."""
    upload(live, 2)
    jobs = ReindexJobs(index, shards[0].parent)
    with compacting(live, CompactAt(rows=1, deleted=0.0)) as compaction:
        wait_until(lambda: compaction._process is not None)
        compaction._process.send_signal(signal.SIGSTOP)  # before it has come to the index
        try:
            with pytest.raises(IndexBusy):
                jobs.start(Wish(("*.tfrecord",)), tiny_bundle)
        finally:
            compaction._process.send_signal(signal.SIGCONT)


def test_a_compaction_waits_for_what_another_server_has_started(live, index, caplog):
    caplog.set_level("INFO", "segsearch.service")
    upload(live, 2)
    with compacting(live, CompactAt(rows=1, deleted=0.0), retry_s=SOON_S):
        with turn(index):
            wait_until(lambda: told(caplog).count("compaction_started") >= 2)
        wait_until(lambda: live.view().number == 2)
    reasons = [event["reason"] for name, event in events(caplog) if name == "compaction_failed"]
    assert len(reasons) == 1
    assert "another" in reasons[0]


def test_two_servers_of_one_index_do_not_compact_the_same_twice(live, index, scorer):
    upload(live, 3)
    other = SegmentLibrary(scorer, index, live.store)
    with compacting(live, CompactAt(rows=1, deleted=0.0)), compacting(other, CompactAt(rows=1, deleted=0.0)):
        wait_until(lambda: live.view().number >= 2 and other.view().number >= 2)
        time.sleep(20 * SOON_S)
    assert index.numbers() == [1, 2]


def test_a_compaction_under_way_at_the_end_is_given_up_and_leaves_the_old_generation(live, index, caplog):
    caplog.set_level("INFO", "segsearch.service")
    upload(live, 2)
    before = answers(live)
    with compacting(live, CompactAt(rows=1, deleted=0.0)):
        wait_until(lambda: "compaction_started" in told(caplog))
    assert told(caplog) == ["compaction_started", "compaction_given_up"]
    assert (index.current(), answers(live)) == (1, before)
    with index.building():
        pass
    assert index.numbers() == [1]


def test_a_server_compacts_by_itself_says_so_and_keeps_as_many_generations_as_it_was_told(
    index, tiny_bundle, scorer, shards
):
    for _ in range(3):
        reindex(scorer, shards, index, keep=10, keep_generations=4)
    body = io.BytesIO()
    np.save(body, np.random.default_rng(3).integers(0, 256, (40, SPEC.size), np.uint8))
    with (
        server(index, tiny_bundle, "--compact-at-rows", 8, "--keep-generations", 5) as (url, process),
        httpx.Client(base_url=url, timeout=TIMEOUT_S) as client,
    ):
        upload = {"params": {"video_id": "mine", "index": True}, "headers": {"Content-Type": "application/x-npy"}}
        client.post("/score", content=body.getvalue(), **upload).raise_for_status()
        question = {"tag": "Rain", "k": 10}
        wait_until(lambda: client.get("/search", params=question).json()["generation"]["number"] == 5)
        # The generation is served a moment before the process that wrote it has ended, and been told of.
        talk: list[str] = []
        reader = threading.Thread(target=lambda: talk.extend(process.stderr))
        reader.start()
        wait_until(lambda: any("compaction_ended" in line for line in talk))
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
        reader.join()
    names = [json.loads(line)["event"] for line in talk if line.startswith("{")]
    assert names.index("compaction_started") < names.index("compaction_ended")
    assert index.numbers() == [1, 2, 3, 4, 5]


def test_settings_that_no_library_can_reach_are_refused():
    for field, value in (("compact_at_rows", -1), ("compact_at_deleted", 1.5), ("compact_at_deleted", -0.1)):
        with pytest.raises(ConfigError, match=field):
            Settings(**{field: value})
