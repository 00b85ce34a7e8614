"""What the library answers, as messages of `search.proto`.

k hits of a page, m moments, S segments of a video.
"""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import Final

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.score_codes import PROBABILITIES
from segsearch.core.vocabulary import Entry
from segsearch.service.comparison import Comparison
from segsearch.service.index.live.operations import Stored
from segsearch.service.index.manifest import Manifest
from segsearch.service.jobs.reindex_process import Job
from segsearch.service.pages import MomentPage, Page, ScoredVideo, SimilarPage, Strip, TagList
from segsearch.service.refused_load import RefusedLoad
from segsearch.service.rpc.requests import PAGE_LIMIT, Upload
from segsearch.service.scoring.scorer import Scorer
from segsearch.v1 import search_pb2 as pb

_REINDEXED: Final = tuple(field.name for field in pb.Reindexed.DESCRIPTOR.fields)
_PIECE: Final = PAGE_LIMIT  # hits or moments of one message of a stream


def tag_message(entry: Entry) -> pb.Tag:
    """A class."""
    return pb.Tag(name=entry.name, label_index=entry.label_index, knowledge_graph_id=entry.knowledge_graph_id)


def generation_message(manifest: Manifest) -> pb.Generation:
    """A generation."""
    name = manifest.bundle
    return pb.Generation(
        number=manifest.number, created_at=manifest.created_at, segments=manifest.segment_count,
        videos=manifest.video_count, kept_per_tag=manifest.limit,
        bundle=pb.Bundle(name=name.name, version=name.version, digest=name.digest),
    )  # fmt: skip


def comparison_message(found: Comparison, limit: int) -> pb.CompareGenerationsResponse:
    """Two generations side by side, with the `limit` tags that changed most."""
    tags = [
        pb.TagChange(
            tag=tag_message(change.tag), overlap=change.overlap, gone=change.gone, come=change.come,
            median_move=change.median_move, largest_move=change.largest_move,
        )
        for change in found.most_changed(limit)
    ]  # fmt: skip
    return pb.CompareGenerationsResponse(
        a=generation_message(found.older), b=generation_message(found.newer), k=found.k, compared=len(found.tags),
        only_a=found.only_older, only_b=found.only_newer, mean_overlap=found.mean_overlap, tags=tags,
    )  # fmt: skip


def search_messages(page: Page | MomentPage, next_page_token: str) -> Iterator[pb.SearchResponse]:
    """A page in pieces: the first one has the head. A page of up to PAGE_LIMIT rows is one piece."""
    head = pb.SearchResponse(
        tags=map(tag_message, page.tags), generation=generation_message(page.generation), sequence=page.sequence,
        complete=page.complete, next_page_token=next_page_token,
    )  # fmt: skip
    for first in range(0, max(1, len(page.video_ids)), _PIECE):
        message = head if first == 0 else pb.SearchResponse()
        rows = slice(first, first + _PIECE)
        if isinstance(page, Page):
            message.segments.extend(_hits(page, rows))
        else:
            message.moments.extend(_moments(page, rows))
        yield message


def score_bytes(upload: Upload, scored: ScoredVideo, stored: Stored | None) -> bytes:
    """Every segment of a video with its best tags, as a `ScoreResponse` is sent: its parts one behind the other."""
    head = pb.ScoreResponse(
        video=upload.video_id, frames=len(upload.frames), bundle=bundle_message(scored.bundle),
        stored=stored_message(stored) if stored is not None else None,
    )  # fmt: skip
    parts = (pb.ScoreResponse(segments=_segments(part)) for part in scored.parts())
    return b"".join(message.SerializeToString() for message in chain([head], parts))


def _segments(scored: ScoredVideo) -> list[pb.ScoredSegment]:
    entries = scored.bundle.vocabulary.entries
    return [
        pb.ScoredSegment(
            start_s=start,
            tags=[
                pb.TagScore(tag=entries[row].name, label_index=entries[row].label_index, score=score)
                for row, score in zip(classes, scores, strict=True)
            ],
        )
        for start, classes, scores in zip(
            scored.starts.tolist(), scored.classes.tolist(), scored.probabilities.tolist(), strict=True
        )
    ]


def stored_message(stored: Stored) -> pb.Stored:
    """A change that is on disk."""
    return pb.Stored(sequence=stored.sequence, unchanged=stored.unchanged)


def similar_message(page: SimilarPage) -> pb.SimilarResponse:
    """The segments most alike."""
    rows = zip(page.video_ids, page.starts.tolist(), page.similarities.tolist(), strict=True)
    return pb.SimilarResponse(
        generation=generation_message(page.generation), sequence=page.sequence, recall=page.recall,
        segments=[pb.Neighbour(video=video, start_s=start, similarity=alike) for video, start, alike in rows],
    )  # fmt: skip


def model_message(scorer: Scorer, refused: RefusedLoad | None) -> pb.Model:
    """The model that scores uploads. refused: the last load, where it was."""
    return pb.Model(
        bundle=bundle_message(scorer.bundle), provider=scorer.provider,
        precision=getattr(scorer, "precision", "float32"),
        refused_load=pb.RefusedLoad(**asdict(refused)) if refused else None,
    )  # fmt: skip


def bundle_message(bundle: Bundle) -> pb.Bundle:
    """A bundle that scores."""
    manifest = bundle.manifest
    return pb.Bundle(name=manifest.name, version=manifest.version, digest=bundle.digest)


def job_message(job: Job) -> pb.Job:
    """A job as it is."""
    result = job.result or {}
    return pb.Job(
        id=job.id, state=pb.Job.State.Value(job.state.name.upper()), created_at=job.created_at, shards=job.wish.shards,
        bundle=job.wish.bundle, progress=pb.Progress(**asdict(job.progress)) if job.progress else None,
        result=pb.Reindexed(**{name: result[name] for name in _REINDEXED}) if result else None, error=job.error,
    )  # fmt: skip


def tags_message(found: TagList) -> pb.ListTagsResponse:
    """Tags with their counts."""
    tags = [pb.TagListing(tag=tag_message(tag), segments=count) for tag, count in found.counts]
    return pb.ListTagsResponse(generation=found.generation.number, tags=tags)


def video_message(strip: Strip) -> pb.GetVideoResponse:
    """A video's scores over time."""
    scores = np.where(strip.known, PROBABILITIES[strip.codes], np.float32(np.nan))  # (tags, S)
    rows = zip(strip.tags, scores.tolist(), strict=True)
    return pb.GetVideoResponse(
        video=strip.video_id, generation=generation_message(strip.generation), sequence=strip.sequence,
        starts_s=strip.starts.tolist(), tags=[pb.TagStrip(tag=tag_message(tag), scores=row) for tag, row in rows],
    )  # fmt: skip


def _hits(page: Page, rows: slice) -> Iterator[pb.Hit]:
    columns = (page.video_ids[rows], page.starts[rows].tolist(), PROBABILITIES[page.codes[rows]].tolist())
    return (pb.Hit(video=video, start_s=start, score=score) for video, start, score in zip(*columns, strict=True))


def _moments(page: MomentPage, rows: slice) -> Iterator[pb.Moment]:
    seconds = (page.starts[rows].tolist(), page.ends[rows].tolist(), page.peaks[rows].tolist())
    columns = (page.video_ids[rows], *seconds, PROBABILITIES[page.codes[rows]].tolist())
    return (
        pb.Moment(video=video, start_s=start, end_s=end, peak_s=peak, score=score)
        for video, start, end, peak, score in zip(*columns, strict=True)
    )
