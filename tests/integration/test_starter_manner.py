"""The baseline in the manner of the starter code: on a model without sampling its ranked lists are ours."""

import numpy as np
import pytest

from segsearch.core.bundle import Bundle
from segsearch.core.features import YOUTUBE8M
from segsearch.core.records import write_records
from segsearch.core.videos import Video, serialise_video
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.service.submission import ranked_classes, read_submission, write_submission
from tests.conftest import ROOT

CLASSES, FRAME_COUNTS = 6, (7, 23, 3, 40, 11)
SEGMENTS = 19
DISTINCT_CODES = 2  # two frameworks' floats may fall on either side of where a code ends


@pytest.fixture(scope="module")
def starter():
    """The benchmark's module; its neighbours are found where scripts find them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import starter_manner

        yield starter_manner


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    random = np.random.default_rng(6)
    frames = [random.integers(0, 256, (count, YOUTUBE8M.size), np.uint8) for count in FRAME_COUNTS]
    path = tmp_path_factory.mktemp("shards") / "test.tfrecord"
    write_records(path, (serialise_video(Video(f"v{n}", None, frames=f), YOUTUBE8M) for n, f in enumerate(frames)))
    return path


@pytest.fixture(scope="module")
def made(starter, shard):
    """A checkpoint without context, and its bundle."""
    size = starter.Size(clusters=64, hidden=32, classes=CLASSES, context=0)
    return starter.models(shard.parent, size, shard)


@pytest.fixture(scope="module")
def generation(made, shard):
    index = IndexDirectory(shard.parent / "index")
    with OnnxScorer(Bundle.open(made.bundle)) as scorer:
        reindex(scorer, [shard], index, keep=SEGMENTS)
    return index.open_current()


def lists_of(csv):
    return {line.label_index: line.segments for line in read_submission(csv)}


@pytest.mark.parametrize("keep", [SEGMENTS, 7])
def test_without_drawing_the_ranked_lists_are_those_of_our_index(starter, made, shard, generation, tmp_path, keep):
    gaps = [np.diff(generation.postings(row, SEGMENTS)[1].astype(int)).max() for row in range(CLASSES)]
    assert max(gaps) <= -DISTINCT_CODES  # no tie, which the two break in ways of their own
    write_submission(tmp_path / "ours.csv", ranked_classes(generation, keep))
    starter.submit(made.checkpoint, [shard], tmp_path / "theirs.csv", starter.Manner(None, CLASSES), keep=keep)
    ours = lists_of(tmp_path / "ours.csv")
    assert [len(segments) for segments in ours.values()] == [keep] * CLASSES
    assert lists_of(tmp_path / "theirs.csv") == ours


def test_with_fewer_classes_a_segment_its_lists_are_shorter_but_in_our_order(
    starter, made, shard, generation, tmp_path
):
    starter.submit(made.checkpoint, [shard], tmp_path / "theirs.csv", starter.Manner(None, 2))
    theirs = lists_of(tmp_path / "theirs.csv")
    assert sum(map(len, theirs.values())) == 2 * SEGMENTS
    for line in ranked_classes(generation):
        kept = theirs.get(line.label_index, [])
        assert [segment for segment in line.segments if segment in kept] == kept


def test_drawn_frames_are_real_ones_and_a_draw_is_not_the_next(starter):
    graph = starter.StarterGraph({}, draws=30)
    counts = np.array([1, 4, 5], np.int32)
    first, second = (graph._places(counts).numpy() for _ in range(2))
    assert first.shape == (3, 30)
    assert (first >= 0).all()
    assert (first < counts[:, None]).all()
    assert (first != second).any()


def test_what_it_costs_is_counted_for_every_segment(starter, made, shard, tmp_path):
    spent = starter.submit(made.checkpoint, [shard], tmp_path / "theirs.csv", starter.Manner(5, CLASSES), videos=3)
    assert spent.segments == 2 + 5 + 1
    assert min(spent.graph_s, spent.text_s, spent.lists_s) > 0
    assert spent.ms_a_segment == pytest.approx(1e3 * sum(spent[1:]) / 8)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_measured_job_publishes_and_submits_what_reindex_does(made, shard, tmp_path, workers):
    from whole_job.job import Order, whole_job

    job = whole_job(Order(made.bundle, (shard,), tmp_path, keep=7, workers=workers))
    plain, measured = IndexDirectory(tmp_path / "plain"), IndexDirectory(tmp_path / "index").open_current()
    with OnnxScorer(Bundle.open(made.bundle), batch=0, precision="int8", cache=tmp_path / "cache") as scorer:
        reindex(scorer, [shard], plain, keep=7)
    for name in ("offsets", "ordinals", "codes"):
        np.testing.assert_array_equal(getattr(measured, name), getattr(plain.open_current(), name))
    assert lists_of(tmp_path / "submission.csv") == {
        line.label_index: line.segments for line in ranked_classes(plain.open_current())
    }
    assert (job.segments, job.postings) == (SEGMENTS, 7 * CLASSES)
    assert job.curve[-1][0] == SEGMENTS
    assert all(stage.cpu_s >= 0 for stage in job.stages)
