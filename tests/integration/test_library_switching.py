"""The library: one generation an answer, a published one takes over, a bad one never does."""

import gc
import json
import os
import re
import resource
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import ref

import numpy as np
import pytest

from segsearch.core.bundle import Bundle
from segsearch.core.errors import (
    FeatureSpaceMismatch,
    GenerationCorrupt,
    InvalidInput,
    NoGeneration,
    UnknownGeneration,
    UnknownTag,
    VocabularyMismatch,
)  # fmt: skip
from segsearch.core.features import FeatureSpec
from segsearch.service.current_view import CurrentView
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.page_making import best_classes
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from tests.integration.test_serving_grpc import served
from tests.library_fixtures import make_videos, write_shards
from tests.tiny_model import NAMES, write_tiny_bundle
from tests.traffic import Traffic, Truth, segments_of, what_bundles_say


@pytest.fixture
def reversed_scorer(tmp_path):
    """A bundle with the same classes in another order: another vocabulary."""
    root = tmp_path / "reversed"
    with OnnxScorer(Bundle.open(write_tiny_bundle(root, names=NAMES[::-1])), batch=8) as opened:
        yield opened


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process may open so many files more, and then meets EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [os.open(os.devnull, os.O_RDONLY) for _ in range(count + 1)]  # the next ones, in order
    for descriptor in free:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def refusals(caplog: pytest.LogCaptureFixture) -> list[dict]:
    told = [json.loads(record.message) for record in caplog.records]
    return [event for event in told if event["event"] == "generation_refused"]


def test_a_search_finds_the_best_segments_by_any_of_a_tags_names(library, index):
    wanted = index.open_current().postings(library.view().vocabulary.find("Rain"), 5)[1]
    for tag in ("Rain", " rain ", "43", "/m/004"):
        page = library.search(tag, 5)
        assert (page.tags[0].name, page.codes.tolist()) == ("Rain", wanted.tolist())


def test_an_unknown_tag_offers_the_nearest(library):
    with pytest.raises(UnknownTag) as caught:
        library.search("dog", 5)
    assert caught.value.nearest == ["Dog bark", "Dog whistle"]


def test_tags_come_with_the_length_of_their_lists(library, index):
    found = library.tags("dog", 10)
    segments = index.open_current().manifest.segment_count
    assert [(entry.name, count) for entry, count in found.counts] == [("Dog bark", segments), ("Dog whistle", segments)]


def test_a_video_gets_the_best_tags_of_every_segment(library, scorer, videos):
    scored = library.score(videos[0].frames, top=3)
    probabilities = scorer.score(videos[0].frames).probabilities
    np.testing.assert_array_equal(scored.classes, np.argsort(-probabilities, axis=1, kind="stable")[:, :3])


def test_equal_scores_come_in_class_order():
    probabilities = np.array([[0.5, 1.0, 0.5, 0.0, 0.5]], np.float32)
    assert best_classes(probabilities, 4).tolist() == [[1, 0, 2, 4]]
    assert best_classes(probabilities, 99).tolist() == [[1, 0, 2, 4, 3]]


def test_a_published_generation_takes_over_without_anyone_asking(library, index, scorer, shards):
    reindex(scorer, shards[:1], index, keep=7)
    wait_until(lambda: library.view().number == 2)
    assert len(library.search("Rain", 100).video_ids) == 7


def test_a_view_that_is_held_stays_as_it_was(library, index, scorer, shards):
    held = library.view()
    before = held.generation.postings(held.vocabulary.find("Rain"), 100)[0].tolist()
    reindex(scorer, shards[:1], index, keep=7)
    library.refresh()
    shutil.rmtree(index.root / "1")
    assert held.generation.postings(held.vocabulary.find("Rain"), 100)[0].tolist() == before


def test_a_generation_that_was_left_goes_without_the_collector(library, index, scorer, shards):
    """What a server has loaded when it begins is frozen, and only let go of when nothing refers to it."""
    for k in (3, 1000):
        library.search("Rain", k)
    library.moments("Rain or Cat", 10)
    view, generation = ref(library.view()), ref(library.view().generation)
    gc.collect()
    gc.disable()
    try:
        reindex(scorer, shards, index, keep=1000)
        library.refresh()
        assert (view(), generation()) == (None, None)
    finally:
        gc.enable()


