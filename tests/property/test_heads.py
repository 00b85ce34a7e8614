"""What a view takes over from the one before, and answers from, is what it would have found itself."""

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segsearch.core.score_codes import HIGHEST
from segsearch.core.segments import segment_count
from segsearch.service.index.generation import Generation
from segsearch.service.index.live.delta import Delta
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.view import HEAD, View, live_over
from segsearch.service.page_making import head_page, page_found
from segsearch.service.page_memory import Asked
from tests.live_videos import BUNDLE, CLASSES, OTHER, SPACE, frames_of
from tests.scored_generation import write_scored

BASE_VIDEOS, SEGMENTS = 8, 3 * HEAD // 8  # three heads in all
KS = (1, 2, 3, HEAD // 4, HEAD // 2, HEAD - 1, HEAD)
IDS = [f"b{number}" for number in range(BASE_VIDEOS)] + list("xyz")

changes = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(IDS), st.integers(1, 60), st.sampled_from(("low", "any"))),
    st.tuples(st.just("put for another model"), st.sampled_from(IDS), st.integers(1, 60)),
    st.tuples(st.just("score what lacks")),
    st.tuples(st.just("delete"), st.sampled_from(IDS)),
)


def generation_of(folder: Path, random: np.random.Generator, keep: int, scores: bool = False) -> Generation:
    codes = random.integers(100, 140, (BASE_VIDEOS * SEGMENTS, CLASSES)).astype(np.uint16)  # ties everywhere
    return write_scored(folder, [SEGMENTS] * BASE_VIDEOS, codes, keep, scores=scores, bundle=BUNDLE, space=SPACE)


def take(store: LiveStore, change: tuple, random: np.random.Generator) -> None:
    match change:
        case ("put", video_id, count, "low"):  # mostly below every head
            store.put(video_id, frames_of(count, 5 * count), {BUNDLE: uploaded(random, count, 0, 128)})
        case ("put", video_id, count, _):
            store.put(video_id, frames_of(count, 5 * count), {BUNDLE: uploaded(random, count, 90, 150)})
        case ("put for another model", video_id, count):
            store.put(video_id, frames_of(count, 5 * count), {OTHER: uploaded(random, count, 90, 150)})
        case ("score what lacks",):
            lacking = store.lacking(0, BUNDLE)
            counts = [segment_count(len(store.get(video_id).frames)) for _, video_id in lacking]
            scored = [uploaded(random, count, 90, 150) for count in counts]
            store.add_codes(
                BUNDLE, {name: (number, codes) for (number, name), codes in zip(lacking, scored, strict=True)}
            )
        case ("delete", video_id):
            store.delete(video_id)


def uploaded(random: np.random.Generator, count: int, lowest: int, highest: int) -> np.ndarray:
    return random.integers(lowest, highest, (count, CLASSES)).astype(np.uint16)


def same(ours, plain) -> bool:
    arrays = ((ours.starts, plain.starts), (ours.codes, plain.codes))
    return (
        ours._replace(starts=None, codes=None) == plain._replace(starts=None, codes=None)
        and all(one.tolist() == other.tolist() for one, other in arrays)
    )  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(changes, max_size=12),
    st.sampled_from((HEAD // 2, 2 * HEAD, HIGHEST)),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_a_page_of_a_head_is_the_page_that_a_search_finds(taken, keep, scores, seed):
    random = np.random.default_rng(seed)
    with TemporaryDirectory() as folder, LiveStore.open(Path(folder, "live"), SPACE, map_bytes=16 << 20) as store:
        generation = generation_of(Path(folder), random, min(keep, BASE_VIDEOS * SEGMENTS), scores)
        live, view = live_over(generation, store), None
        for change in [None, *taken]:
            if change is not None:
                take(store, change, random)
            view = View.of(generation, live.current(), before=view)
            for entry, k in itertools.product(view.vocabulary.entries[:4], KS):
                wanted = Asked(entry.name, k, 0.0, None, None)
                page = head_page(view, wanted)
                assert page is None or same(page, page_found(view, wanted))


@pytest.fixture
def views(tmp_path):
    """A view whose heads are found, and what makes the next one after a change of its store."""
    random = np.random.default_rng(0)
    generation = generation_of(tmp_path, random, 2 * HEAD)
    with LiveStore.open(tmp_path / "live", SPACE, map_bytes=16 << 20) as store:
        live = live_over(generation, store)
        view = View.of(generation, live.current())
        view.find_heads()

        def after(change: tuple, codes: np.ndarray | None = None) -> View:
            if codes is None:
                take(store, change, random)
            else:
                store.put(change[1], frames_of(1, 5 * len(codes)), {BUNDLE: codes})
            return View.of(generation, live.current(), before=view)

        yield view, after


def test_an_upload_below_a_head_leaves_it_and_one_among_it_does_not(views):
    view, after = views
    codes = np.zeros((3, CLASSES), np.uint16)
    codes[1, 0] = 139  # of one class only, among the best
    following = after(("put", "x"), codes)
    taken_over = [following.head(ordinal).video_ids is view.head(ordinal).video_ids for ordinal in range(CLASSES)]
    assert taken_over == [False] + [True] * (CLASSES - 1)
    assert "x" in following.head(0).video_ids
    assert "x" not in view.head(0).video_ids


def test_a_view_in_which_something_is_gone_takes_nothing_over(views):
    _, after = views
    assert after(("delete", "b0")).heads == [None] * CLASSES


def test_what_stood_in_is_gone_from_a_head_once_the_model_itself_has_scored(views):
    view, after = views
    following = after(("put for another model", "x", 60))
    following.find_heads()
    assert "x" in following.head(0).video_ids
    assert View.of(view.generation, after(("score what lacks",)).delta, before=following).heads == [None] * CLASSES


@pytest.mark.parametrize(("keep", "found"), [(HEAD - 1, 0), (HEAD, HEAD)])
def test_a_head_is_not_looked_for_in_everybody_s_scores(tmp_path, keep, found):
    generation = generation_of(tmp_path, np.random.default_rng(0), keep, scores=True)
    view = View.of(generation, Delta.empty(CLASSES))
    assert len(view.head(0).video_ids) == found
    assert len(view.best(0, HEAD).codes) == HEAD
