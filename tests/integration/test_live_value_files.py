"""Long arrays of a live store lie beside LMDB's file: they are found out where they are damaged, and their room comes
back, whoever reads and writes meanwhile.
"""

import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from segsearch.core.errors import LiveStoreCorrupt, StorageFull
from segsearch.service.index.live.environment import Environment
from segsearch.service.index.live.format import CHANGES, DATA_FILE, FREED_PREFIX, META, TAKEN_KEY, VALUES_FOLDER
from segsearch.service.index.live.store import LiveStore
from tests.conftest import ROOT
from tests.live_videos import BUNDLE, SPACE, codes_of, frames_of, put

LONG = 4_000  # frames: 96 KB, and 48 KB of codes
VIDEOS = 6
VIDEOS_BYTES = VIDEOS * 147_456  # in whole blocks


@pytest.fixture
def directory(tmp_path):
    """A closed store of long videos."""
    folder = tmp_path / "live"
    with LiveStore.open(folder, SPACE) as store:
        for number in range(VIDEOS):
            put(store, f"v{number}", number, frame_count=LONG)
    return folder


def value_files(directory):
    return sorted((directory / VALUES_FOLDER).iterdir())


def disk_bytes(directory):
    return sum(path.stat().st_blocks * 512 for path in value_files(directory))


def flip(path, place):
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def test_a_flipped_bit_is_found_never_served_and_mended_by_the_same_upload(directory):
    (path,) = value_files(directory)
    content = path.read_bytes()
    flip(path, content.index(frames_of(2, LONG).tobytes()) + 5_000)
    flip(path, content.index(codes_of(3, BUNDLE, LONG).tobytes()) + 7)
    with LiveStore.open(directory, SPACE) as store:
        for table, video_id in (("frames", "v2"), ("codes", "v3")):
            with pytest.raises(LiveStoreCorrupt, match=rf"table {table}, record \w+: xxh3 .* in value file \w+"):
                store.get(video_id)
        with pytest.raises(LiveStoreCorrupt):
            store.verify()
        np.testing.assert_array_equal(store.get("v4").frames, frames_of(4, LONG))
        assert not put(store, "v2", 2, frame_count=LONG).unchanged
        store.delete("v3")
        store.verify()
        np.testing.assert_array_equal(store.get("v2").frames, frames_of(2, LONG))


def test_a_file_that_is_cut_or_missing_or_anothers_is_found(directory):
    with LiveStore.open(directory, SPACE) as store:
        put(store, "other", 9, frame_count=LONG)
    paths = value_files(directory)
    small, large = sorted(paths, key=lambda path: path.stat().st_size)
    contents = {path: path.read_bytes() for path in paths}
    with LiveStore.open(directory, SPACE) as store:
        store.verify()
    for damage in ({large: contents[large][:-1]}, {large: b""}, {large: None}, {small: contents[large]}):
        for path, content in damage.items():
            path.unlink()
            if content is not None:
                path.write_bytes(content)
        with LiveStore.open(directory, SPACE) as store:
            with pytest.raises(LiveStoreCorrupt):
                store.verify()
            served = [
                video_id
                for video_id in (*(f"v{number}" for number in range(VIDEOS)), "other")
                if whole(store, video_id)
            ]
            assert ("other" in served) == (small not in damage)
        for path, content in contents.items():
            path.write_bytes(content)


def whole(store, video_id):
    """Whether a video is served; and then it is what was uploaded."""
    seed = 9 if video_id == "other" else int(video_id[1:])
    try:
        video = store.get(video_id)
    except LiveStoreCorrupt:
        return False
    np.testing.assert_array_equal(video.frames, frames_of(seed, LONG))
    np.testing.assert_array_equal(video.codes[BUNDLE], codes_of(seed, BUNDLE, LONG))
    return True


def test_room_comes_back_however_often_everything_is_replaced(directory):
    with LiveStore.open(directory, SPACE) as store:
        for turn in range(1, 8):
            for number in range(VIDEOS):
                put(store, f"v{number}", 100 * turn + number, frame_count=LONG)
        store.verify()
        assert disk_bytes(directory) < 1.5 * VIDEOS_BYTES
        assert len(value_files(directory)) == 1, "that of the process before is gone"
        for number in range(VIDEOS):
            store.delete(f"v{number}")
        store.delete("nothing")  # what a commit leaves is emptied by the next
        store.verify()
        assert disk_bytes(directory) < 1 << 16
    with LiveStore.open(directory, SPACE) as store:
        for _ in range(2):
            put(store, "a", frame_count=7 if store.sequence % 2 else 8)
        assert value_files(directory) == []


