"""Makes what the library answers of what a view finds and what a model says.

Where it stands: `library` asks, `index.query` and `index.paging` find; `pages` says what comes out.

S segments, C classes, k hits.
"""

import time

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.errors import InputTooLarge
from segsearch.core.score_codes import PROBABILITIES
from segsearch.core.segments import segment_count
from segsearch.service.index.expression import Tag, parse, tags_of
from segsearch.service.index.paging import Bookmark, page_of
from segsearch.service.index.query import moments, ranked
from segsearch.service.index.view import HEAD, View
from segsearch.service.page_memory import Asked
from segsearch.service.pages import MomentPage, Page, ScoredVideo
from segsearch.service.scoring.scorer import Scores
from segsearch.service.tracing.trace import current
from segsearch.service.uploads.json_values import NUMBER_LIMIT


def head_page(view: View, wanted: Asked) -> Page | None:
    """The k best segments for one tag, where the view has found them already; `page_found` is its plain twin."""
    _, k, min_score, per_video, after = wanted
    if k >= HEAD or min_score or per_video is not None or after is not None:
        return None
    asked = parse(wanted.tag, view.vocabulary)
    if not isinstance(asked, Tag):
        return None
    head = view.head(asked.ordinal)
    if len(head.video_ids) <= k:  # it may be the end of the list
        return None
    codes = head.codes[:k]
    following = Bookmark(view.number, view.sequence, k, int(codes[-1]), *view.rank(int(head.places[k - 1])))
    tags = [view.vocabulary[asked.ordinal]]
    return Page(tags, view.manifest, view.sequence, head.first_ids(k), head.starts[:k], codes, True, following)


def page_found(view: View, wanted: Asked) -> Page:
    """A page of the best segments for one tag or several; raises what `SegmentLibrary.search` does."""
    asked, lowest = parse(wanted.tag, view.vocabulary), _lowest_code(wanted.min_score)
    found, following = page_of(view, asked, wanted.k, wanted.after, lowest=lowest, per_video=wanted.per_video)
    video_ids, starts = view.segments(found.places)
    tags = [view.vocabulary[ordinal] for ordinal in tags_of(asked)]
    codes = found.codes.copy()  # what they were cut from may be far longer, and stay as long as the page is remembered
    return Page(tags, view.manifest, view.sequence, video_ids, starts, codes, found.complete, following)


def moment_page(view: View, wanted: Asked) -> MomentPage:
    """The same segments, adjacent ones of a video as one moment."""
    asked, lowest = parse(wanted.tag, view.vocabulary), _lowest_code(wanted.min_score)
    found = ranked(view, asked, wanted.k, lowest=lowest, per_video=wanted.per_video)
    merged = moments(view, found)
    video_ids, peaks = view.segments(merged.peaks)
    return MomentPage(
        [view.vocabulary[ordinal] for ordinal in tags_of(asked)], view.manifest, view.sequence,
        video_ids, merged.starts, merged.ends, peaks, merged.codes, found.complete,
    )  # fmt: skip


def tell_search(began_s: float, k: int, page: Page | MomentPage) -> None:
    """A search is a step of the request under way."""
    trace = current()
    if trace is not None:
        facts = {
            "segsearch.tags": len(page.tags), "segsearch.k": k, "segsearch.hits": len(page.codes),
            "segsearch.generation": page.generation.number, "segsearch.sequence": page.sequence,
        }  # fmt: skip
        trace.add("search", began_s, time.monotonic(), facts)


def with_best(bundle: Bundle, scores: Scores, top: int) -> ScoredVideo:
    """Scores of a video as its `top` best classes of each segment."""
    classes = best_classes(scores.probabilities, top)
    return ScoredVideo(scores.starts, classes, np.take_along_axis(scores.probabilities, classes, axis=1), bundle)


def check_tags(bundle: Bundle, frame_count: int, top: int, field: str) -> None:
    """Raises InputTooLarge, naming the field, where the `top` tags of every segment are too many to write down."""
    segments, each = segment_count(frame_count), min(top, len(bundle.vocabulary))
    if segments * each > NUMBER_LIMIT:
        found = f"{each} tags of each of {segments} segments"
        raise InputTooLarge(field, found, f"at most {NUMBER_LIMIT // segments}: {NUMBER_LIMIT} in all")


def best_classes(probabilities: np.ndarray, top: int) -> np.ndarray:
    """(S, top) class ordinals of the best probabilities of each row (S, C) float32, ties by smaller ordinal."""
    class_count = probabilities.shape[1]
    top = min(top, class_count)
    # As in index.selection: a float32 that is not negative sorts like its bits, and with the class below them no two
    # keys are equal, so that a partition has one right answer.
    bits = np.ascontiguousarray(probabilities + np.float32(0)).view(np.uint32).astype(np.uint64) << np.uint64(32)
    keys = bits | np.arange(class_count, dtype=np.uint64)[::-1]
    best = np.sort(np.partition(keys, class_count - top, axis=1)[:, class_count - top :], axis=1)[:, ::-1]
    classes: np.ndarray = class_count - 1 - (best & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return classes


def _lowest_code(min_score: float) -> int:
    """The first code whose probability is at least so much."""
    return int(np.searchsorted(PROBABILITIES, np.float32(min_score))) if min_score > 0 else 0
