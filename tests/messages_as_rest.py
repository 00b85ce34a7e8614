"""What an rpc answered, in REST's words, so that the answers of both edges can be held beside each other."""

import math

import httpx
import numpy as np
import pytest

from segsearch.core.segments import SEGMENT_FRAMES, segment_id
from segsearch.v1 import search_pb2 as pb


def bundle(message: pb.Bundle) -> dict[str, object]:
    return {"name": message.name, "version": message.version, "digest": message.digest}


def generation(message: pb.Generation) -> dict[str, object]:
    names = ("number", "created_at", "segments", "videos", "kept_per_tag")
    return {name: getattr(message, name) for name in names} | {"bundle": bundle(message.bundle)}


def tag(message: pb.Tag) -> dict[str, object]:
    return {"tag": message.name, "label_index": message.label_index, "knowledge_graph_id": message.knowledge_graph_id}


def search(message: pb.SearchResponse, *, merge: bool) -> dict[str, object]:
    hits = [
        {"segment": segment_id(hit.video, hit.start_s), "video": hit.video, "start_s": hit.start_s,
         "end_s": hit.start_s + SEGMENT_FRAMES, "score": np.float32(hit.score)}
        for hit in message.segments
    ]  # fmt: skip
    moments = [
        {"video": each.video, "start_s": each.start_s, "end_s": each.end_s,
         "peak": segment_id(each.video, each.peak_s), "score": np.float32(each.score)}
        for each in message.moments
    ]  # fmt: skip
    return {
        "tags": [tag(each) for each in message.tags], "generation": generation(message.generation),
        "sequence": message.sequence, "complete": message.complete,
        **({"moments": moments} if merge else {"segments": hits}),
    }  # fmt: skip


def scored(message: pb.ScoreResponse) -> dict[str, object]:
    segments = [
        {"segment": segment_id(message.video, each.start_s), "start_s": each.start_s,
         "end_s": each.start_s + SEGMENT_FRAMES,
         "tags": [{"tag": t.tag, "label_index": t.label_index, "score": np.float32(t.score)} for t in each.tags]}
        for each in message.segments
    ]  # fmt: skip
    kept = {"sequence": message.stored.sequence, "unchanged": message.stored.unchanged}
    return {
        "video": message.video, "frames": message.frames, "bundle": bundle(message.bundle),
        "stored": kept if message.HasField("stored") else None, "segments": segments,
    }  # fmt: skip


def video(message: pb.GetVideoResponse) -> dict[str, object]:
    rows = [
        {"tag": tag(row.tag), "scores": [None if math.isnan(each) else np.float32(each) for each in row.scores]}
        for row in message.tags
    ]
    return {
        "video": message.video, "generation": generation(message.generation), "sequence": message.sequence,
        "starts_s": list(message.starts_s), "tags": rows,
    }  # fmt: skip


def similar(message: pb.SimilarResponse) -> dict[str, object]:
    hits = [
        {"segment": segment_id(hit.video, hit.start_s), "video": hit.video, "start_s": hit.start_s,
         "end_s": hit.start_s + SEGMENT_FRAMES, "similarity": pytest.approx(hit.similarity, abs=1e-5)}
        for hit in message.segments
    ]  # fmt: skip
    return {"generation": generation(message.generation), "sequence": message.sequence,
            "recall": np.float32(message.recall), "segments": hits}  # fmt: skip


def comparison(message: pb.CompareGenerationsResponse) -> dict[str, object]:
    names = ("k", "compared", "only_a", "only_b", "mean_overlap")
    measures = ("overlap", "gone", "come", "median_move", "largest_move")
    tags = [{"tag": tag(each.tag), **{name: getattr(each, name) for name in measures}} for each in message.tags]
    told = {name: getattr(message, name) for name in names}
    return {"a": generation(message.a), "b": generation(message.b), **told, "tags": tags}


def model(message: pb.Model) -> dict[str, object]:
    refused = {name: getattr(message.refused_load, name) for name in ("path", "reason", "at")}
    return {
        "bundle": bundle(message.bundle), "provider": message.provider, "precision": message.precision,
        "refused_load": refused if message.HasField("refused_load") else None,
    }  # fmt: skip


def job(message: pb.Job) -> dict[str, object]:
    counts = ("generation", "videos", "segments", "skipped", "resumed_shards", "seconds")
    progress = {name: getattr(message.progress, name) for name in ("doing", "done", "total", "unit")}
    progress["left_s"] = message.progress.left_s if message.progress.HasField("left_s") else None
    result = {name: getattr(message.result, name) for name in counts}
    return {
        "job": message.id, "state": pb.Job.State.Name(message.state).lower(), "created_at": message.created_at,
        "shards": list(message.shards), "bundle": message.bundle or None, "error": message.error or None,
        "progress": progress if message.HasField("progress") else None,
        "result": result if message.HasField("result") else None,
    }  # fmt: skip


def plain(answer: httpx.Response, wanted: dict[str, object]) -> dict[str, object]:
    """REST's answer with the members that both edges have, and its decimals as the numbers that they stand for."""
    assert answer.status_code == 200, answer.text
    return {name: _single(member) for name, member in answer.json().items() if name in wanted}


def _single(value: object) -> object:
    if isinstance(value, float):
        return np.float32(value)
    if isinstance(value, list):
        return [_single(each) for each in value]
    return {name: _single(each) for name, each in value.items()} if isinstance(value, dict) else value