def test_refused_and_repeated_uploads_leave_no_bytes(tmp_path):
    with LiveStore.open(tmp_path, SPACE, map_bytes=4 << 20) as store:
        for _ in range(3):
            with pytest.raises(StorageFull, match="map_bytes"):
                store.put("huge", np.ones((6 << 20, 1), np.uint8), {})
        assert disk_bytes(tmp_path) < 1 << 16
        put(store, "a", 1, frame_count=LONG)
        before = disk_bytes(tmp_path)
        assert put(store, "a", 1, frame_count=LONG).unchanged
        assert disk_bytes(tmp_path) == before


def test_who_iterates_finds_all_that_was_there_and_room_comes_back_then(directory):
    with LiveStore.open(directory, SPACE) as store:
        videos = store.videos()
        first = next(videos)
        for turn in (1, 2, 3):
            for number in range(VIDEOS):
                put(store, f"v{number}", 100 * turn + number, frame_count=LONG)
        assert disk_bytes(directory) >= 4 * VIDEOS_BYTES
        for number, video in enumerate([first, *videos]):
            np.testing.assert_array_equal(video.frames, frames_of(number, LONG))
        store.delete("nothing")
        assert disk_bytes(directory) < 1.5 * VIDEOS_BYTES
        store.verify()


READER = """
import sys
from pathlib import Path
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import SPACE
with LiveStore.open(Path(sys.argv[1]), SPACE, readonly=True) as store:
    videos = store.videos()
    found = [next(videos).frames.tobytes()]
    print("reading", flush=True)
    sys.stdin.readline()
    found += [video.frames.tobytes() for video in videos]
    print(len(found), sum(map(sum, found)), flush=True)
"""


def test_another_process_that_reads_loses_nothing(directory):
    words = [sys.executable, "-c", READER, str(directory)]
    reader = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert reader.stdout.readline() == "reading\n"
    with LiveStore.open(directory, SPACE) as store:
        for turn in (1, 2):
            for number in range(VIDEOS):
                put(store, f"v{number}", 100 * turn + number, frame_count=LONG)
        store.verify()
    said = reader.communicate("\n")[0].split()
    total = sum(int(frames_of(number, LONG).sum(dtype=np.int64)) for number in range(VIDEOS))
    assert (reader.returncode, said) == (0, [str(VIDEOS), str(total)])


WRITER = """
import sys
from pathlib import Path
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import SPACE, put
with LiveStore.open(Path(sys.argv[1]), SPACE) as store:
    for number in range(40):
        put(store, f"{sys.argv[2]}-{number % 5}", number, frame_count=2_000)
        if number % 5 == 2:
            store.delete(f"shared-{number % 3}")
        else:
            put(store, f"shared-{number % 3}", number, frame_count=1_000)
"""