def test_a_corrupt_generation_is_refused_once_and_the_old_one_serves_on(library, index, caplog):
    with index.building() as building:  # nothing but an empty directory
        index.publish(building)
    for _ in range(3):
        library.refresh()
    assert library.view().number == 1
    assert [(event["serving"], event["again_in_s"]) for event in refusals(caplog)] == [(1, None)]


def test_a_generation_that_could_not_be_opened_for_want_of_descriptors_serves_later(index, scorer, shards, caplog):
    """Whichever of its files was the one too many: CURRENT, the manifest, an array or the vocabulary."""
    libraries = {left: SegmentLibrary(scorer, index) for left in (0, 1, 3, 8)}
    reindex(scorer, shards[:1], index, keep=7)
    for left, library in libraries.items():
        with descriptors_left(left):
            library.refresh()
            assert library.view().number == 1
    assert all("Too many open files" in event["reason"] for event in refusals(caplog))
    assert [event["again_in_s"] for event in refusals(caplog)] == [1.0] * len(libraries)
    wait_until(lambda: {library.view().number for library in libraries.values()} == {2})


def test_no_exception_ends_the_watch_for_generations(index, scorer, shards, caplog):
    """One that nobody foresaw is told by its kind and tried again; a generation that does not fit is not."""
    ahead = [None, ZeroDivisionError("unforeseen"), None]
    misfits = [None, VocabularyMismatch("generation", "a", "bundle", "b"), None]

    def check_by(errors: list[Exception | None]) -> Callable[[object], None]:
        def check(_: object) -> None:
            error = errors.pop(0)
            if error is not None:
                raise error

        return check

    unlucky, unfit = CurrentView(index, None, check_by(ahead)), CurrentView(index, None, check_by(misfits))
    reindex(scorer, shards[:1], index, keep=7)
    unfit.refresh()
    wait_until(lambda: unlucky.view().number == 2)
    told = [(event["reason"].split(":")[0], event["again_in_s"]) for event in refusals(caplog)]
    assert told == [("VocabularyMismatch", None), ("ZeroDivisionError", 1.0)]
    unfit.refresh()
    assert (len(misfits), unfit.view().number) == (1, 1)


def test_where_the_system_has_no_thread_to_give_the_old_generation_answers_and_the_switch_comes_later(
    library, index, scorer, shards, caplog
):
    reindex(scorer, shards[:1], index, keep=7)
    time.sleep(0.002)  # the disk is looked at once a millisecond
    before = threading.stack_size(1 << 46)  # more than there is to address
    try:
        assert library.view().number == 1
    finally:
        threading.stack_size(before)
    assert [event["reason"] for event in refusals(caplog)] == ["RuntimeError: can't start new thread"]
    wait_until(lambda: library.view().number == 2)


def test_a_generation_with_a_flipped_bit_is_refused_before_it_serves(library, index, scorer, shards):
    reindex(scorer, shards, index, keep=7)
    file = index.root / "2" / "codes.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    library.refresh()
    assert library.view().number == 1


def test_a_generation_of_another_vocabulary_is_refused(library, index, reversed_scorer, shards, scorer):
    reindex(reversed_scorer, shards, index, keep=7)
    library.refresh()
    assert library.view().number == 1
    with pytest.raises(VocabularyMismatch):
        SegmentLibrary(scorer, index)


def test_a_generation_of_another_feature_space_is_refused(tmp_path, index):
    spec = FeatureSpec.parse("audio:6")
    other = Bundle.open(write_tiny_bundle(tmp_path / "other", spec=spec))
    with OnnxScorer(other) as scorer, pytest.raises(FeatureSpaceMismatch):
        SegmentLibrary(scorer, index)


