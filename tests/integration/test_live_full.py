"""Without room, an upload is refused in words and reading goes on; with room again, so does writing, at once."""

import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest

from segsearch.core.errors import StorageFailed, StorageFull
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from tests.conftest import ROOT
from tests.live_videos import SPACE, frames_of

BIG = 4_000  # frames


def fill(store, limit=10_000, frame_count=BIG):
    """Uploads until there is no room; returns how many were acknowledged."""
    for number in range(limit):
        try:
            store.put(f"v{number}", frames_of(number, frame_count), {})
        except StorageFull:
            return number
    raise AssertionError(f"{limit} uploads found room")


def check_all(store, count, first=0):
    store.verify()
    assert [video.video_id for video in store.videos()] == [f"v{number}" for number in range(first, count)]
    np.testing.assert_array_equal(store.get(f"v{count - 1}").frames, frames_of(count - 1, BIG))


def test_a_store_at_its_limit_reads_deletes_and_takes_uploads_again(tmp_path):
    with LiveStore.open(tmp_path, SPACE, map_bytes=6 << 20) as store:
        count = fill(store)
        assert count > 10
        with pytest.raises(StorageFull, match="map_bytes"):
            store.put("late", frames_of(1, BIG), {})
        check_all(store, count)
        for number in range(4):
            store.delete(f"v{number}")
        assert store.put("late", frames_of(1, BIG), {}).sequence == count + 5
        store.delete("late")
        check_all(store, count, first=4)


def test_a_store_at_its_limit_of_many_small_videos_can_be_emptied(tmp_path):
    with LiveStore.open(tmp_path, SPACE, map_bytes=16 << 20) as store:
        count = fill(store, frame_count=1_000)
        assert count > 200
        for number in range(count):
            store.delete(f"v{number}")
        assert list(store.videos()) == []
        assert not store.put("again", frames_of(1, 100), {}).unchanged


def test_an_upload_larger_than_the_store_is_refused_again_and_again(tmp_path):
    with LiveStore.open(tmp_path, SPACE, map_bytes=4 << 20) as store:
        for _ in range(3):
            with pytest.raises(StorageFull):
                store.put("huge", np.zeros((6 << 20, 1), np.uint8), {})
        assert not store.put("small", frames_of(1), {}).unchanged


# Fills a file system or a file size limit, makes room, goes on; run in a process of its own.
FILLED = """
import resource, sys
from pathlib import Path
from segsearch.service.index.live.store import LiveStore
from tests.integration.test_live_full import BIG, SPACE, check_all, fill, frames_of

directory, how = Path(sys.argv[1]), sys.argv[2]
with LiveStore.open(directory / "live", SPACE) as store:
    ballast = directory / "ballast"
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, resource.RLIM_INFINITY))
    else:
        ballast.write_bytes(bytes(2 << 20))
    count = fill(store)
    check_all(store, count)
    assert fill(store) == count, "what is there already is acknowledged without room"
    deleted = 1 if how == "deletion" else 0
    if how == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    elif how == "ballast":
        ballast.unlink()
    for number in range(deleted):
        store.delete(f"v{number}")
    assert store.put(f"v{count}", frames_of(count, BIG), {}).sequence == count + deleted + 1
    check_all(store, count + 1, deleted)
with LiveStore.open(directory / "live", SPACE) as store:
    check_all(store, count + 1, deleted)
print("went on after", count)
"""


def run(words):
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("went on after")


def test_a_file_size_limit_is_answered_by_storage_full_until_it_is_lifted(tmp_path):
    run([sys.executable, "-c", FILLED, str(tmp_path), "limit"])


def run_on_a_small_disk(tmp_path, *words):
    """Runs a command while a file system of 8 MB is mounted at `tmp_path`; skips where that may not be done."""
    mount = f"mount -t tmpfs -o size=8m none {tmp_path}"
    may = shutil.which("unshare") and subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False
    )
    if not may or may.returncode:
        pytest.skip("a small file system cannot be mounted here")
    run(["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh", *words])


