"""The one domain object: a library of segments that can be searched by tag, scored into, and added to.

Where it stands: every edge (REST and gRPC) converts, calls one method here, and converts back. Each method takes
one view and answers from it alone, so that no answer mixes two generations or two moments.

T frames, F codes a frame, S segments, C classes, k hits.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.errors import (
    Draining,
    FeatureSpaceMismatch,
    InvalidInput,
    ModelNotLoaded,
    NoEmbeddings,
    NotConfigured,
    NotIndexing,
    UnknownVideo,
    VocabularyMismatch,
)
from segsearch.core.score_codes import encode_probabilities
from segsearch.core.segments import segment_id
from segsearch.core.vocabulary import ClassOrdinal
from segsearch.service.comparison import Comparison, Comparisons
from segsearch.service.current_view import CurrentView
from segsearch.service.events import log
from segsearch.service.index.format import POSTINGS_CAP
from segsearch.service.index.generation import Generation
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.once import Name
from segsearch.service.index.live.operations import Stored
from segsearch.service.index.live.store import LiveStore
from segsearch.service.index.manifest import Manifest
from segsearch.service.index.paging import Bookmark
from segsearch.service.index.view import View
from segsearch.service.jobs.live_videos import catch_up
from segsearch.service.jobs.reindex_process import ReindexJobs
from segsearch.service.page_making import head_page, moment_page, page_found, tell_search, with_best
from segsearch.service.page_memory import Asked, PageMemory
from segsearch.service.pages import MomentPage, Page, ScoredVideo, SimilarPage, Strip, TagList
from segsearch.service.refused_load import LastLoad, OwnLastLoad, RefusedLoad
from segsearch.service.scoring.batching_scorer import BatchingScorer
from segsearch.service.scoring.bundle_folder import BundleFolder
from segsearch.service.scoring.scorer import NOBODY, Caller, Scorer, Scores, awaited
from segsearch.service.scoring.scorer_in_use import ScorerInUse
from segsearch.service.similar_segments import (
    check_comparable,
    kept_vector,
    nearest_page,
    neighbours_of,
    place_of,
    vector_of,
)
from segsearch.service.tracing.trace import step

SEARCH_LIMIT: Final = POSTINGS_CAP
SIMILAR_LIMIT: Final = 1_000  # more are nobody's neighbours any more, and each of them is compared


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """A video that is being scored."""

    frames: np.ndarray  # (T, F) uint8
    caller: Caller
    add_as: str | None  # the id by which it is to be added
    bundle: Bundle  # whose model scores it
    scores: Future[Scores]  # whoever cancels them wants nothing any more


class SegmentLibrary:
    """Searches, scores and stores. Methods may be called from any number of threads."""

    def __init__(
        self,
        scorer: Scorer,
        index: IndexDirectory,
        store: LiveStore | None = None,
        *,
        bundles: BundleFolder | None = None,
        jobs: ReindexJobs | None = None,
        load_in_all: Callable[[str], None] | None = None,
        last_load: LastLoad | None = None,
        pages: PageMemory | None = None,
    ):
        """store: where uploads go; without one nothing can be added, and only the generation is searched. bundles:
        whose models may take the scorer's place. jobs: what may be started. load_in_all: loads a bundle where other
        processes answer as one with this: it has each `prove` it and `use` it, or raises ModelNotLoaded. last_load:
        where they keep how the last load ended. pages: where pages that were found are remembered.

        Raises GenerationCorrupt, VocabularyMismatch or FeatureSpaceMismatch where an index cannot be served.
        """
        self._in_use, self._bundles, self._loading = ScorerInUse(scorer), bundles, threading.Lock()
        self._load_in_all, self._last_load = load_in_all, last_load or OwnLastLoad()
        self.index, self.store, self._jobs = index, store, jobs
        self._comparisons = Comparisons(index)
        self._draining = False
        self._current, self._pages = CurrentView(index, store, self._check), pages or PageMemory()

    @property
    def scorer(self) -> Scorer:
        """The one in use now."""
        return self._in_use.scorer

    def close(self) -> None:
        """Closes the scorer in use, once the videos that were begun are scored."""
        self._in_use.close()

    def check_loads(self) -> None:
        """Raises NotConfigured where no bundle can be loaded, whichever it is."""
        self._bundle_folder()

    def load(self, path: str) -> Bundle:
        """Puts the bundle at a path of the folder of bundles in the place of the one in use, proved and warm.

        Videos that were begun end on the old one. Raises NotConfigured, InvalidInput, ModelNotLoaded or ModelUnfit:
        then the old one stays.
        """
        with self._loading:  # so that what is told of the last load is that of the last one
            try:
                self._load(path)
            except ModelNotLoaded as error:
                self._last_load.ended(RefusedLoad.now(error))
                raise
            self._last_load.ended(None)
        return self.scorer.bundle

    def _load(self, path: str) -> None:
        if self._load_in_all is None:
            self.use(self.prove(path))
            return
        with _refusal_noted(path):
            self._bundle_folder().fitting(path, self.scorer.bundle)  # what others refuse is said in words alone
        self._load_in_all(path)

    @property
    def refused_load(self) -> RefusedLoad | None:
        """The last load, where it was refused; None once one has succeeded since.

        What is no path below the folder of bundles is refused before it is a load.
        """
        return self._last_load.refused()

    def prove(self, path: str) -> BatchingScorer:
        """A scorer of the bundle at a path, proved and warm, that `use` may take; raises what `load` does."""
        with _refusal_noted(path):
            return self._bundle_folder().scorer(path, self.scorer)

    def use(self, scorer: BatchingScorer) -> None:
        """Puts a scorer in the place of the one in use."""
        named = scorer.bundle.manifest
        log("model_loaded", bundle=f"{named.name}/{named.version}", digest=scorer.bundle.digest,
            before=self.scorer.bundle.digest)  # fmt: skip
        self._in_use.replace(scorer)

    def catch_up(self) -> int | None:
        """Has the model in use score a few of the uploads that another one scored, and returns how many; None where
        there are none, or it is not the generation's own. Raises NoGeneration, StorageFull or StorageFailed.
        """
        view = self.view()
        with self._in_use.held() as scorer:
            manifest = view.manifest
            if self.store is None or not view.delta.lacking or scorer.bundle.digest != manifest.bundle.digest:
                return None
            return catch_up(scorer, self.store, manifest.live_sequence)

    @property
    def jobs(self) -> ReindexJobs:
        """Raises NotConfigured where none can be started."""
        if self._jobs is None:
            raise NotConfigured("data")
        return self._jobs

    def view(self) -> View:
        """What the library holds now; raises NoGeneration before the first reindex."""
        return self._current.view()

    def view_at_hand(self) -> View | None:
        """What `view` would give, where that takes no more than a look, so that an event loop may ask; else None."""
        return self._current.at_hand()

    def drain(self) -> None:
        """From now on it says that it is not ready; it answers as before."""
        self._draining = True

    def ready_view(self) -> View:
        """The view that answers, where new callers should come; raises Draining, or NoGeneration."""
        if self._draining:
            raise Draining
        return self.view()

    def is_scoring(self) -> bool:
        """False where the model has failed with the last videos; searches are answered all the same."""
        return self._in_use.works()

    def refresh(self) -> None:
        """Switches to the published generation before it returns, if that can be served."""
        self._current.refresh()

    def search(
        self, tag: str, k: int, *, min_score: float = 0.0, per_video: int | None = None,
        after: Bookmark | None = None, view: View | None = None,
    ) -> Page:  # fmt: skip
        """The k best segments that show `tag`, of those with a probability from `min_score` up.

        tag: a name in any case, label index or knowledge-graph id, or several joined by `and`, `or`, `not` (see
        `index.expression`). k: 1 to SEARCH_LIMIT. per_video: no more than so many of one video.
        after: where the page before ended. view: what to answer from, if not from what the library holds now.
        Raises UnknownTag with the nearest names, InvalidInput where the text is no query, PageTokenExpired, or
        NoGeneration.
        """
        view, began_s = view or self.view(), time.monotonic()
        page = self._page(view, Asked(tag, k, min_score, per_video, after))
        tell_search(began_s, k, page)
        return page

    def moments(
        self, tag: str, k: int, *, min_score: float = 0.0, per_video: int | None = None, view: View | None = None
    ) -> MomentPage:
        """The same segments as `search` finds, adjacent ones of a video as one moment; so there are at most k."""
        view, wanted, began_s = view or self.view(), Asked(tag, k, min_score, per_video, None), time.monotonic()
        page = moment_page(view, wanted)
        tell_search(began_s, k, page)
        return page

    def check_room(self, caller: Caller) -> None:
        """Raises QueueFull where a video of this caller's would find no room now."""
        self._in_use.check_room(caller)

    def begin(self, frames: np.ndarray, caller: Caller = NOBODY, *, add_as: str | None = None) -> Begun:
        """Hands a video in to be scored: frames (T, F) uint8, T at least 1; `finish` answers.

        add_as: the id by which it is to be added. Raises QueueFull, or NotIndexing where it cannot be added.
        """
        if add_as is not None:
            self._store()
        return Begun(frames, caller, add_as, *self._in_use.begin(frames, caller))

    def finish(self, begun: Begun, top: int, name: Name | None = None) -> tuple[ScoredVideo, Stored | None]:
        """The `top` best classes of every segment, once it is scored; where it was to be added it is, see `add`.

        name: it is added once by it. Raises IdempotencyKeyReused where the name stands for another change.
        """
        scores, stored = awaited(begun.scores, begun.caller), None
        if begun.add_as is not None:
            codes = {begun.bundle.digest: encode_probabilities(scores.probabilities)}
            stored = _committed(partial(self._store().put, begun.add_as, begun.frames, codes, name))
        return with_best(begun.bundle, scores, top), stored

    def score(self, frames: np.ndarray, top: int, caller: Caller = NOBODY) -> ScoredVideo:
        """The `top` best classes of every segment of a video: frames (T, F) uint8, T at least 1. Raises QueueFull."""
        return self.finish(self.begin(frames, caller), top)[0]

    def add(self, video_id: str, frames: np.ndarray, top: int, caller: Caller = NOBODY) -> tuple[ScoredVideo, Stored]:
        """Scores a video and adds it, in place of what had its id: durable, and in every later answer, when it returns.

        Raises NotIndexing without a store, StorageFull, or QueueFull.
        """
        scored, stored = self.finish(self.begin(frames, caller, add_as=video_id), top)
        assert stored is not None
        return scored, stored

    def delete(self, video_id: str, name: Name | None = None) -> Stored:
        """Takes a video out of every later answer, for good; once by a name. Raises UnknownVideo, NotIndexing,
        StorageFull, or IdempotencyKeyReused where the name stands for another change.
        """
        store = self._store()
        if not len(self.view().places_of(video_id)) and not store.holds(video_id):
            first = None if name is None else store.first_answer(name)  # looked for last: it took the video away
            if first is None:
                raise UnknownVideo(video_id)
            return first
        return _committed(partial(store.delete, video_id, name))

    def strip(self, video_id: str, tags: Sequence[str]) -> Strip:
        """One video's score for each of the tags, segment by segment. Raises UnknownVideo, UnknownTag, NoGeneration."""
        view = self.view()
        ordinals = [view.vocabulary.find(tag) for tag in tags]
        places = view.places_of(video_id)
        if not len(places):
            raise UnknownVideo(video_id)
        codes, known = view.strip(places, ordinals)
        entries = [view.vocabulary[ordinal] for ordinal in ordinals]
        return Strip(video_id, entries, view.manifest, view.sequence, view.starts(places), codes, known)

    def similar(self, video_id: str, start_s: int, k: int, caller: Caller = NOBODY) -> SimilarPage:
        """The k segments of the generation nearest to one of the library's, itself left out. k: 1 to SIMILAR_LIMIT.

        Raises what `begin_similar_segment` and `similar_to` raise.
        """
        found = self.begin_similar_segment(video_id, start_s, k, caller)
        return found if isinstance(found, SimilarPage) else self.similar_of(found, start_s, k)

    def begin_similar_segment(
        self, video_id: str, start_s: int, k: int, caller: Caller = NOBODY
    ) -> SimilarPage | Begun:
        """What `similar` finds, at once where the segment's embedding is kept. One that came after the last reindex is
        scored again from its frames: `similar_of` answers once it is.

        Raises UnknownVideo, InvalidInput where the video has no such segment, NoEmbeddings, or QueueFull.
        """
        view = self.view()
        neighbours_of(view)
        place = place_of(view, video_id, start_s)
        vector = kept_vector(view, place)
        if vector is not None:
            return nearest_page(view, vector, k, but=place)
        video = self.store.get(video_id) if self.store is not None else None
        if video is None:
            raise NoEmbeddings(f"segment {segment_id(video_id, start_s)} came after the last reindex")
        return self.begin_similar(video.frames, caller)

    def similar_to(self, frames: np.ndarray, start_s: int | None, k: int, caller: Caller = NOBODY) -> SimilarPage:
        """The k segments of the generation nearest to one of a video that need not be stored: frames (T, F) uint8.

        start_s: where that segment begins; None takes the mean of all. Raises InvalidInput where there is none,
        NoEmbeddings, also where another bundle made those that are kept, MissingExtra, NoGeneration, or QueueFull.
        """
        return self.similar_of(self.begin_similar(frames, caller), start_s, k)

    def begin_similar(self, frames: np.ndarray, caller: Caller = NOBODY) -> Begun:
        """Hands in frames (T, F) uint8 whose neighbours are wanted; `similar_of` answers once they are scored."""
        check_comparable(self.view(), self.scorer.bundle)
        return self.begin(frames, caller)

    def similar_of(self, begun: Begun, start_s: int | None, k: int) -> SimilarPage:
        """See `similar_to`."""
        view, embeddings = self.view(), awaited(begun.scores, begun.caller).embeddings  # (S, H)
        check_comparable(view, begun.bundle)
        return nearest_page(view, vector_of(embeddings, start_s), k)

    def tags(self, prefix: str, limit: int) -> TagList:
        """Tags with a word that begins with `prefix`, those that themselves begin so first; raises NoGeneration."""
        view = self.view()
        found = view.vocabulary.starting_with(prefix, limit)
        counts = [(view.vocabulary[ordinal], view.count(ClassOrdinal(ordinal))) for ordinal in found]
        return TagList(view.manifest, view.sequence, counts)

    def compare(self, older: int, newer: int, k: int) -> Comparison:
        """What became of each tag's best k segments from one generation of the index to another.

        k: 1 to COMPARED_LIMIT. Raises UnknownGeneration, NoTagInCommon, TooManyCalls or GenerationCorrupt.
        """
        return self._comparisons.of(older, newer, k)

    def activate(self, number: int) -> Manifest:
        """Makes a generation current that is there and that can be served here, once it has been verified.

        Raises InvalidInput where the bundle in use is of another vocabulary or feature space, UnknownGeneration,
        GenerationCorrupt or IndexBusy: then nothing has changed.
        """
        try:
            self._check(self.index.open(number))
        except (VocabularyMismatch, FeatureSpaceMismatch) as error:
            what = "vocabulary" if isinstance(error, VocabularyMismatch) else "feature space"
            found = f"generation {number} has {what} {error.found}"
            raise InvalidInput("number", found, f"{error.wanted} as the model in use has") from None
        return self.index.activate(number).manifest

    def _page(self, view: View, wanted: Asked) -> Page:
        page = self._pages.get(view, wanted)
        if page is None:
            page = head_page(view, wanted) or page_found(view, wanted)
            self._pages.put(view, wanted, page)
        return page

    def _bundle_folder(self) -> BundleFolder:
        if self._bundles is None:
            raise NotConfigured("bundles")
        return self._bundles

    def _store(self) -> LiveStore:
        if self.store is None:
            raise NotIndexing(self.index.root)
        return self.store

    def _check(self, generation: Generation) -> None:
        bundle, thing = self.scorer.bundle, f"generation {generation.directory}"
        if generation.vocabulary.digest != bundle.vocabulary.digest:
            raise VocabularyMismatch(
                thing, generation.vocabulary.digest, f"bundle {bundle.directory}", bundle.vocabulary.digest
            )
        if generation.manifest.feature_space != bundle.manifest.features.space:
            raise FeatureSpaceMismatch(thing, generation.manifest.feature_space, bundle.manifest.features.space)


@contextmanager
def _refusal_noted(path: str) -> Iterator[None]:
    try:
        yield
    except ModelNotLoaded as error:
        log("model_not_loaded", level=logging.ERROR, path=path, reason=error.reason)
        raise


def _committed(change: Callable[[], Stored]) -> Stored:
    """What a change of the store made, which is a step of the request under way."""
    with step("commit") as facts:
        stored = change()
        facts |= {"segsearch.sequence": stored.sequence, "segsearch.unchanged": stored.unchanged}
    return stored
