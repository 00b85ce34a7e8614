"""A view's answers against sorting everything that can be found: one tag or several, with and without kept scores."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segsearch.core.score_codes import HIGHEST
from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.index.expression import Both, Either, Expression, Not, Tag
from segsearch.service.index.live.delta import Delta
from segsearch.service.index.query import moments, ranked
from segsearch.service.index.view import View
from tests.scored_generation import write_scored

CLASSES = 3
CODES = np.array([0, 1, 2, 3, 40_000, HIGHEST - 1, HIGHEST], np.uint16)  # few of them: ties everywhere
EVEN = (HIGHEST + 1) // 2


@dataclass(frozen=True, eq=False)
class Moment:
    """A view, and of every segment that can be found, in order of place, what is true of it."""

    view: View
    places: np.ndarray  # (n,)
    codes: np.ndarray  # (n, C)
    videos: list[str]
    starts: np.ndarray  # (n,)


def make_delta(seed: int, ids: list[str], changed: frozenset[str]) -> Delta:
    """Live videos of one to four segments; some videos among them are dead."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 5, len(ids))
    videos = np.repeat(np.arange(len(ids), dtype=np.uint32), lengths)
    starts = np.concatenate([np.arange(length, dtype=np.uint32) * 5 for length in lengths] or [np.zeros(0, np.uint32)])
    alive = np.isin(videos, np.flatnonzero(random.random(len(ids)) < 0.7))
    # A video that was put again is there twice, and only its last copy can be found.
    for video, name in enumerate(ids):
        if name in ids[video + 1 :]:
            alive[videos == video] = False
    codes = random.choice(CODES, (CLASSES, len(videos)))
    uploads = (videos + 1).astype(np.uint64)
    return Delta(len(ids) + 1, codes, alive, videos, starts, uploads, ids, changed | set(ids))


@st.composite
def made(draw: st.DrawFn) -> tuple[list[int], int, bool, int, list[str], frozenset[str]]:
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    names = [f"b{number}" for number in range(len(lengths))]
    ids = draw(st.lists(st.sampled_from([*names, "x", "y", "z"]), max_size=6))
    gone = frozenset(draw(st.lists(st.sampled_from([*names, "x"]), max_size=4)))
    keep = draw(st.integers(1, sum(lengths) + 2))
    return lengths, keep, draw(st.booleans()), draw(st.integers(0, 2**32 - 1)), ids, gone


def moment_of(folder: Path, lengths, keep, scores, seed, ids, gone) -> Moment:
    base = np.random.default_rng(seed).choice(CODES, (sum(lengths), CLASSES))
    generation = write_scored(folder, lengths, base, keep, scores=scores)
    delta = make_delta(seed, ids, gone)
    videos = [f"b{number}" for number, length in enumerate(lengths) for _ in range(length)]
    shown = [row for row, video in enumerate(videos) if video not in delta.changed]
    live = np.flatnonzero(delta.alive)
    return Moment(
        View.of(generation, delta),
        np.concatenate([np.array(shown, np.int64), len(base) + live]),
        np.concatenate([base[shown], delta.codes[:, live].T]).astype(np.int64),
        [videos[row] for row in shown] + [delta.ids[video] for video in delta.videos[live]],
        np.concatenate([generation.segment_starts[shown], delta.starts[live]]).astype(np.int64),
    )


def tags() -> st.SearchStrategy[Expression]:
    return st.integers(0, CLASSES - 1).map(lambda number: Tag(ClassOrdinal(number)))


expressions = st.recursive(
    tags(),
    lambda part: st.one_of(part.map(Not), st.builds(Both, part, part), st.builds(Either, part, part)),
    max_leaves=5,
)


def plain_code(asked: Expression, codes: np.ndarray) -> int:
    if isinstance(asked, Tag):
        return int(codes[asked.ordinal])
    if isinstance(asked, Not):
        return min(HIGHEST + 1 - plain_code(asked.part, codes), HIGHEST)
    pick = min if isinstance(asked, Both) else max
    return pick(plain_code(asked.left, codes), plain_code(asked.right, codes))


def plain(moment: Moment, asked: Expression, k: int, lowest: int, per_video: int | None) -> list[tuple[int, int]]:
    """(place, code) of the k best, by looking at every segment."""
    codes = [plain_code(asked, row) for row in moment.codes]
    found, seen = [], {}
    for row in sorted(range(len(codes)), key=lambda row: (-codes[row], moment.places[row])):
        seen[moment.videos[row]] = seen.get(moment.videos[row], 0) + 1
        if codes[row] >= lowest and (per_video is None or seen[moment.videos[row]] <= per_video):
            found.append((int(moment.places[row]), codes[row]))
    return found[:k]