@pytest.mark.parametrize("how", ["ballast", "deletion"])
def test_a_full_file_system_is_answered_by_storage_full_until_there_is_room(tmp_path, how):
    run_on_a_small_disk(tmp_path, sys.executable, "-c", FILLED, str(tmp_path), how)


# Makes a generation again and again, each time with a page more room, until there is enough; in a process of its own.
PUBLISHED = """
import os, sys
from pathlib import Path
from segsearch.core.bundle import Bundle
from segsearch.core.errors import StorageFull
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.compaction import compact
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from tests.library_fixtures import make_videos

root, bundle, shard, how = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
index, ballast = IndexDirectory(root / "index"), root / "ballast"

def fill_up(left):
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4_096)):
                pass
        except OSError:
            file.truncate(max(0, file.tell() - left))

def publish():
    if how == "compact":
        return compact(index, store)
    return reindex(scorer, [shard], index, keep=1_000, scores=True, store=store)

with OnnxScorer(Bundle.open(bundle), batch=8) as scorer:
    reindex(scorer, [shard], index, keep=1_000, scores=True)
    with LiveStore.open(index.root / LIVE, scorer.bundle.manifest.features.space) as store:
        library = SegmentLibrary(scorer, index, store)
        for video in make_videos(4, seed=5, prefix="up"):
            library.add(video.id, video.frames, 1)
        def found():
            page = library.search("Rain", 1_000)
            return page.generation.number, sorted(zip(page.video_ids, page.starts.tolist(), page.codes.tolist()))
        before, refused = found(), 0
        for pages in range(10_000):
            fill_up(4_096 * pages)
            try:
                done = publish()
                break
            except StorageFull:
                refused += 1
            except OSError as error:
                assert error.errno == 28, error
                refused += 1
            assert (index.current(), index.numbers(), found()) == (1, [1], before)
            assert not [path for path in index.root.iterdir() if path.name.startswith((".building", ".removing"))]
            ballast.unlink()
        library.refresh()
        assert index.numbers() == [1, 2] and found() == (2, before[1]), (index.numbers(), found(), before)
        ballast.unlink()
        assert refused > 5, refused
print("went on after", refused)
"""


@pytest.mark.parametrize("how", ["compact", "reindex"])
def test_a_generation_that_finds_no_room_leaves_the_one_before_and_nothing_else(tmp_path, tiny_bundle, shards, how):
    where = [str(tmp_path), str(tiny_bundle.directory), str(shards[0]), how]
    run_on_a_small_disk(tmp_path, sys.executable, "-c", PUBLISHED, *where)


# Makes generations current on a disk that is full, and again once it is not; in a process of its own.
ACTIVATED = """
import sys
from pathlib import Path
import pytest
from segsearch.core.errors import StorageFull
from segsearch.service.index.index_directory import IndexDirectory
from tests.unit.test_index_generation import publish

index, ballast = IndexDirectory(Path(sys.argv[1]) / "index"), Path(sys.argv[1]) / "ballast"

class OnAFullDisk(IndexDirectory):
    def publish(self, *given, **named):
        fill_up()
        super().publish(*given, **named)

def fill_up():
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while file.write(bytes(4_096)):
            pass

publish(index), publish(index)
fill_up()
with pytest.raises(StorageFull, match="No space left on device; wanted room"):
    index.activate(1)
assert (index.current(), index.numbers()) == (2, [1, 2])
ballast.unlink()
with pytest.raises(StorageFull):
    publish(OnAFullDisk(index.root))
assert (index.current(), index.numbers()) == (2, [1, 2])
ballast.unlink()
index.activate(1)
assert (publish(index), index.current()) == (3, 3)
print("went on after")
"""


def test_a_generation_that_cannot_become_current_for_want_of_room_is_answered_by_storage_full(tmp_path):
    run_on_a_small_disk(tmp_path, sys.executable, "-c", ACTIVATED, str(tmp_path))


def test_a_lock_that_cannot_be_taken_for_want_of_descriptors_is_answered_by_storage_failed(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(StorageFailed) as refused:
            IndexDirectory(tmp_path).check_idle()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not isinstance(refused.value, StorageFull)
