"""Answers as rows of JSON for machines, and as tables for people.

Where it stands: `cli` prints these. A score is written as the shortest decimal that gives its float32 back.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from segsearch.client.answers import MomentsResult, ScoreResult, SearchResult, SimilarResult
from segsearch.core.segments import SEGMENT_FRAMES, segment_id

SHOWN_TAGS = 5  # of a segment, in a table


Found = SearchResult | MomentsResult | SimilarResult


def rows_of(found: Found) -> Iterator[dict[str, Any]]:
    """A row for each segment or moment, with the service's own names."""
    videos, starts, measures = found.video_ids.tolist(), found.starts.tolist(), _decimals(_measures(found))
    if isinstance(found, MomentsResult):
        columns = zip(videos, starts, found.ends.tolist(), found.peaks.tolist(), measures, strict=True)
        for video, start, end, peak, score in columns:
            yield {"video": video, "start_s": start, "end_s": end, "peak": segment_id(video, peak), "score": score}
        return
    for video, start, measure in zip(videos, starts, measures, strict=True):
        end, segment = start + SEGMENT_FRAMES, segment_id(video, start)
        yield {"segment": segment, "video": video, "start_s": start, "end_s": end, _measure(found): measure}


def _measure(found: Found) -> str:
    """What they are ranked by."""
    return "similarity" if isinstance(found, SimilarResult) else "score"


def _measures(found: Found) -> np.ndarray:
    return found.similarities if isinstance(found, SimilarResult) else found.scores


def score_row(found: ScoreResult) -> dict[str, Any]:
    """One row for a video, with the service's own names."""
    segments = [
        {
            "segment": segment_id(found.video_id, start),
            "start_s": start,
            "tags": [
                {"tag": tag, "label_index": label, "score": score}
                for tag, label, score in zip(tags, labels, _decimals(scores), strict=True)
            ],
        }
        for start, tags, labels, scores in zip(
            found.starts.tolist(), found.tags.tolist(), found.label_indices.tolist(), found.scores, strict=True
        )
    ]
    stored = asdict(found.stored) if found.stored else None
    return {"video": found.video_id, "frames": found.frame_count, "stored": stored, "segments": segments}


def print_found(found: Found) -> None:
    """A table of segments or moments, best first."""
    measure = _measure(found)
    table = _table("video", "from", "to", measure)
    for row in rows_of(found):
        table.add_row(row["video"], clock(row["start_s"]), clock(row["end_s"]), f"{row[measure]:.3f}")
    _print(table)


def print_scores(found: ScoreResult) -> None:
    """A table of a video's segments, each with its best tags."""
    table = _table("from", "tags", title=_title(found))
    for start, tags, scores in zip(found.starts.tolist(), found.tags.tolist(), found.scores.tolist(), strict=True):
        best = list(zip(tags, scores, strict=True))[:SHOWN_TAGS]
        table.add_row(clock(start), ", ".join(f"{tag} {score:.3f}" for tag, score in best))
    _print(table)


def clock(seconds: int) -> str:
    """A place in a video as players show it: 1:05, or 1:01:05."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _title(found: ScoreResult) -> str:
    stored = found.stored
    what = "" if stored is None else f", stored as change {stored.sequence}{' before' if stored.unchanged else ''}"
    return f"{found.video_id}: {found.frame_count} frames{what}"


def _table(*names: str, title: str | None = None) -> Table:
    """Names and tags to the left, times and numbers to the right; nothing is cut off."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in names:
        justify = "left" if name in ("video", "tags") else "right"
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table


def _print(table: Table) -> None:
    Console(highlight=False, markup=False).print(table)


def _decimals(scores: np.ndarray) -> list[float]:
    return [float(text) for text in scores.astype(str)]