def pairs(found) -> list[tuple[int, int]]:
    return list(zip(found.places.tolist(), found.codes.tolist(), strict=True))


lowests = st.sampled_from([0, 0, 1, 3, EVEN, HIGHEST])


@settings(max_examples=150)
@given(made(), expressions, st.integers(1, 30), lowests, st.none() | st.integers(1, 3))
def test_an_answer_is_the_beginning_of_all_there_is_in_order(parts, asked, k, lowest, per_video):
    with TemporaryDirectory() as folder:
        moment = moment_of(Path(folder), *parts)
        found = ranked(moment.view, asked, k, lowest=lowest, per_video=per_video)
        wanted = plain(moment, asked, k, lowest, per_video)
        if found.complete:
            assert pairs(found) == wanted
        else:
            assert len(found.codes) < k
            assert pairs(found) == wanted[: len(found.codes)]


@settings(max_examples=80)
@given(made(), expressions, st.integers(1, 30), lowests)
def test_with_everybody_s_scores_every_answer_is_complete(parts, asked, k, lowest):
    lengths, keep, _, *rest = parts
    with TemporaryDirectory() as folder:
        moment = moment_of(Path(folder), lengths, keep, True, *rest)
        found = ranked(moment.view, asked, k, lowest=lowest)
        assert found.complete
        assert pairs(found) == plain(moment, asked, k, lowest, None)


@settings(max_examples=80)
@given(made(), st.integers(0, CLASSES - 1), st.integers(1, 30))
def test_one_tag_s_answer_goes_as_far_as_its_list(parts, tag, k):
    """What ranks above the last listed code is there, however much was deleted above it."""
    with TemporaryDirectory() as folder:
        moment = moment_of(Path(folder), *parts)
        _, _, beyond = moment.view.listed(ClassOrdinal(tag))
        above = [pair for pair in plain(moment, Tag(ClassOrdinal(tag)), k, 0, None) if pair[1] > beyond]
        assert pairs(moment.view.best(ClassOrdinal(tag), k))[: len(above)] == above


@settings(max_examples=80)
@given(made(), st.integers(1, 30))
def test_segments_are_named_as_they_were_put_in(parts, k):
    with TemporaryDirectory() as folder:
        moment = moment_of(Path(folder), *parts)
        found = ranked(moment.view, Tag(ClassOrdinal(0)), k)
        ids, starts = moment.view.segments(found.places)
        known = {
            place: (video, start)
            for place, video, start in zip(moment.places.tolist(), moment.videos, moment.starts.tolist(), strict=True)
        }
        assert list(zip(ids, starts.tolist(), strict=True)) == [known[place] for place in found.places.tolist()]
        for video in set(moment.videos):
            wanted = [place for place, name in zip(moment.places.tolist(), moment.videos, strict=True) if name == video]
            assert moment.view.places_of(video).tolist() == wanted


@settings(max_examples=80)
@given(made(), st.integers(1, 30), lowests)
def test_moments_are_the_runs_of_the_segments_found(parts, k, lowest):
    with TemporaryDirectory() as folder:
        view = moment_of(Path(folder), *parts).view
        found = ranked(view, Tag(ClassOrdinal(0)), k, lowest=lowest)
        ids, starts = view.segments(found.places)
        segments = set(zip(ids, starts.tolist(), strict=True))
        runs = {}  # (video, first start) -> the segments of the run
        for video, start in segments:
            first = start
            while (video, first - 5) in segments:
                first -= 5
            runs.setdefault((video, first), []).append(start)
        rank = {segment: number for number, segment in enumerate(zip(ids, starts.tolist(), strict=True))}
        wanted = sorted(
            (min(rank[video, start] for start in run), first, max(run) + 5) for (video, first), run in runs.items()
        )
        got = moments(view, found)
        place_rank = {place: number for number, place in enumerate(found.places.tolist())}
        assert [place_rank[place] for place in got.peaks.tolist()] == [peak for peak, _, _ in wanted]
        assert got.starts.tolist() == [first for _, first, _ in wanted]
        assert got.ends.tolist() == [end for _, _, end in wanted]


@settings(max_examples=60)
@given(made(), lowests)
def test_counts_are_those_of_the_segments_that_can_be_found(parts, lowest):
    lengths, _, *rest = parts
    with TemporaryDirectory() as folder:
        moment = moment_of(Path(folder), lengths, sum(lengths), *rest)  # all are listed
        wanted = [int((column >= lowest).sum()) for column in moment.codes.T]
        assert [moment.view.count(ClassOrdinal(number), lowest) for number in range(CLASSES)] == wanted
        assert moment.view.segment_count == len(moment.places)
        assert moment.view.video_count == len(set(moment.videos))
