"""What a library remembers of a view's pages, and that it is forgotten in time."""

import gc
from dataclasses import replace
from weakref import ref

import numpy as np
import pytest

from segsearch.service.page_memory import Asked, PageMemory
from segsearch.service.pages import Page


def asked(tag="Rain", k=10):
    return Asked(tag, k, 0.0, None, None)


def page_of(hits):
    return Page([], None, 0, ["video"] * hits, np.zeros(hits), np.zeros(hits, np.uint16), True)


@pytest.fixture
def view(library):
    return library.view()


def test_the_same_question_of_the_same_moment_gets_the_same_page(library):
    assert library.search("Rain", 1000) is library.search("Rain", 1000)


@pytest.mark.parametrize("other", [{"k": 999}, {"min_score": 0.1}, {"per_video": 1}, {"tag": "Speech"}])
def test_another_question_gets_a_page_of_its_own(library, other):
    first = library.search("Rain", 1000)
    again = library.search(**{"tag": "Rain", "k": 1000, **other})
    assert again is not first


def test_a_page_keeps_no_more_in_memory_than_its_own_codes(library):
    assert library.search("Rain", 1000, min_score=0.5).codes.base is None


def test_another_view_begins_with_nothing(view):
    memory, page = PageMemory(), page_of(3)
    memory.get(view, asked())
    memory.put(view, asked(), page)
    assert memory.get(view, asked()) is page
    assert memory.get(replace(view), asked()) is None
    assert memory.get(view, asked()) is None


def test_a_page_of_a_view_that_was_left_is_not_kept(view):
    memory = PageMemory()
    memory.get(view, asked())
    memory.put(replace(view), asked(), page_of(3))
    assert memory.get(view, asked()) is None


def test_the_pages_not_asked_for_longest_leave_first(view):
    memory = PageMemory(room_hits=2 * 164)
    memory.get(view, asked())
    for tag in "ab":
        memory.put(view, asked(tag), page_of(100))
    memory.get(view, asked("a"))
    memory.put(view, asked("c"), page_of(100))
    assert [memory.get(view, asked(tag)) is not None for tag in "abc"] == [True, False, True]


def test_without_room_nothing_is_remembered(view):
    memory = PageMemory(0)
    memory.get(view, asked())
    memory.put(view, asked(), page_of(1))
    assert memory.get(view, asked()) is None


def test_a_view_that_nobody_holds_any_more_goes(view):
    memory, another = PageMemory(), replace(view)
    memory.get(another, asked())
    memory.put(another, asked(), page_of(3))
    gone = ref(another)
    del another
    gc.collect()
    assert gone() is None
