"""Damage is found and named, never served, and never ends the process: flipped bits, files cut short, foreign files."""

import random
import re
import subprocess
import sys

import numpy as np
import pytest

from segsearch.core.errors import LiveStoreCorrupt
from segsearch.service.index.live.format import CODES, DATA_FILE, HEAD_FILE
from segsearch.service.index.live.store import LiveStore
from tests.conftest import ROOT
from tests.live_videos import BUNDLE, SPACE, codes_of, frames_of

VIDEOS = 30
LONG = 200  # frames: enough for pages of their own


@pytest.fixture
def directory(tmp_path):
    """A closed store of short and long videos, with what replacing and deleting leaves behind."""
    folder = tmp_path / "live"
    with LiveStore.open(folder, SPACE, map_bytes=64 << 20) as store:
        for number in (*range(VIDEOS), *range(0, VIDEOS, 3)):
            frame_count = LONG if number % 2 else 7
            codes = {BUNDLE: codes_of(number, BUNDLE, frame_count)}
            store.put(f"v{number}", frames_of(number, frame_count), codes)
            if number % 5 == 0:
                store.delete(f"v{number}")
    return folder


def flip(path, place, bit=0):
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


def test_a_flipped_bit_in_frames_is_found_and_the_others_are_served(directory):
    path = directory / DATA_FILE
    flip(path, path.read_bytes().index(frames_of(7, LONG).tobytes()) + 1_000, 3)
    with LiveStore.open(directory, SPACE) as store:
        with pytest.raises(LiveStoreCorrupt, match=rf"{DATA_FILE}, table frames, record \w+: xxh3"):
            store.get("v7")
        with pytest.raises(LiveStoreCorrupt, match="table frames"):
            store.verify()
        np.testing.assert_array_equal(store.get("v9").frames, frames_of(9, LONG))
        assert len(store.changes(0, BUNDLE)) == VIDEOS, "the codes are whole"


def test_a_flipped_bit_in_codes_is_found_and_the_others_are_served(directory):
    path = directory / DATA_FILE
    flip(path, path.read_bytes().index(codes_of(7, BUNDLE, LONG).tobytes()) + 99, 1)
    with LiveStore.open(directory, SPACE) as store:
        with pytest.raises(LiveStoreCorrupt, match="table codes"):
            store.verify()
        (damaged,) = [change for change in store.changes(0, BUNDLE) if change.damage]
        assert (damaged.video_id, damaged.codes, "table codes" in damaged.damage) == ("v7", None, True)
        assert len(store.changes(0, BUNDLE)) == VIDEOS


def test_a_damaged_record_can_be_replaced_by_a_new_upload_or_deleted(directory):
    path = directory / DATA_FILE
    for number in (7, 9):
        flip(path, path.read_bytes().index(frames_of(number, LONG).tobytes()) + 5)
    with LiveStore.open(directory, SPACE) as store:
        store.put("v7", frames_of(1), {})
        store.delete("v9")
        store.verify()


def test_the_same_upload_again_mends_what_was_damaged(directory):
    path = directory / DATA_FILE
    flip(path, path.read_bytes().index(codes_of(7, BUNDLE, LONG).tobytes()) + 5)
    with LiveStore.open(directory, SPACE) as store:
        assert not store.put("v7", frames_of(7, LONG), {BUNDLE: codes_of(7, BUNDLE, LONG)}).unchanged
        store.verify()


# Opens, reads everything and compares, again and again; a crash would show in the exit code.
PROBE = """
import sys
from pathlib import Path
from segsearch.core.errors import LiveStoreCorrupt
from segsearch.service.index.live.store import LiveStore
from tests.live_videos import BUNDLE, SPACE

def content(directory, readonly):
    with LiveStore.open(directory, SPACE, readonly=readonly) as store:
        store.verify()
        videos = [(v.video_id, v.sequence, v.digest, v.frames.tobytes(), v.codes[BUNDLE].tobytes())
                  for v in store.videos()]
        return store.sequence, videos, [(c.sequence, c.video_id, c.deleted) for c in store.changes(0, BUNDLE)]

whole, damages, readonly = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "readonly"
wanted, original = content(whole, False), (whole / "data.mdb").read_bytes()
for line in damages.read_text().splitlines():
    kind, place, bit = line.split()
    damaged = bytearray(original)
    if kind == "flip":
        damaged[int(place)] ^= 1 << int(bit)
    else:
        del damaged[int(place):]
    print(line, end=" ", flush=True)
    copy = whole.parent / "copy"
    copy.mkdir(exist_ok=True)
    for file in copy.iterdir():
        file.unlink()
    (copy / "data.mdb").write_bytes(damaged)
    (copy / "head").write_bytes((whole / "head").read_bytes())
    try:
        print("same" if content(copy, readonly) == wanted else "WRONG")
    except LiveStoreCorrupt as error:
        print("found" if str(copy / "data.mdb") in str(error) else f"UNNAMED {error}")
"""


