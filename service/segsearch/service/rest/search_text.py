"""Writes pages of a search as text, straight from their arrays: thousands of hits at a time, no object for each.

Where it stands: `answers` says what the texts hold and is their plain twin, `search_answers` sends them.

n hits of a part of a page.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import chain, islice
from typing import Any, Final

import numpy as np

from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.vocabulary import Entry
from segsearch.service.index.manifest import BundleName, Manifest
from segsearch.service.pages import MomentPage, Page
from segsearch.service.rest.answers import GenerationAnswer, TagAnswer, score_texts

PART_HITS: Final = 4096  # written at a time: what they are made of stays in the processor's cache
_PIECE_PARTS: Final = 4  # sent together: each piece costs a hop to a worker thread and back
_FEW: Final = 256  # hits
_HIT: Final = '{"segment":"'  # how each hit begins
_ROWS: Final = 8192  # segments of a video whose texts are kept; those of eleven hours

Texts = np.ndarray[Any, np.dtype[np.object_]]


def search_json(page: Page | MomentPage, next_page_token: str | None = None) -> bytes:
    """The bytes of a `SearchAnswer` or `MomentsAnswer`."""
    name = "moments" if isinstance(page, MomentPage) else "segments"
    return f'{_head(page, next_page_token)},"{name}":[{",".join(_parts(page, ","))}]}}'.encode()


def search_lines(page: Page | MomentPage, next_page_token: str | None = None) -> Iterator[bytes]:
    """The same as lines, in pieces: the first line is the answer without its hits, then comes a hit a line."""
    texts = chain([f"{_head(page, next_page_token)}}}"], _parts(page, "\n"))
    while piece := list(islice(texts, _PIECE_PARTS)):
        yield "\n".join([*piece, ""]).encode()


def head_json(page: Page | MomentPage, next_page_token: str | None = None) -> bytes:
    """An answer without its hits."""
    return f"{_head(page, next_page_token)}}}".encode()


def warm_up() -> None:
    """Makes the tables now, so that the first search need not."""
    _score_column(","), _start_columns(), _plain_scores()


def _head(page: Page | MomentPage, next_page_token: str | None) -> str:
    """What stands before the hits, the brace open."""
    told = "true" if page.complete else "false"
    token = "" if isinstance(page, MomentPage) else f',"next_page_token":{json.dumps(next_page_token)}'
    return (
        f'{{"tags":[{",".join(map(_tag, page.tags))}],"generation":{_generation(page.generation)},'
        f'"sequence":{page.sequence},"complete":{told}{token}'
    )


def _parts(page: Page | MomentPage, between: str) -> Iterator[str]:
    """The hits as JSON, some thousand at a time, with a text between any two of a part."""
    for first in range(0, len(page.codes), PART_HITS):
        rows = slice(first, first + PART_HITS)
        yield _moments(page, rows, between) if isinstance(page, MomentPage) else _hits(page, rows, between)


def _hits(page: Page, rows: slice, between: str) -> str:
    videos = _escaped(page.video_ids[rows])
    texts = _few_texts if len(videos) <= _FEW else _many_texts
    parts = [_HIT] * (1 + 5 * len(videos))  # one behind the other they are the text
    parts[1::5] = parts[3::5] = videos
    parts[2::5], parts[4::5], parts[5::5] = texts(page.starts[rows], page.codes[rows], between)
    parts[-1] = parts[-1].removesuffix(between + _HIT)
    return "".join(parts)


def _moments(page: MomentPage, rows: slice, between: str) -> str:
    columns = (page.starts[rows].tolist(), page.ends[rows].tolist(), page.peaks[rows].tolist())
    return between.join([
        f'{{"video":"{video}","start_s":{start},"end_s":{end},"peak":"{video}:{peak}","score":{score}}}'
        for video, start, end, peak, score in zip(
            _escaped(page.video_ids[rows]), *columns, _plain_scores().take(page.codes[rows]).tolist(), strict=True
        )
    ])  # fmt: skip


def _escaped(video_ids: Sequence[str]) -> Sequence[str]:
    """Ids as they stand inside a JSON string."""
    together = "".join(video_ids)
    if together.isascii() and together.isprintable() and '"' not in together and "\\" not in together:
        return video_ids
    escaped = {video: json.dumps(video)[1:-1] for video in set(video_ids)}
    return [escaped[video] for video in video_ids]


def _few_texts(starts: np.ndarray, codes: np.ndarray, between: str) -> tuple[Iterable[str], ...]:
    """Of each hit what stands between its two video ids, from the second to the score, and from there to the next hit.

    Each call of numpy would take longer than some hits.
    """
    middles, ends = _by_start()
    at, scores = starts.tolist(), _score_texts(between)
    return map(middles.__getitem__, at), map(ends.__getitem__, at), map(scores.__getitem__, codes.tolist())


def _many_texts(starts: np.ndarray, codes: np.ndarray, between: str) -> tuple[Iterable[str], ...]:
    """The same."""
    rows = starts // SEGMENT_FRAMES
    if rows.max(initial=0) >= _ROWS or (rows * SEGMENT_FRAMES != starts).any():
        return _few_texts(starts, codes, between)
    middles, ends = _start_columns()
    return middles.take(rows).tolist(), ends.take(rows).tolist(), _score_column(between).take(codes).tolist()


def _middle(start: int) -> str:
    return f':{start}","video":"'


def _end(start: int) -> str:
    return f'","start_s":{start},"end_s":{start + SEGMENT_FRAMES},"score":'


class _ByStart(dict[int, str]):
    """Texts by first frame; those of a video's first segments are made once."""

    def __init__(self, text: Callable[[int], str]):
        super().__init__((start, text(start)) for start in range(0, _ROWS * SEGMENT_FRAMES, SEGMENT_FRAMES))
        self._text = text

    def __missing__(self, start: int) -> str:
        return self._text(start)


@cache
def _by_start() -> tuple[_ByStart, _ByStart]:
    return _ByStart(_middle), _ByStart(_end)


@cache
def _start_columns() -> tuple[Texts, Texts]:
    """By segment of a video."""
    middles, ends = _by_start()
    return np.array(list(middles.values()), object), np.array(list(ends.values()), object)


@cache
def _score_texts(between: str) -> tuple[str, ...]:
    """By score code: a hit's score, its end, and how the next one begins."""
    return tuple(f"{score}}}{between}{_HIT}" for score in score_texts())


@cache
def _score_column(between: str) -> Texts:
    return np.array(_score_texts(between), object)


@cache
def _plain_scores() -> Texts:
    return np.array(score_texts(), object)


@lru_cache(8192)
def _tag(entry: Entry) -> str:
    return TagAnswer.of(entry).model_dump_json()


def _generation(manifest: Manifest) -> str:
    return _generation_text(
        manifest.number, manifest.created_at, manifest.segment_count, manifest.video_count, manifest.limit,
        manifest.bundle,
    )  # fmt: skip


@lru_cache(8)
def _generation_text(
    number: int, created_at: str, segments: int, videos: int, kept_per_tag: int, bundle: BundleName
) -> str:
    return GenerationAnswer.made_of(number, created_at, segments, videos, kept_per_tag, bundle).model_dump_json()