def test_two_processes_append_and_empty_at_once(directory):
    words = [sys.executable, "-c", WRITER, str(directory)]
    writers = [subprocess.Popen([*words, name], cwd=ROOT) for name in ("one", "two")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    with LiveStore.open(directory, SPACE) as store:
        store.verify()
        for name in ("one", "two"):
            for number in range(35, 40):
                np.testing.assert_array_equal(store.get(f"{name}-{number % 5}").frames, frames_of(number, 2_000))
        np.testing.assert_array_equal(store.get("v0").frames, frames_of(0, LONG))


KILLED = """
import os, sys
from pathlib import Path
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import SPACE, frames_of
store = LiveStore.open(Path(sys.argv[1]), SPACE)
store._environment.append([frames_of(1, 4_000).data.cast("B")])
os.kill(os.getpid(), 9)
"""


def test_a_file_that_a_killed_process_never_referred_to_is_removed(directory):
    before = value_files(directory)
    subprocess.run([sys.executable, "-c", KILLED, str(directory)], cwd=ROOT, check=False)
    assert len(value_files(directory)) == len(before) + 1
    with LiveStore.open(directory, SPACE) as store:
        store.delete("v0")
        store.delete("v1")
        assert value_files(directory) == before
        store.verify()


def test_added_codes_lie_in_value_files_and_are_followed(directory):
    other = "d" * 64
    with LiveStore.open(directory, SPACE) as store:
        wanted = {f"v{number}": codes_of(number, other, LONG) for number in range(VIDEOS)}
        store.add_codes(other, {entry.video_id: (entry.sequence, wanted[entry.video_id]) for entry in store.entries()})
        before = disk_bytes(directory)
        store.add_codes(other, {"v1": (2, wanted["v1"])})
        assert disk_bytes(directory) == before, "it is there already"
        for change in store.changes(0, other):
            np.testing.assert_array_equal(change.codes, wanted[change.video_id])
        store.verify()


def test_the_same_frames_for_another_bundle_keep_what_the_first_said(directory):
    other = "d" * 64
    with LiveStore.open(directory, SPACE) as store:
        put(store, "v1", 1, (other,), frame_count=LONG)
        put(store, "v0", 50, frame_count=LONG)
        store.delete("v2")
        video = store.get("v1")
        np.testing.assert_array_equal(video.codes[BUNDLE], codes_of(1, BUNDLE, LONG))
        np.testing.assert_array_equal(video.codes[other], codes_of(1, other, LONG))
        store.verify()
        assert disk_bytes(directory) < VIDEOS_BYTES + 2 * 49_152, "they lie where they lay; the next commit empties v2"


def test_an_upload_that_finds_no_room_is_refused_soon_whoever_reads(directory, monkeypatch):
    really, commits = Environment.writing, []

    @contextmanager
    def writing(environment):
        with really(environment) as transaction:
            before = transaction.stat(environment.tables[CHANGES])
            yield transaction
            commits.append(transaction.stat(environment.tables[CHANGES]) != before)
            if commits[-1]:
                raise StorageFull(environment.path, "no room")

    with LiveStore.open(directory, SPACE) as store:
        put(store, "v0", 50, frame_count=LONG)
        videos = store.videos()
        next(videos)  # what is freed from here on cannot be given back
        store.delete("v1")
        monkeypatch.setattr(Environment, "writing", writing)
        with pytest.raises(StorageFull, match="no room"):
            put(store, "more", 7, frame_count=LONG)
        assert len(commits) < 8
        assert commits.count(True) == 2, "once more after room was made"
        monkeypatch.undo()
        put(store, "more", 7, frame_count=LONG)
        store.verify()


def records_of(store, table, prefix):
    with store._snapshot() as snapshot:
        return [(key, bytes(value)) for key, value in snapshot.items(table, prefix)]


def flip_record(directory, key, value, place):
    """A bit of a record's key and value, on whatever page it stands."""
    found = list(re.finditer(re.escape(key + value), (directory / DATA_FILE).read_bytes()))
    assert found
    for match in found:
        flip(directory / DATA_FILE, match.start() + place)


def test_a_flipped_bit_in_what_is_noted_is_found_and_hinders_nobody(directory):
    with LiveStore.open(directory, SPACE) as store:
        put(store, "v0", 50, frame_count=LONG)
        noted = [record for prefix in (TAKEN_KEY, FREED_PREFIX) for record in records_of(store, META, prefix)]
    assert len(noted) == 4, "of all, of two files, and of what was freed"
    for key, value in noted:
        for place in (len(key + value) - 1, *([len(key) - 1] if b"/" in key else [])):  # `taken` in its key: not opened
            copy = directory.with_name("copy")
            shutil.copytree(directory, copy)
            flip_record(copy, key, value, place)
            goes_on(copy)
            shutil.rmtree(copy)


def goes_on(directory):
    """A store with such damage."""
    with LiveStore.open(directory, SPACE) as store:
        with pytest.raises(LiveStoreCorrupt, match=r"table meta, record (taken|freed)"):
            store.verify()
        put(store, "more", 7, frame_count=LONG)
        for seed in (8, 9):
            put(store, "small", seed)
        np.testing.assert_array_equal(store.get("v0").frames, frames_of(50, LONG))
        for number in range(1, VIDEOS):
            np.testing.assert_array_equal(store.get(f"v{number}").frames, frames_of(number, LONG))
        for number in range(VIDEOS):
            store.delete(f"v{number}")
        for seed in (10, 11):
            put(store, "small", seed)
        np.testing.assert_array_equal(store.get("more").frames, frames_of(7, LONG))
        store.verify()
        assert len(value_files(directory)) == 1, "those of the processes before hold nothing"