def probe(directory, damages, how="writing"):
    """What became of each damage: found (refused by name), or same (it hit nothing that is read)."""
    listed = directory.parent / "damages"
    listed.write_text("\n".join(damages))
    words = [sys.executable, "-X", "faulthandler", "-c", PROBE, str(directory), str(listed), how]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ended by {done.returncode} at: {done.stdout[-200:]}\n{done.stderr[-3000:]}"
    return [line.split(maxsplit=3)[3] for line in done.stdout.splitlines()]


def flips(directory, count):
    """Half of them anywhere, half in the meta pages' and trees' own bytes."""
    content = (directory / DATA_FILE).read_bytes()
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    pages = [0, 1, *(p for p in range(2, len(content) // 4096) if content[p * 4096 + 10] & 0x13)]
    anywhere = [chance.randrange(len(content)) for _ in range(count // 2)]
    in_trees = [chance.choice(pages) * 4096 + chance.randrange(256) for _ in range(count - count // 2)]
    return [f"flip {place} {chance.randrange(8)}" for place in (*anywhere, *in_trees)]


@pytest.mark.parametrize("how", ["writing", "readonly"])
def test_flipped_bits_anywhere_are_found_or_hit_nothing(directory, how):
    outcomes = probe(directory, flips(directory, 60), how)
    assert set(outcomes) <= {"found", "same"}
    assert "found" in outcomes


@pytest.mark.parametrize("how", ["writing", "readonly"])
def test_no_bit_of_the_commit_numbers_brings_back_an_older_state(directory, how):
    """LMDB answers from the meta page with the higher number, and has no checksum there."""
    numbers = [page * 4_096 + 16 + 128 + byte for page in (0, 1) for byte in (0, 1, 7)]
    assert "WRONG" not in probe(directory, [f"flip {place} {bit}" for place in numbers for bit in range(8)], how)


def test_a_flipped_bit_in_the_limit_is_refused_by_name(directory):
    places = [page * 4_096 + 16 + 16 + 7 for page in (0, 1)]
    assert probe(directory, [f"flip {place} {bit}" for place in places for bit in (0, 7)]) == ["found"] * 4


@pytest.mark.parametrize("how", ["writing", "readonly"])
def test_a_flipped_bit_in_the_last_pages_number_is_refused_by_name(directory, how):
    places = [page * 4_096 + 16 + 120 + byte for page in (0, 1) for byte in (2, 4, 7)]
    outcomes = probe(directory, [f"flip {place} {bit}" for place in places for bit in (0, 7)], how)
    assert sorted(outcomes) == ["found"] * 6 + ["same"] * 6, "of the older page it is not read"


def test_a_damaged_or_missing_head_says_nothing(directory):
    (directory / HEAD_FILE).write_bytes(bytes(16))
    LiveStore.open(directory, SPACE).close()
    (directory / HEAD_FILE).unlink()
    LiveStore.open(directory, SPACE).close()


def test_a_flipped_bit_in_a_key_is_found(directory):
    with LiveStore.open(directory, SPACE) as store, store._snapshot() as snapshot:
        key, value = next(each for each in snapshot.items(CODES, b"") if len(each[1]) < 1_000)  # beside its key
    found = re.finditer(re.escape(key + bytes(value)), (directory / DATA_FILE).read_bytes())
    places = [match.start() + len(key) - 1 for match in found]
    for bit in (0, 7):  # 7: no letter of UTF-8
        assert "found" in probe(directory, [f"flip {place} {bit}" for place in places])


@pytest.mark.slow
def test_a_thousand_flipped_bits_are_found_or_hit_nothing(directory):
    assert set(probe(directory, flips(directory, 1_000))) == {"found", "same"}


@pytest.mark.parametrize("how", ["writing", "readonly"])
def test_a_file_that_is_cut_short_is_refused(directory, how):
    size = (directory / DATA_FILE).stat().st_size
    lengths = [0, 1, 100, 4_095, 4_096, 4_200, 8_191, 8_192, size // 3, size // 2]
    assert probe(directory, [f"cut {length} 0" for length in lengths], how) == ["found"] * len(lengths)


@pytest.mark.parametrize("how", ["writing", "readonly"])
def test_a_file_without_free_pages_at_its_end_is_whole(directory, how):
    """The power may be cut, or the process killed, between a commit and the moment when its free pages get room."""
    with LiveStore.open(directory, SPACE) as store:
        codes = {f"bundle {number}": np.zeros((1, 8_000), np.uint16) for number in range(20)}  # pages of this file
        store.put("last", frames_of(1, 5), codes)
        store.delete("last")
    size = (directory / DATA_FILE).stat().st_size
    assert probe(directory, [f"cut {size - pages * 4_096 - 1} 0" for pages in (0, 1, 5)], how) == ["same"] * 3
    with (directory / DATA_FILE).open("r+b") as file:
        file.truncate(size - 5 * 4_096)
    LiveStore.open(directory, SPACE).close()
    assert (directory / DATA_FILE).stat().st_size == size


def test_a_foreign_file_is_refused_by_name(tmp_path):
    (tmp_path / DATA_FILE).write_bytes(random.Random(0).randbytes(40_960))
    with pytest.raises(LiveStoreCorrupt, match=rf"{tmp_path}/{DATA_FILE}, meta page 0: .*wanted those of LMDB 0.9"):
        LiveStore.open(tmp_path, SPACE)
