"""Pages put together are the one long list: of any moment, and while uploads and deletions come between them."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segsearch.core.errors import InvalidPageToken, PageTokenExpired
from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.index.expression import Tag
from segsearch.service.index.paging import Bookmark, page_of
from segsearch.service.index.query import ranked
from segsearch.service.index.view import View
from segsearch.service.library import SegmentLibrary
from segsearch.service.page_tokens import KEY_FILE, PageTokens, question_of
from tests.library_fixtures import make_videos
from tests.property.test_view import expressions, lowests, made, moment_of, pairs

QUESTION = question_of("Rain", 0.0, None)
BOOKMARKS = st.builds(
    Bookmark,
    generation=st.integers(1, 2**40), sequence=st.integers(0, 2**40), seen=st.integers(1, 100_000),
    code=st.integers(0, 2**16 - 1), upload=st.integers(0, 2**40), row=st.integers(0, 2**32 - 1),
)  # fmt: skip


def paged(view: View, asked, sizes: list[int], **bounds) -> tuple[list[tuple[int, int]], bool]:
    """Everything, page by page, and whether the last page was complete. sizes: of the pages, in turn."""
    found, complete, after = [], True, None
    for number in range(1000):
        page, after = page_of(view, asked, sizes[number % len(sizes)], after, **bounds)
        assert len(page.codes) == sizes[number % len(sizes)] or after is None
        found, complete = found + pairs(page), page.complete
        if after is None:
            return found, complete
    pytest.fail("pages without end")


@settings(max_examples=150)
@given(made(), expressions, st.lists(st.integers(1, 9), min_size=1, max_size=4), lowests, st.none() | st.integers(1, 3))
def test_pages_of_one_moment_are_its_list(parts, asked, sizes, lowest, per_video):
    with TemporaryDirectory() as folder:
        view = moment_of(Path(folder), *parts).view
        bounds = {"lowest": lowest, "per_video": per_video}
        whole = ranked(view, asked, 1000, **bounds)
        assert paged(view, asked, sizes, **bounds) == (pairs(whole), whole.complete)


@given(BOOKMARKS)
def test_a_token_is_read_as_it_was_written(bookmark):
    tokens = PageTokens(Path("nowhere"))  # where no key can be kept the process has one of its own
    assert tokens.open(tokens.seal(bookmark, QUESTION), QUESTION) == bookmark


@given(BOOKMARKS, st.integers(0, 10**6), st.sampled_from("ABCabc019-_ =.é\x00"))
def test_a_token_with_any_letter_changed_is_refused(bookmark, place, letter):
    tokens = PageTokens(Path("nowhere"))
    token = tokens.seal(bookmark, QUESTION)
    place %= len(token) - 1  # the last letter has bits that mean nothing
    forged = token[:place] + letter + token[place + 1 :]
    if forged != token:
        with pytest.raises(InvalidPageToken):
            tokens.open(forged, QUESTION)


@given(BOOKMARKS, st.text(max_size=300))
def test_what_is_no_token_is_refused(bookmark, text):
    tokens = PageTokens(Path("nowhere"))
    token = tokens.seal(bookmark, QUESTION)
    for wrong in (text, token[:-1], token[1:], token * 2, token + "A"):
        with pytest.raises(InvalidPageToken):
            tokens.open(wrong, QUESTION)


@pytest.mark.parametrize("other", [("rain", 0.0, None), ("Rain", 0.5, None), ("Rain", 0.0, 1)])
def test_a_token_is_of_one_question(other):
    tokens = PageTokens(Path("nowhere"))
    token = tokens.seal(Bookmark(1, 0, 3, 7, 0, 2), QUESTION)
    with pytest.raises(InvalidPageToken):
        tokens.open(token, question_of(*other))


def test_processes_of_one_directory_share_a_key_that_only_its_owner_reads(tmp_path):
    bookmark = Bookmark(1, 0, 3, 7, 0, 2)
    token = PageTokens(tmp_path).seal(bookmark, QUESTION)
    assert PageTokens(tmp_path).open(token, QUESTION) == bookmark
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]
    with pytest.raises(InvalidPageToken):
        PageTokens(tmp_path / "elsewhere").open(token, QUESTION)


def hits(page) -> list[tuple[str, int]]:
    return list(zip(page.video_ids, page.starts.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_pages_between_which_videos_come_and_go_are_the_first_moment_without_what_went(live, videos, seed):
    chance = random.Random(seed)
    uploads = make_videos(12, seed=50 + seed, prefix="up")
    for video in uploads[:8]:
        live.add(video.id, video.frames, 1)
    first = live.view()
    whole = hits(live.search("Rain", 1000))
    gone, found, after = set(), [], None
    while True:
        page = live.search("Rain", chance.randint(1, 25), after=after)
        assert not {video for video, _ in hits(page)} & gone
        found, after = found + hits(page), page.following
        if after is None:
            break
        # What is replaced comes back with scores of other frames: to the list it is gone all the same.
        video_id = chance.choice([video.id for video in (*uploads, *videos)])
        if chance.random() < 0.6 or not len(live.view().places_of(video_id)):
            live.add(video_id, make_videos(1, seed=chance.randrange(10**6))[0].frames, 1)
        else:
            live.delete(video_id)
        gone.add(video_id)
    assert first.sequence < live.view().sequence
    assert len(set(found)) == len(found)
    # What went after its page is there, what went before is not: in between, the order is that of the first moment.
    assert [hit for hit in whole if hit[0] not in gone or hit in found] == found


def test_another_process_goes_on_where_this_one_stopped_though_it_follows_in_other_columns(live, scorer, index):
    for video in make_videos(9, seed=5, prefix="up"):
        live.add(video.id, video.frames, 1)
        live.view()  # follows one by one, so that the dead columns stay until they are many
    for name in ("up000", "up004"):
        live.delete(name)
        live.view()
    other = SegmentLibrary(scorer, index, live.store)  # follows from nothing: has no dead columns
    assert len(other.view().delta.alive) < len(live.view().delta.alive)
    found, after = [], None
    for turn in range(1000):
        page = (live, other)[turn % 2].search("Cat", 3, after=after)
        found, after = found + hits(page), page.following
        if after is None:
            break
    assert found == hits(live.search("Cat", 1000))


def test_a_bookmark_of_another_generation_or_of_a_later_moment_has_expired(live):
    after = live.search("Rain", 3).following
    view, asked = live.view(), Tag(ClassOrdinal(0))
    for field in ("generation", "sequence"):
        changed = after._replace(**{field: getattr(after, field) + 1})
        with pytest.raises(PageTokenExpired):
            page_of(view, asked, 3, changed)
