"""`segsearch index`: which generations are there, whether one is whole, and the way back to an older one."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from segsearch.core.errors import GenerationCorrupt, IndexBusy, UnknownGeneration
from segsearch.core.score_codes import encode_probabilities
from segsearch.core.segments import segment_starts
from segsearch.service.index.format import CODES, MANIFEST, ORDINALS, SCORES, SEGMENT_STARTS, SEGMENT_VIDEOS
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.manifest import Skipped
from segsearch.service.index.verification import verify_order
from segsearch.service.index.writer import GenerationWriter
from segsearch.service.jobs.reindex import reindex
from tests.unit.test_index_generation import ORIGIN


@pytest.fixture
def scored_index(tmp_path, scorer, shards):
    """The thirty videos as a generation that keeps every score."""
    directory = IndexDirectory(tmp_path / "scored")
    reindex(scorer, shards, directory, keep=20, scores=True)
    return directory


def test_a_generation_keeps_the_score_of_every_segment_on_demand(scored_index, scorer, videos):
    wanted = np.concatenate([encode_probabilities(scorer.score(video.frames).probabilities) for video in videos])
    found = scored_index.open_current()
    np.testing.assert_allclose(found.scores.astype(int), wanted.astype(int), atol=1)
    assert SCORES in found.manifest.files


def test_the_command_takes_what_the_job_takes(command_line, tmp_path, tiny_bundle, shards):
    data, bundle = shards[0].parent / "library*.tfrecord", tiny_bundle.directory
    line = ("reindex", "--bundle", bundle, "--data", data, "--index", tmp_path, "--batch", 8, "--threads", 1)
    for _ in range(2):
        code, _, told = command_line(*line, "--scores", "--selection", "numba", "--keep-generations", 1)
        assert code == 0, told
    assert IndexDirectory(tmp_path).numbers() == [2]
    assert json.loads(command_line("index", "verify", tmp_path)[1][-1])["scores"] is True


def test_scores_are_a_plain_npy_file_that_numpy_maps(scored_index):
    generation = scored_index.open_current()
    mapped = np.load(generation.directory / SCORES, mmap_mode="r", allow_pickle=False)
    np.testing.assert_array_equal(mapped, generation.scores)


def test_a_generation_has_no_scores_unless_they_were_asked_for(index):
    assert index.open_current().scores is None


def test_every_flipped_bit_of_the_scores_is_found(scored_index):
    file = scored_index.root / "1" / SCORES
    content = file.read_bytes()
    for at in np.random.default_rng(0).choice(np.arange(128, len(content)), 10, replace=False):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1 << (at % 8)]) + content[at + 1 :])
        with pytest.raises(GenerationCorrupt, match=r"scores\.npy has xxh3"):
            scored_index.open_current().verify()


def test_verify_says_what_it_read(command_line, scored_index):
    code, lines, _ = command_line("index", "verify", scored_index.root)
    facts = json.loads(lines[-1])
    assert (code, facts["generation"], facts["scores"], facts["files"]) == (0, 1, True, 9)


def test_verify_of_a_damaged_generation_names_the_file_and_fails(command_line, index):
    file = index.root / "1" / CODES
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    code, lines, told = command_line("index", "verify", index.root, 1)
    assert (code, lines) == (1, [])
    assert f"{CODES} has xxh3" in told


POSTINGS = {"ordinals": [[4, 1, 2], [5, 0, 3]], "codes": [[9, 7, 7], [8, 8, 2]]}
NONSENSE = {
    "codes rise": ({"codes": [[9, 7, 7], [8, 2, 3]]}, rf"{CODES}, class 1 \(label \d+\), place 2: code 3 after 2"),
    "ties backwards": ({"ordinals": [[4, 2, 1], [0, 5, 3]]}, rf"{ORDINALS}, class 0 .*place 2: segment 1 after 2"),
    "a segment twice": ({"ordinals": [[4, 1, 4], [0, 5, 3]]}, rf"{ORDINALS}, class 0 .*place 2: segment 4 a second"),
    "videos fall": ({"videos": [0, 0, 0, 2, 1, 1]}, rf"{SEGMENT_VIDEOS}, row 4: video 1 after 2"),
    "a start is missing": ({"starts": [0, 5, 15, 0, 0, 5]}, rf"{SEGMENT_STARTS}, row 2: start 15, wanted 10"),
    "another score": ({"score": 1}, rf"{CODES}, class 0 .*place 0: code 9, {SCORES} has 1 for segment 4"),
}  # fmt: skip


def generation_of(index: IndexDirectory, **changed):
    """A generation whose checksums are right, whatever it says."""
    told = {**POSTINGS, "ordinals": [[4, 1, 2], [0, 5, 3]], "score": None, **changed}
    with index.building() as building:
        with GenerationWriter(building.directory, ORIGIN, limit=10, scores=told["score"] is not None) as writer:
            for video_id, frame_count in (("a", 12), ("b", 3), ("c", 6)):
                starts = segment_starts(frame_count)
                writer.add_video(video_id, starts)
            for ordinals, codes in zip(told["ordinals"], told["codes"], strict=True):
                writer.add_postings(np.array(ordinals), np.array(codes))
            if told["score"] is not None:
                writer.add_scores(np.full((6, 2), told["score"], np.uint16))
            writer.seal(building.number, Skipped())
        index.publish(building)
    generation = index.open_current()
    tables = {"segment_videos": told.get("videos"), "segment_starts": told.get("starts")}
    for name, values in tables.items():
        if values is not None:
            object.__setattr__(generation, name, np.array(values, np.uint32))
    return generation


def test_lists_in_order_pass(tmp_path):
    verify_order(generation_of(IndexDirectory(tmp_path)))


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_what_right_checksums_cannot_hide_is_named_by_file_and_place(tmp_path, nonsense):
    changed, told = NONSENSE[nonsense]
    with pytest.raises(GenerationCorrupt, match=told):
        verify_order(generation_of(IndexDirectory(tmp_path), **changed))


def test_list_shows_every_generation_and_which_one_answers(command_line, index, scorer, shards):
    reindex(scorer, shards[:1], index, keep=5)
    _, lines, _ = command_line("index", "list", index.root, "--json")
    rows = [json.loads(line) for line in lines]
    assert [(row["generation"], row["current"], row["limit"]) for row in rows] == [(1, False, 1000), (2, True, 5)]
    _, table, _ = command_line("index", "list", index.root)
    assert [line.split()[:2] for line in table] == [["generation", "current"], ["1", "no"], ["2", "yes"]]


def test_list_says_what_is_wrong_with_a_damaged_generation(command_line, index):
    (index.root / "1" / MANIFEST).write_text("{}")
    _, lines, _ = command_line("index", "list", index.root, "--json")
    assert "format version None" in json.loads(lines[0])["fault"]


def test_one_call_goes_back_and_a_library_follows(command_line, index, library, scorer, shards):
    reindex(scorer, shards[:1], index, keep=5)
    library.refresh()
    assert library.view().number == 2
    code, lines, _ = command_line("index", "activate", index.root, 1)
    assert (code, json.loads(lines[-1])["before"]) == (0, 2)
    library.refresh()
    assert library.view().number == 1


def test_no_search_fails_and_none_is_mixed_while_generations_go_back_and_forth(index, library, scorer, shards):
    reindex(scorer, shards[:1], index, keep=5)
    library.refresh()
    stop, seen, failed = threading.Event(), set(), []

    def search():
        while not stop.is_set():
            try:
                page = library.search("Rain", 20)
            except Exception as error:
                failed.append(error)
                return
            seen.add((page.generation.number, len(page.video_ids)))

    searching = threading.Thread(target=search)
    searching.start()
    for number in (1, 2, 1, 2):
        index.activate(number)
        library.refresh()
    stop.set()
    searching.join()
    assert failed == []
    assert seen <= {(1, 20), (2, 5)}


def test_the_next_reindex_after_going_back_takes_a_new_number(index, scorer, shards):
    reindex(scorer, shards, index, keep=5)
    index.activate(1)
    assert reindex(scorer, shards, index, keep=5).manifest.number == 3


def test_a_damaged_generation_is_not_gone_back_to(index, scorer, shards):
    reindex(scorer, shards, index, keep=5)
    file = index.root / "1" / CODES
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(GenerationCorrupt, match=CODES):
        index.activate(1)
    assert index.current() == 2


def test_a_generation_that_is_not_there_is_named_with_those_that_are(index):
    with pytest.raises(UnknownGeneration, match="no generation 7; one of 1"):
        index.activate(7)


def test_going_back_waits_for_no_reindex(index):
    with index.building(), pytest.raises(IndexBusy):
        index.activate(1)


def test_the_newest_generations_are_kept_and_no_more(tmp_path, scorer, shards):
    index = IndexDirectory(tmp_path)
    for _ in range(4):
        reindex(scorer, shards[:1], index, keep=5, keep_generations=2)
    assert (index.numbers(), index.current()) == ([3, 4], 4)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "3", "4", "CURRENT"]


def test_a_generation_that_somebody_reads_is_kept_until_nobody_does(tmp_path, scorer, shards):
    index = IndexDirectory(tmp_path)
    reindex(scorer, shards[:1], index, keep=5)
    read = (
        "import sys; from pathlib import Path; from segsearch.service.index.index_directory import IndexDirectory;"
        "held = IndexDirectory(Path(sys.argv[1])).open_current(); print('open', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", read, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as reader:
        assert reader.stdout.readline() == b"open\n"
        reindex(scorer, shards[:1], index, keep=5, keep_generations=1)
        assert index.numbers() == [1, 2]
    reindex(scorer, shards[:1], index, keep=5, keep_generations=1)
    assert index.numbers() == [3]


def test_a_removal_that_a_crash_cut_short_is_finished_by_the_next_build(index, scorer, shards):
    (index.root / "1").rename(index.root / ".removing-1")
    reindex(scorer, shards[:1], index, keep=5)
    assert not (index.root / ".removing-1").exists()
