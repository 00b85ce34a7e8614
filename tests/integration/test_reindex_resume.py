"""A reindex that stopped goes on from its finished shards, and publishes what it would have published undisturbed."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from segsearch.core.errors import BadRecord, DataError
from segsearch.core.records import write_records
from segsearch.core.videos import serialise_video
from segsearch.service.cli import reindex as reindex_command
from segsearch.service.index.format import CURRENT, POSTINGS_KEPT
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.jobs.work_folder import PREFIX
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_model import SPEC

SEGSEARCH = Path(sys.executable).with_name("segsearch")
SHARDS, KILLS = 24, 10


def pieces(index):
    """The finished pieces in the index directory."""
    return sorted(index.root.glob(f"{PREFIX}*/*.scores"))


def files_of(index):
    """Size and checksum of every file of the published generation."""
    return index.open_current().manifest.files


@pytest.fixture
def four_shards(tmp_path):
    """Twenty videos in four files."""
    return write_shards(tmp_path / "shards", make_videos(20), 4)


@pytest.fixture
def undisturbed(tmp_path, scorer, four_shards):
    """What a reindex of the four shards publishes that nothing stops."""
    index = IndexDirectory(tmp_path / "undisturbed")
    reindex(scorer, four_shards, index, keep=7, scores=True)
    return files_of(index)


@pytest.fixture
def stopped(tmp_path, scorer, four_shards, undisturbed):  # noqa: ARG001 - the shards are whole while that one runs
    """An index whose first reindex met a bad record in the last shard, which has been mended since."""
    good = four_shards[3].read_bytes()
    write_records(four_shards[3], [b"\xff\xff\xff"])
    index = IndexDirectory(tmp_path / "stopped")
    with pytest.raises(BadRecord, match=r"library03\.tfrecord, record 0"):
        reindex(scorer, four_shards, index, keep=7, scores=True)
    four_shards[3].write_bytes(good)
    return index


def test_finished_shards_are_not_scored_again_and_the_result_is_the_same(
    stopped, scorer, four_shards, undisturbed, capsys
):
    capsys.readouterr()
    done = reindex(scorer, four_shards, stopped, keep=7, scores=True)
    assert (done.resumed, files_of(stopped)) == (3, undisturbed)
    told = capsys.readouterr().err
    assert "going on: 3 of 4 shards were finished before" in told
    assert "reindex: 5/5 videos" in told
    assert "4/4 shards" in told


def test_nothing_but_the_generation_is_left_in_the_end(stopped, scorer, four_shards):
    reindex(scorer, four_shards, stopped, keep=7)
    assert sorted(entry.name for entry in stopped.root.iterdir()) == [".lock", "1", "CURRENT"]


def test_what_was_finished_serves_a_longer_list_of_shards_too(tmp_path, stopped, scorer, four_shards):
    more = write_shards(tmp_path / "more", make_videos(4, prefix="m"), 1)
    assert reindex(scorer, [*more, *four_shards], stopped, keep=7).resumed == 3


def test_a_shard_that_was_changed_is_scored_again(stopped, scorer, four_shards, undisturbed):
    os.utime(four_shards[1], ns=(1, 1))
    assert (reindex(scorer, four_shards, stopped, keep=7, scores=True).resumed, files_of(stopped)) == (2, undisturbed)


def test_a_damaged_piece_is_named_and_scored_again(stopped, scorer, four_shards, undisturbed, capsys):
    damaged = pieces(stopped)[0]
    content = bytearray(damaged.read_bytes())
    content[3] ^= 1
    damaged.write_bytes(content)
    done = reindex(scorer, four_shards, stopped, keep=7, scores=True)
    assert (done.resumed, files_of(stopped)) == (2, undisturbed)
    assert f"scored again: {damaged}, block 0: xxh3" in capsys.readouterr().err


def test_another_way_of_scoring_starts_anew_and_clears_up_in_the_end(stopped, tiny_bundle, four_shards):
    with OnnxScorer(tiny_bundle, batch=16, threads=1) as other:
        assert reindex(other, four_shards, stopped, keep=7).resumed == 0
    assert pieces(stopped) == []


def test_skipped_records_of_finished_shards_are_still_counted(tmp_path, scorer):
    videos = make_videos(6)
    records = [serialise_video(video, SPEC) for video in videos]
    files = [tmp_path / f"{number}.tfrecord" for number in range(3)]
    write_records(files[0], [*records[:2], b"\xff\xff\xff"])
    files[1].write_bytes(files[0].read_bytes()[:40])
    write_records(files[2], [records[2], records[0]])  # v000 comes twice, which stops the first run
    index = IndexDirectory(tmp_path / "index")
    with pytest.raises(BadRecord, match="'v000' a second time"):
        reindex(scorer, files, index, keep=7, skip_bad=True)
    with pytest.raises(BadRecord, match=r"2\.tfrecord, record 1, id: 'v000' a second time"):
        reindex(scorer, files, index, keep=7, skip_bad=True)
    write_records(files[2], records[2:])
    resumed = reindex(scorer, files, index, keep=7, skip_bad=True)
    fresh = reindex(scorer, files, IndexDirectory(tmp_path / "fresh"), keep=7, skip_bad=True)
    assert (resumed.resumed, resumed.manifest.skipped) == (2, fresh.manifest.skipped)
    assert (fresh.manifest.skipped.count, fresh.manifest.skipped.broken_files) == (2, 1)


def test_a_piece_with_skipped_records_does_not_serve_where_bad_records_stop(tmp_path, scorer):
    files = [tmp_path / "0.tfrecord", tmp_path / "1.tfrecord"]
    records = [serialise_video(video, SPEC) for video in make_videos(2)]
    write_records(files[0], [b"\xff\xff\xff", records[0]])
    write_records(files[1], [records[0]])
    index = IndexDirectory(tmp_path / "index")
    with pytest.raises(BadRecord, match="a second time"):
        reindex(scorer, files, index, keep=7, skip_bad=True)
    with pytest.raises(BadRecord, match=r"0\.tfrecord, record 0, payload"):
        reindex(scorer, files, index, keep=7)


def test_a_piece_that_is_damaged_while_it_is_needed_stops_the_reindex(stopped, scorer, four_shards):
    class Vandal:
        """Scores nothing: by then the pieces have been proved, and one is damaged."""

        def run(self, tasks):  # noqa: ARG002
            piece = pieces(stopped)[0]
            piece.write_bytes(piece.read_bytes()[1:])
            return (step for step in ())

    with pytest.raises(DataError, match=r"\.scores, block 0: xxh3"):
        reindex(scorer, four_shards[:3], stopped, keep=7, engine=Vandal())


def test_a_work_folder_that_cannot_be_made_leaves_the_old_generation_serving(tmp_path, index, library, scorer, shards):
    before = library.search("Rain", 5).video_ids
    bad = tmp_path / "z.tfrecord"
    write_records(bad, [b"\xff\xff\xff"])
    with pytest.raises(BadRecord):
        reindex(scorer, [*shards, bad], index, keep=3)
    folder = pieces(index)[0].parent
    shutil.rmtree(folder)
    folder.write_text("in the way")
    with pytest.raises(OSError, match=folder.name):
        reindex(scorer, shards, index, keep=3)
    assert (index.current(), library.search("Rain", 5).video_ids) == (1, before)


def command(bundle, shards, index, *options):
    words = ["reindex", "--bundle", bundle.directory, "--data", shards / "*.tfrecord", "--index", index.root]
    return [SEGSEARCH, *words, "--batch", "8", "--threads", "1", "--keep", "30", *options]


def test_a_full_disk_leaves_the_old_generation_serving(tmp_path, index, tiny_bundle):
    write_shards(tmp_path / "large", make_videos(400, prefix="w"), 4)
    disk = tmp_path / "disk"
    disk.mkdir()
    small = IndexDirectory(disk / "index")
    words = " ".join(f"'{word}'" for word in command(tiny_bundle, tmp_path / "large", small))
    script = (
        f"mount -t tmpfs -o size=96k tmpfs '{disk}' && cp -r '{index.root}' '{small.root}' && {words}; "
        f"echo $?; cat '{small.root}/CURRENT'; ls -A '{small.root}'"
    )
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no small disk can be had here")
    code, current, *names = done.stdout.split()
    assert (code, current) == ("1", "1")
    assert "No space left on device" in done.stderr
    assert not [name for name in names if name.startswith((".building", "2"))]


def test_killed_at_random_points_and_resumed_it_publishes_the_same_and_repeats_no_finished_shard(tmp_path, tiny_bundle):
    seed = int(time.time())
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    write_shards(tmp_path / "shards", make_videos(5 * SHARDS), SHARDS)
    undisturbed, killed = (IndexDirectory(tmp_path / name) for name in ("undisturbed", "killed"))
    subprocess.run(command(tiny_bundle, tmp_path / "shards", undisturbed), check=True, capture_output=True)
    finished = {}
    for _ in range(KILLS):
        kill_at(command(tiny_bundle, tmp_path / "shards", killed), killed, len(finished) + int(random.integers(0, 4)))
        now = {piece.name: piece.stat().st_ino for piece in pieces(killed)}
        assert finished.items() <= now.items() or not now  # all gone: it was published before it was killed
        finished = now
    done = subprocess.run(command(tiny_bundle, tmp_path / "shards", killed), check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["resumed_shards"] == len(finished)
    assert files_of(killed) == files_of(undisturbed)


def kill_at(line, index, piece_count):
    """Starts a reindex, and ends it with SIGKILL soon after so many pieces are there."""
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and not (index.root / CURRENT).exists():
            if any(index.root.glob(f"{PREFIX}*")) and len(pieces(index)) >= piece_count:
                break
            time.sleep(0.0005)
    finally:
        process.kill()  # SIGKILL
        process.wait()


def test_the_command_keeps_the_usual_length_unless_told():
    assert reindex_command.__defaults__[0] == POSTINGS_KEPT