def test_a_generation_that_would_not_be_served_is_not_activated(
    library, index, reversed_scorer, tmp_path, scorer, shards
):
    """Of another vocabulary, of another feature space, damaged, or gone."""
    spec = FeatureSpec.parse("audio:6")
    files = write_shards(tmp_path / "narrow", make_videos(3, spec=spec), 1, spec)
    reindex(reversed_scorer, shards, index, keep=7)
    with OnnxScorer(Bundle.open(write_tiny_bundle(tmp_path / "other", spec=spec))) as other:
        reindex(other, files, index, keep=7, keep_generations=9)
    reindex(scorer, shards, index, keep=7, keep_generations=9)
    (index.root / "4" / "codes.npy").unlink()
    index.activate(1)
    library.refresh()
    for number, kind, told in (
        (2, InvalidInput, f"generation 2 has vocabulary {reversed_scorer.bundle.vocabulary.digest}; wanted"),
        (3, InvalidInput, f"generation 3 has feature space {spec.space}; wanted"),
        (4, GenerationCorrupt, "codes.npy"),
        (5, UnknownGeneration, "no generation 5"),
    ):
        with pytest.raises(kind, match=re.escape(told)):
            library.activate(number)
        assert index.current() == 1
    assert library.activate(1).number == 1


def test_after_a_refused_generation_the_next_good_one_serves(library, index, scorer, shards):
    with index.building() as building:
        index.publish(building)
    library.refresh()
    reindex(scorer, shards, index, keep=7)
    library.refresh()
    assert library.view().number == 3


def test_an_empty_index_serves_as_soon_as_something_is_published(tmp_path, scorer, shards):
    index = IndexDirectory(tmp_path / "index")
    library = SegmentLibrary(scorer, index)
    with pytest.raises(NoGeneration):
        library.search("Rain", 1)
    reindex(scorer, shards, index, keep=7)
    library.refresh()
    assert library.search("Rain", 1).generation.number == 1


def test_a_damaged_index_is_refused_at_start(index, scorer):
    (index.root / "1" / "codes.npy").unlink()
    with pytest.raises(GenerationCorrupt, match=r"codes\.npy"):
        SegmentLibrary(scorer, index)


def test_no_answer_mixes_two_generations(tmp_path, scorer):
    """Two libraries of different videos are published in turn while others search: ids tell whose answer it is."""
    index = IndexDirectory(tmp_path / "index")
    files = {prefix: write_shards(tmp_path / prefix, make_videos(6, prefix=prefix), 1) for prefix in "ab"}
    reindex(scorer, files["a"], index, keep=50)
    library = SegmentLibrary(scorer, index)
    stop, mixed, answered = threading.Event(), [], set()

    def search() -> None:
        while not stop.is_set():
            page = library.search("Rain", 50)
            wanted = "a" if page.generation.number % 2 else "b"
            mixed.extend(video for video in page.video_ids if not video.startswith(wanted))
            answered.add(page.generation.number)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(2, 7):
            reindex(scorer, files["a" if number % 2 else "b"], index, keep=50)
            wait_until(lambda number=number: number in answered)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert mixed == []


@pytest.mark.slow
def test_fifty_switches_of_a_live_server_under_load_mix_no_answer_and_fail_no_request(tmp_path, scorer, tiny_bundle):
    """Each is a reindex of other shards, while others search and upload over both edges."""
    index = IndexDirectory(tmp_path / "index")
    videos = {prefix: make_videos(6, prefix=prefix) for prefix in "ab"}
    files = {prefix: write_shards(tmp_path / prefix, own, 1) for prefix, own in videos.items()}
    held = {prefix: (scorer.bundle.digest, segments_of(scorer, own)) for prefix, own in videos.items()}
    truth = Truth({number: held["a" if number % 2 else "b"] for number in range(1, 52)}, what_bundles_say([scorer]))
    reindex(scorer, files["a"], index, keep=1_000)
    with served(index, tiny_bundle) as (told, _), Traffic(told["url"], told["grpc"], truth) as traffic:
        for number in range(2, 52):
            reindex(scorer, files["a" if number % 2 else "b"], index, keep=1_000)
            wait_until(lambda number=number: traffic.answered[number] > 0 or bool(traffic.wrong))
    print(f"50 switches; {traffic.told()}")
    assert traffic.wrong == []
    assert set(range(2, 52)) <= traffic.answered.keys()
