"""Power cuts at every sync, and disk errors at every call: what was acknowledged is there, and nothing is half there.

The calls of a real process are noted by `tests/power_cut/shim.c`. A cut leaves what was synced, and of the rest all,
nothing, or any part: sectors torn and out of order, names lost. An error is one call that fails, or all from there on.
"""

import errno
import os
import random
import subprocess
import sys

import pytest

from segsearch.core.errors import StorageFailed, StorageFull
from tests.conftest import ROOT
from tests.power_cut.cuts import check_index, check_live
from tests.power_cut.disk import SECTOR, Disk, Fate
from tests.power_cut.recording import Record, compiled, lines_said, record, records

ONE, FROM_THERE_ON = 0, 1


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    library = compiled(tmp_path_factory.mktemp("shim"))
    if library is None:
        missing = "no C compiler: calls cannot be noted"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return library


@pytest.fixture
def seed():
    """Shown where a test fails; SEGSEARCH_SEED sets it."""
    chosen = int(os.environ.get("SEGSEARCH_SEED", random.randrange(1 << 30)))
    print(f"SEGSEARCH_SEED={chosen}")
    return chosen


def test_nothing_is_promised_but_what_was_synced(tmp_path):
    disk = Disk(tmp_path)
    place, inode = str(tmp_path / "a").encode(), 7
    steps = [Record("O", inode, 0, 0, place), Record("W", inode, 0, 0, b"old" * 400), Record("S", inode, 0, 0, b"")]
    for step in steps:
        disk.apply(step)
    assert disk.top.left(Fate("lost")) == {}, "the folder was not synced"
    disk.apply(Record("S", tmp_path.stat().st_ino, 0, 0, b""))
    disk.apply(Record("W", inode, 0, 0, b"new" * 400))
    disk.apply(Record("S", inode, 0, 1, b""))  # fails ...
    disk.apply(Record("S", inode, 0, 0, b""))  # ... and is no success when it is tried again
    file = disk.top.left(Fate("lost"))["a"]
    assert (file.left(Fate("lost")), file.left(Fate("kept"))) == (b"old" * 400, b"new" * 400)
    torn = {file.left(Fate("torn", seed)) for seed in range(30)}
    assert {b"old" * 400, b"new" * 400} < torn
    disk.apply(Record("W", inode, 0, 1, b"on"))  # O_DSYNC: the sector that it lies in
    assert file.left(Fate("lost"))[:SECTOR] == (b"onw" + b"new" * 400)[:SECTOR]
    assert file.left(Fate("lost"))[SECTOR:] == (b"old" * 400)[SECTOR:]


def cut_everywhere(tmp_path, shim, seed, what, words, limit=0):
    """Records a process and cuts the power, at `limit` syncs or at all; returns how many times."""
    root, log = tmp_path / "disk", tmp_path / "log"
    root.mkdir()
    assert record(shim, root, log, *words) == 0
    done = records(log)
    assert {path.name for call in done if call.kind == "M" for path in call.paths} <= {"lock.mdb"}, "not only by calls"
    words = [what, str(root), str(log), str(tmp_path / "scratch"), str(seed), str(limit)]
    words = [sys.executable, "-X", "faulthandler", "-m", "tests.power_cut.cuts", *words]
    looked = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert looked.returncode == 0, f"ended by {looked.returncode}\n{looked.stdout[-300:]}\n{looked.stderr[-3000:]}"
    print(looked.stdout.splitlines()[-1])
    return int(looked.stdout.splitlines()[-1].split()[0])


def live_words(tmp_path, count):
    return ["tests.live_writer", tmp_path / "disk" / "index" / "live", 0, count]


def index_words(tmp_path, rounds):
    return ["tests.power_cut.publisher", tmp_path / "disk" / "index", 0, rounds]


def test_uploads_of_four_threads_survive_power_cuts(tmp_path, shim, seed):
    assert cut_everywhere(tmp_path, shim, seed, "live", live_words(tmp_path, 6), limit=15) == 15


