"""The first records of AudioSet-Segments as training opens them, and what a training of them has written."""

import json
from pathlib import Path
from typing import Any

from segsearch.training.folder import DataFolder
from segsearch.training.input.survey import RatedSegments, survey_ratings


def tiny_data(shared: Path, **parts: Any) -> DataFolder:
    """The folder, opened; parts: what is given instead of the folder's own, as `DataFolder.open` takes it."""
    data = shared / "data"
    known = {"vocabulary": data / "vocabulary.csv", "segment_labels": data / "segment_label_ids.csv"}
    return DataFolder.open(data / "tiny", **{**known, **parts})


def tiny_arguments(shared: Path) -> list[str]:
    """The same folder as `segsearch train` is told of it."""
    data = shared / "data"
    known = {"data": "tiny", "vocabulary": "vocabulary.csv", "segment-labels": "segment_label_ids.csv"}
    return [word for option, name in known.items() for word in (f"--{option}", str(data / name))]


def settings(changes: dict[str, Any]) -> list[str]:
    """Changes of a run's settings, by path, as `--set` options."""
    return [word for field, value in changes.items() for word in ("--set", f"{field}={json.dumps(value)}")]


def rated_in(data: DataFolder, shards: tuple[Path, ...]) -> RatedSegments:
    """The rated segments of some of its shards, one after the other."""
    spaces = (data.features, data.vocabulary, data.segment_vocabulary)
    return RatedSegments.joined([survey_ratings(path, *spaces) for path in shards])


def metrics_of(directory: Path) -> list[dict[str, Any]]:
    """A stage's journal as far as whole lines are written."""
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().split("\n")[:-1]]
