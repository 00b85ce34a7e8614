"""A library of random lists, for what is timed without a model: its index on disk, and what answers from it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from segsearch.core.features import YOUTUBE8M
from segsearch.core.score_codes import HIGHEST
from segsearch.core.vocabulary import Entry, Vocabulary
from segsearch.service.index.format import LIVE, POSTINGS_KEPT
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.manifest import BundleName, Skipped
from segsearch.service.index.view import View
from segsearch.service.index.writer import GenerationWriter, Origin
from segsearch.service.library import SegmentLibrary
from segsearch.service.page_memory import PageMemory
from segsearch.service.pages import Page

VIDEO_SEGMENTS = 46  # YouTube-8M's mean
NAME, DIGEST = "random", "d" * 64

Search = Callable[[int, int], Page]


def write_index(
    root: Path, classes: int, segments: int, keep: int = POSTINGS_KEPT, *, lists: int | None = None
) -> None:
    """An index with such a library as its one generation. lists: so many differ, and come again and again."""
    index = IndexDirectory(root)
    with index.building() as built:
        write_generation(built.directory, classes, segments, keep, built.number, lists=lists)
        index.publish(built)


def write_generation(
    folder: Path, classes: int, segments: int, keep: int, number: int = 1, *, lists: int | None = None
) -> None:
    """Lists of random segments with codes as rare classes have them."""
    random = np.random.default_rng(0)
    origin = Origin(BundleName(NAME, 1, DIGEST), YOUTUBE8M.space, vocabulary_of(classes))
    with GenerationWriter(folder, origin, keep) as writer:
        for video in range(-(-segments // VIDEO_SEGMENTS)):
            count = min(VIDEO_SEGMENTS, segments - video * VIDEO_SEGMENTS)
            writer.add_video(f"{video:04x}", np.arange(count, dtype=np.uint32) * 5)
        made = [_list(random, segments, keep) for _ in range(lists or classes)]
        for row in range(classes):
            writer.add_postings(*made[row % len(made)])
        writer.seal(number, Skipped())


def _list(random: np.random.Generator, segments: int, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """Ordinals and codes of one class, best first."""
    ordinals = np.sort(random.choice(segments, keep, replace=False)).astype(np.uint32)
    codes = random.normal(27_000, 1_500, keep).astype(np.uint16)
    ranked = np.argsort(HIGHEST - codes, kind="stable")
    return ordinals[ranked], codes[ranked]


def vocabulary_of(classes: int) -> Vocabulary:
    """`tag 0` and so on."""
    return Vocabulary(Entry(number, f"tag {number}") for number in range(classes))


@contextmanager
def opened(root: Path, classes: int) -> Iterator[SegmentLibrary]:
    """The index with its live store. It scores nothing, so a model's name is all that it has of one."""
    manifest = SimpleNamespace(name=NAME, version=1, features=YOUTUBE8M)
    bundle = SimpleNamespace(manifest=manifest, vocabulary=vocabulary_of(classes), digest=DIGEST)
    with LiveStore.open(root / LIVE, YOUTUBE8M.space) as store:
        yield SegmentLibrary(SimpleNamespace(bundle=bundle, provider="none"), IndexDirectory(root), store)


def searching(root: Path, *, remembers: bool) -> SegmentLibrary:
    """The index alone, to be searched: as a tag is asked for again before anything changed, or for the first time."""
    index = IndexDirectory(root)
    vocabulary = index.open_current().vocabulary
    bundle = SimpleNamespace(manifest=SimpleNamespace(features=YOUTUBE8M), vocabulary=vocabulary, directory=root)
    return SegmentLibrary(SimpleNamespace(bundle=bundle), index, pages=None if remembers else PageMemory(0))


def search_of(library: SegmentLibrary, view: View | None = None) -> Search:
    """Searches by the class's number; a view holds what it answers from, else it is what the library holds."""
    names = [entry.name for entry in library.view().vocabulary.entries]
    return lambda tag, k: library.search(names[tag], k, view=view)
