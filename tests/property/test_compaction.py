"""Compaction after compaction of short lists: every generation opens, and no answer claims more than is true."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segsearch.core.score_codes import HIGHEST
from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.current_view import CurrentView
from segsearch.service.index.expression import Both, Either, Expression, Not, Tag
from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.query import ranked
from segsearch.service.index.verification import verify_order
from segsearch.service.index.view import View
from segsearch.service.jobs.compaction import compact
from tests.live_videos import BUNDLE, SPACE, frames_of
from tests.property.test_view import CLASSES, CODES, expressions, lowests, plain_code
from tests.scored_generation import write_scored

TAGS = [Tag(ClassOrdinal(number)) for number in range(CLASSES)]
KS = (1, 2, 30)

Named = tuple[str, int, int]  # video, start, code


@dataclass
class Place:
    """An index that is served and compacted, and beside it the videos that can be found, in order of rank."""

    index: IndexDirectory
    store: LiveStore
    current: CurrentView
    videos: dict[str, np.ndarray]  # (S, C) codes
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def put(self, video_id: str, codes: np.ndarray) -> None:
        self.store.put(video_id, frames_of(self.store.sequence, 5 * len(codes)), {BUNDLE: codes})
        self.videos.pop(video_id, None)
        self.videos[video_id] = codes

    def delete(self, video_id: str) -> None:
        if self.videos.pop(video_id, None) is not None:
            self.store.delete(video_id)

    def take(self, change: tuple) -> None:
        match change:
            case ("put", video_id, count):
                self.put(video_id, self.random.choice(CODES, (count, CLASSES)))
            case ("delete", video_id):
                self.delete(video_id)
            case ("delete all that is listed", tag):
                view = self.current.view()
                ordinals, _, _ = view.listed(ClassOrdinal(tag))
                for video_id in set(view.segments(ordinals.astype(np.int64))[0]):
                    self.delete(video_id)

    def compact(self) -> View:
        """What is served once the library has been compacted."""
        compact(self.index, self.store)
        self.current.refresh()
        return self.current.view()

    def ranking(self, asked: Expression) -> list[Named]:
        """All there is, by looking at every segment."""
        found = [
            (video_id, 5 * row, plain_code(asked, codes[row]))
            for video_id, codes in self.videos.items()
            for row in range(len(codes))
        ]
        return sorted(found, key=lambda segment: -segment[2])


@contextmanager
def place_of(base: dict[str, np.ndarray], keep: int, *, scores: bool = False) -> Iterator[Place]:
    with TemporaryDirectory() as folder:
        index = IndexDirectory(Path(folder) / "index")
        with index.building() as building:
            codes = np.concatenate(list(base.values()))
            write_scored(building.directory, list(map(len, base.values())), codes, keep,
                         scores=scores, bundle=BUNDLE, space=SPACE)  # fmt: skip
            index.publish(building)
        with LiveStore.open(index.root / LIVE, SPACE, map_bytes=16 << 20) as store:
            yield Place(index, store, CurrentView(index, store, lambda _: None), dict(base))


def answer(view: View, asked: Expression, k: int, lowest: int = 0) -> tuple[list[Named], bool]:
    found = ranked(view, asked, k, lowest=lowest)
    ids, starts = view.segments(found.places)
    return list(zip(ids, starts.tolist(), found.codes.tolist(), strict=True)), found.complete


def check_answers(place: Place, view: View, asked: Expression, lowest: int) -> None:
    """Each is the beginning of all there is, and says so where it is less than was asked for."""
    view.find_heads()
    for each in (*TAGS, asked):
        wanted = [segment for segment in place.ranking(each) if segment[2] >= lowest]
        for k in KS:
            found, complete = answer(view, each, k, lowest)
            assert found == wanted[: k if complete else len(found)]
            assert complete or len(found) < k


def check_lists(place: Place, view: View) -> None:
    """What a list leaves out has at most the code that it says. Nothing is live: places are the order of the videos."""
    everything = np.concatenate(list(place.videos.values()))
    for tag in range(CLASSES):
        ordinals, codes, beyond = view.listed(ClassOrdinal(tag))
        assert everything[ordinals, tag].tolist() == codes.tolist()
        assert np.delete(everything[:, tag], ordinals).max(initial=0) <= max(beyond, 0)
        assert beyond >= 0 or len(ordinals) == len(everything)


ids = st.sampled_from([*(f"b{number}" for number in range(5)), "x", "y"])
changes = st.one_of(
    st.tuples(st.just("put"), ids, st.integers(1, 3)),
    st.tuples(st.just("delete"), ids),
    st.tuples(st.just("delete all that is listed"), st.integers(0, CLASSES - 1)),
)


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 3), min_size=2, max_size=5), st.integers(1, 4), st.booleans(), st.integers(0, 2**32 - 1),
    st.lists(st.lists(changes, min_size=1, max_size=3), min_size=1, max_size=3), expressions, lowests,
)  # fmt: skip
def test_what_is_served_after_each_compaction_is_the_beginning_of_all_there_is(
    lengths, keep, scores, seed, rounds, asked, lowest
):
    random = np.random.default_rng(seed)
    base = {f"b{number}": random.choice(CODES, (length, CLASSES)) for number, length in enumerate(lengths)}
    with place_of(base, keep, scores=scores) as place:
        place.random = random
        for taken in rounds:
            for change in taken:
                place.take(change)
            check_answers(place, place.current.view(), asked, lowest)
            if not place.videos:
                return  # there is nothing to compact
            view = place.compact()
            assert (view.number, len(view.delta.alive)) == (place.index.current(), 0)
            verify_order(view.generation)
            check_answers(place, view, asked, lowest)
            check_lists(place, view)


def codes(*firsts: int) -> np.ndarray:
    """(S, C): so many segments, with these codes of the first class; falling ones of the others."""
    return np.array([[first, 40_000 - row, 2 - row] for row, first in enumerate(firsts)], np.uint16)


def test_a_tag_whose_listed_segments_are_all_gone_is_served_and_says_that_nothing_is_known():
    with place_of({"b0": codes(9, 8), "b1": codes(7, 6)}, keep=2) as place:
        place.delete("b0")
        view = place.compact()
        assert (view.number, view.generation.posting_count(ClassOrdinal(0))) == (2, 0)
        for asked in (TAGS[0], Either(TAGS[0], TAGS[1]), Both(TAGS[0], TAGS[1]), Both(TAGS[1], Not(TAGS[0]))):
            assert answer(view, asked, 3) == ([], False)
        assert answer(view, TAGS[0], 3, HIGHEST) == ([], False)
        assert answer(view, TAGS[1], 3) == ([("b1", 0, 40_000)], False)
        assert (view.head(ClassOrdinal(0)).video_ids, view.count(ClassOrdinal(0))) == ([], 0)
        assert not view.strip(view.places_of("b1"), [ClassOrdinal(0)])[1].any()


def test_a_generation_without_any_posting_is_served():
    with place_of({"b0": codes(9, 8) + np.uint16(1), "b1": codes(7, 6)}, keep=1) as place:
        place.delete("b0")
        view = place.compact()
        assert (view.number, view.segment_count, view.manifest.posting_count) == (2, 2, 0)
        assert [answer(view, tag, 3) for tag in TAGS] == [([], False)] * CLASSES


def test_an_upload_is_not_said_to_be_the_best_where_a_list_is_empty():
    """Any segment that the list leaves out may be better."""
    with place_of({"b0": codes(9, 8), "b1": codes(7, 6)}, keep=2) as place:
        place.delete("b0")
        place.compact()
        place.put("new", codes(5, HIGHEST))
        view = place.current.view()
        assert answer(view, TAGS[0], 3) == ([], False)
        assert view.strip(view.places_of("new"), [ClassOrdinal(0)])[0].tolist() == [[5, HIGHEST]]
        assert answer(place.compact(), TAGS[0], 3) == ([], False)


def test_with_everybody_s_scores_a_list_that_lost_all_is_filled_up():
    with place_of({"b0": codes(9, 8), "b1": codes(7, 6, 5)}, keep=2, scores=True) as place:
        place.delete("b0")
        view = place.compact()
        assert view.generation.posting_count(ClassOrdinal(0)) == 2
        assert answer(view, TAGS[0], 9) == ([("b1", 0, 7), ("b1", 5, 6), ("b1", 10, 5)], True)
