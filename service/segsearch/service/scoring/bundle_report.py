"""What can be said about bundles: what one is, whether its models prove themselves, how two differ.

S segments, C classes.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.vocabulary import Entry
from segsearch.service.scoring.golden_check import allowed_difference, check_golden
from segsearch.service.scoring.model import open_model


def described(bundle: Bundle) -> dict[str, Any]:
    """The manifest's facts, golden videos counted only, with the size of every model."""
    manifest = bundle.manifest
    return {
        "bundle": str(bundle.directory),
        "name": manifest.name,
        "version": manifest.version,
        "digest": bundle.digest,
        "created_at": manifest.created_at,
        "feature_space": manifest.features.space,
        "context_frames": manifest.context_frames,
        "classes": manifest.class_count,
        "vocabulary_digest": manifest.vocabulary_digest,
        "embedding_size": manifest.embedding_size,
        "graphs": [
            {**dataclasses.asdict(graph), "bytes": bundle.path_of(graph).stat().st_size} for graph in manifest.graphs
        ],
        "golden_videos": len(manifest.golden.lengths),
        "golden_segments": len(manifest.golden.scores),
        "training": dict(manifest.training),
        "metrics": [dataclasses.asdict(metric) for metric in manifest.metrics],
    }


def verified(bundle: Bundle) -> Iterator[dict[str, Any]]:
    """Each model's largest difference on the golden videos; raises BundleRefused for one that fails them."""
    for graph in bundle.manifest.graphs:
        model = open_model(bundle, graph, "cpu")
        difference = check_golden(bundle, graph, model)
        yield {"file": graph.file, "precision": graph.precision, "layout": graph.layout, "difference": difference,
               "promised": allowed_difference(bundle, graph), "provider": model.provider}  # fmt: skip


def compared(first: Bundle, second: Bundle) -> dict[str, Any]:
    """Facts in which two bundles differ, and how far apart they score the first one's golden videos."""
    one, other = described(first), described(second)
    facts_of_both = [key for key in one if key not in ("bundle", "digest")]
    changed = {key: [one[key], other[key]] for key in facts_of_both if one[key] != other[key]}
    shared, here, there = _shared_classes(first, second)
    facts = {
        "changed": changed,
        "classes_in_both": len(shared),
        "classes_only_in_first": len(first.vocabulary) - len(shared),
        "classes_only_in_second": len(second.vocabulary) - len(shared),
    }
    if one["feature_space"] != other["feature_space"] or not shared:
        return {**facts, "scores": None}
    videos = first.manifest.golden.videos()
    differences = np.abs(_scores(first, videos)[:, here] - _scores(second, videos)[:, there])
    return {**facts, "scores": {"largest": float(differences.max()), "mean": float(differences.mean())}}


def _shared_classes(first: Bundle, second: Bundle) -> tuple[list[Entry], list[int], list[int]]:
    """Classes in both, by label index, with their ordinals in each."""
    shared = [entry for entry in first.vocabulary.entries if entry.label_index in second.vocabulary]
    here, there = ([b.vocabulary.ordinal_of(entry.label_index) for entry in shared] for b in (first, second))
    return shared, list(here), list(there)


def _scores(bundle: Bundle, videos: list[np.ndarray]) -> np.ndarray:
    """(S, C) probabilities of the videos' segments, by the bundle's float32 model."""
    model = open_model(bundle, bundle.graph(), "cpu")
    return np.concatenate([model.scores(batch)[0] for batch in model.batches(videos, 64, 64)])