def test_a_publication_and_a_switch_survive_power_cuts(tmp_path, shim, seed):
    assert cut_everywhere(tmp_path, shim, seed, "index", index_words(tmp_path, 3), limit=15) == 15


@pytest.mark.slow
def test_live_uploads_survive_a_power_cut_at_every_sync(tmp_path, shim, seed):
    assert cut_everywhere(tmp_path, shim, seed, "live", live_words(tmp_path, 250)) > 500


@pytest.mark.slow
def test_live_generations_survive_a_power_cut_at_every_sync(tmp_path, shim, seed):
    assert cut_everywhere(tmp_path, shim, seed, "index", index_words(tmp_path, 25)) > 500


def with_a_failing_call(tmp_path, shim, seed, at, error, how):
    """Runs a process whose `at`-th call fails and looks for what it was promised; False where it makes fewer calls."""
    root, log = tmp_path / f"disk-{at}", tmp_path / f"log-{at}"
    root.mkdir()
    words = ["tests.power_cut.persistent", root / "index", seed % 1_000, 7]
    assert record(shim, root, log, *words, fail=f"{at}:{error}:{how}") == 0
    done = records(log)
    if not any(call.kind == "F" for call in done):
        return False
    lines = lines_said(done)
    assert not [words for words in lines if words[0] in ("WRONG", "unreadable")]
    codes = {words[-1] for words in lines if words[0] in ("failed", "refused")}
    assert codes <= {StorageFull.code if error == errno.ENOSPC else StorageFailed.code}
    check_live(root / "index", lines).close()
    # And on a disk without what the failed call was to bring there, as later syncs don't bring it.
    disk = Disk(root)
    for call in done:
        disk.apply(call)
    disk.top.write_to(tmp_path / f"cut-{at}", Fate("lost"))
    check_live(tmp_path / f"cut-{at}" / "index", lines).close()
    return True


CASES = [(errno.EIO, ONE), (errno.EIO, FROM_THERE_ON), (errno.ENOSPC, ONE), (errno.ENOSPC, FROM_THERE_ON)]


@pytest.mark.parametrize(("error", "how"), CASES)
def test_a_disk_error_is_said_and_nothing_acknowledged_is_lost(tmp_path, shim, seed, error, how):
    for at in random.Random(seed).sample(range(1, 80), 4):
        assert with_a_failing_call(tmp_path, shim, seed, at, error, how)


@pytest.mark.slow
@pytest.mark.parametrize(("error", "how"), CASES)
def test_a_live_store_meets_a_disk_error_at_every_call(tmp_path, shim, seed, error, how):
    at = 1
    while with_a_failing_call(tmp_path, shim, seed, at, error, how):
        at += 1
    assert at > 80
    print(f"{at - 1} calls")


def publishing_with_a_failing_call(tmp_path, shim, at, error):
    """Runs a process that publishes and whose `at`-th call fails; False where it makes fewer calls."""
    root, log = tmp_path / f"disk-{at}", tmp_path / f"log-{at}"
    root.mkdir()
    record(shim, root, log, "tests.power_cut.publisher", root / "index", 0, 2, fail=f"{at}:{error}:{ONE}")
    done = records(log)
    if not any(call.kind == "F" for call in done):
        return False
    check_index(root / "index", lines_said(done))
    disk = Disk(root)
    for call in done:
        disk.apply(call)
    disk.top.write_to(tmp_path / f"cut-{at}", Fate("lost"))
    if (tmp_path / f"cut-{at}" / "index").exists():
        check_index(tmp_path / f"cut-{at}" / "index", lines_said(done))
    return True


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_disk_error_during_a_publication_leaves_whole_generations(tmp_path, shim, seed, error):
    for at in random.Random(seed).sample(range(1, 200), 4):
        assert publishing_with_a_failing_call(tmp_path, shim, at, error)


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_live_index_meets_a_disk_error_at_every_call(tmp_path, shim, error):
    at = 1
    while publishing_with_a_failing_call(tmp_path, shim, at, error):
        at += 1
    assert at > 200
    print(f"{at - 1} calls")
