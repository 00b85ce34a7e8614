"""Two generations side by side, against a comparison of their lists by hand."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from segsearch.core.bundle import Bundle
from segsearch.core.errors import GenerationCorrupt, NoTagInCommon, UnknownGeneration
from segsearch.core.records import write_records
from segsearch.core.videos import Ratings, serialise_annotations
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.service.comparison import Comparisons, compare
from segsearch.service.evaluation import evaluate_generation, read_ratings
from segsearch.service.index.format import ORDINALS
from segsearch.service.index.generation import Generation
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.submission import ranked_classes
from segsearch.v1 import search_pb2 as pb
from tests.library_fixtures import serving, write_shards
from tests.rpc_serving import failure, reason, stub_of
from tests.tiny_model import NAMES, write_tiny_bundle

K = 30


@pytest.fixture
def other_scorer(tmp_path):
    """Another model, of the same classes but one, in another order."""
    with OnnxScorer(Bundle.open(write_tiny_bundle(tmp_path / "other", names=NAMES[:5], seed=8)), batch=8) as opened:
        yield opened


@pytest.fixture
def two_generations(index, other_scorer, videos, tmp_path):
    """The thirty videos, and 25 of them in another order by another model."""
    files = write_shards(tmp_path / "fewer", videos[:4:-1])
    reindex(other_scorer, files, index, keep=1000)
    return index


def test_a_generation_is_the_same_as_itself(index):
    generation = index.open_current()
    found = compare(generation, generation, K)
    assert {(tag.overlap, tag.gone, tag.come, tag.largest_move) for tag in found.tags} == {(1.0, 0, 0, 0)}
    assert found.mean_overlap == 1


def test_overlap_and_moves_are_those_of_the_lists_of_segment_ids(two_generations):
    older, newer = two_generations.open(1), two_generations.open(2)
    before, after = (dict(ranked_classes(generation, K)) for generation in (older, newer))
    found = compare(older, newer, K)
    assert [tag.tag.label_index for tag in found.tags] == [label for label in before if label in after]
    for tag in found.tags:
        old, new = before[tag.tag.label_index], after[tag.tag.label_index]
        moves = sorted(abs(old.index(segment) - new.index(segment)) for segment in set(old) & set(new))
        assert (tag.gone, tag.come) == (len(old) - len(moves), len(new) - len(moves))
        assert tag.overlap == len(moves) / K
        assert tag.largest_move == max(moves, default=0)
        assert tag.median_move == (moves[(len(moves) - 1) // 2] + moves[len(moves) // 2]) / 2 if moves else 0


def test_tags_that_only_one_generation_has_are_counted(two_generations):
    found = compare(two_generations.open(1), two_generations.open(2), K)
    assert (len(found.tags), found.only_older, found.only_newer) == (5, 3, 0)


def test_the_same_library_in_another_order_is_no_change(index, scorer, videos, tmp_path):
    reindex(scorer, write_shards(tmp_path / "turned", videos[::-1]), index, keep=1000)
    found = compare(index.open(1), index.open(2), 1000)
    assert {tag.overlap for tag in found.tags} == {1.0}


def test_ratings_judge_both(two_generations, shards):
    ratings = read_ratings(shards)
    older, newer = two_generations.open(1), two_generations.open(2)
    found = compare(older, newer, K, ratings)
    wanted = (evaluate_generation(older, ratings), evaluate_generation(newer, ratings))
    assert found.judged == wanted
    for tag in found.tags:
        if tag.average_precision is not None:
            assert tag.average_precision == tuple(judged.classes[tag.tag.label_index] for judged in wanted)


def test_machines_get_a_line_a_tag_and_one_for_all(command_line, two_generations, shards):
    data = shards[0].parent / "library*.tfrecord"
    code, lines, _ = command_line("index", "compare", two_generations.root, 1, 2, "--k", K, "--data", data, "--json")
    rows = [json.loads(line) for line in lines]
    assert (code, len(rows)) == (0, 6)
    assert {"label_index", "overlap", "median_move", "average_precision_before"} <= set(rows[0])
    assert {"mean_overlap", "map_before", "map_after"} <= set(rows[-1])


def test_people_get_a_table_with_what_changed_most_first(command_line, two_generations):
    code, lines, _ = command_line("index", "compare", two_generations.root, 1, 2, "--k", K)
    assert code == 0
    assert lines[0].split()[:2] == ["tag", "overlap"]
    overlaps = [float(line.rsplit(maxsplit=5)[1]) for line in lines[1:6]]
    assert overlaps == sorted(overlaps)
    assert "mean overlap" in lines[-1]


def test_ratings_of_nothing_are_an_error(command_line, index, tmp_path):
    code, _, told = command_line("index", "compare", index.root, 1, 1, "--data", tmp_path / "none*")
    assert code == 1
    assert "no file matches" in told


def test_a_generation_that_is_missing_is_named(command_line, index):
    assert "no generation 9; one of 1" in command_line("index", "compare", index.root, 1, 9)[2]


def test_ratings_without_a_yes_are_an_error(command_line, index, tmp_path, videos):
    write_records(tmp_path / "rated.tfrecord", [serialise_annotations(replace(videos[0], ratings=no_ratings()))])
    code, _, told = command_line("index", "compare", index.root, 1, 1, "--data", tmp_path / "rated.tfrecord")
    assert code == 1
    assert "no class with a positive rating" in told


def test_generations_without_a_tag_in_common_are_refused(index, shards, tmp_path):
    spec = write_tiny_bundle(tmp_path / "strange", names=["Ocean"])
    with OnnxScorer(Bundle.open(spec), batch=8) as scorer:
        reindex(scorer, shards, index, keep=5)
    older, newer = index.open(1), index.open(2)
    object.__setattr__(newer, "vocabulary", Vocabulary([Entry(999, "Ocean")]))
    with pytest.raises(NoTagInCommon, match="generations 1 and 2"):
        compare(older, newer, K)


# For whoever asks over a network


def test_what_changed_most_comes_first(two_generations):
    found = Comparisons(two_generations).of(1, 2, K)
    order = [(tag.overlap, -tag.median_move) for tag in found.most_changed()]
    assert order == sorted(order)
    assert found.most_changed(2) == found.most_changed()[:2]
    assert (found.older.number, found.newer.number) == (1, 2)


def test_damage_in_what_is_compared_is_found_and_named_and_the_next_comparison_goes_on(two_generations):
    comparisons = Comparisons(two_generations)
    file = two_generations.root / "2" / ORDINALS
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(GenerationCorrupt, match=ORDINALS):
        comparisons.of(1, 2, K)
    with pytest.raises(UnknownGeneration):
        comparisons.of(1, 9, K)
    assert comparisons.of(1, 1, K).mean_overlap == 1


class Slow(IndexDirectory):
    """An index on a disk that takes its time."""

    def __init__(self, root):
        super().__init__(root)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def open(self, number: int) -> Generation:
        self.begun.set()
        assert self.go_on.wait(30)
        return super().open(number)


def test_while_one_runs_a_second_is_refused_and_searches_go_on(index, scorer):
    slow = Slow(index.root)
    slow.go_on.set()
    library = SegmentLibrary(scorer, slow)
    slow.begun.clear()
    slow.go_on.clear()
    found, path = [], "/generations/compare?a=1&b=1"
    with serving(library) as rest, stub_of(library) as rpc:
        first = threading.Thread(target=lambda: found.append(rest.get(path).json()))
        first.start()
        assert slow.begun.wait(30)
        assert rest.get("/search?tag=Rain").status_code == 200
        refused = rest.get(path)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/too-many-calls")
        assert refused.headers["retry-after"] == "1"
        assert reason(failure(rpc.CompareGenerations, pb.CompareGenerationsRequest(a=1, b=1))) == "too-many-calls"
        slow.go_on.set()
        first.join()
    assert [each["mean_overlap"] for each in found] == [1]


def no_ratings():
    return Ratings(np.array([0]), np.array([3]), np.zeros(1, np.float32))
