"""The sample on disk: shards, vocabulary and a note of what was made, published as one folder.

Where it stands: `scenes` and `rendering` make the videos; this file numbers, splits and writes them. Every video has a
random generator of its own, so that shards can be made in any order and the truth without rendering a frame.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.errors import ConfigError
from segsearch.core.features import YOUTUBE8M
from segsearch.core.files import publish_directory
from segsearch.core.records import write_records
from segsearch.core.sample.names import FAMILY_SIZE, MOST_CLASSES, sample_vocabulary, segment_classes
from segsearch.core.sample.rendering import render
from segsearch.core.sample.scenes import Scene, draw_scene, rate
from segsearch.core.sample.world import World
from segsearch.core.videos import Annotations, Ratings, Video, serialise_annotations, serialise_video

FORMAT_VERSION = 1  # raise it whenever the same parameters give other bytes
NOTE = "sample.json"
FOLDS = 5  # validate shard k is fold k
SHARD_VIDEOS = 500  # most videos of a train or test shard: about 120 MB
FEWEST_VIDEOS, MOST_VIDEOS = 10, 62**4  # as many as there are ids of four letters and digits
_WORLD, _VIDEO = 0, 1  # spawn keys: what a random generator is for


@dataclass(frozen=True, slots=True)
class Parameters:
    """Everything that a sample's bytes depend on."""

    videos: int = 400
    seed: int = 1
    classes: int = 24

    def __post_init__(self) -> None:
        if not FEWEST_VIDEOS <= self.videos <= MOST_VIDEOS:
            raise ConfigError("videos", self.videos, f"{FEWEST_VIDEOS} to {MOST_VIDEOS}")
        if self.seed < 0:
            raise ConfigError("seed", self.seed, "0 or more")
        if not FAMILY_SIZE <= self.classes <= MOST_CLASSES:
            raise ConfigError("classes", self.classes, f"{FAMILY_SIZE} to {MOST_CLASSES}")

    def splits(self) -> dict[str, range]:
        """Video ordinals by split: about 60 % train, 20 % validate, 20 % test."""
        validate, test = max(FOLDS, self.videos // 5), self.videos // 5
        train = self.videos - validate - test
        return {
            "train": range(train),
            "validate": range(train, train + validate),
            "test": range(train + validate, self.videos),
        }


@dataclass(slots=True)
class Counts:
    """What a sample holds."""

    train: int = 0
    validate: int = 0
    test: int = 0
    frames: int = 0
    rated: int = 0  # (segment, class) pairs of validate
    positive: int = 0  # of these
    truth_rated: int = 0  # the same of test, in the truth beside it
    truth_positive: int = 0


class Sample:
    """The videos of a sample, made when asked for; equal parameters give equal videos."""

    def __init__(self, parameters: Parameters):
        self.parameters = parameters
        self.vocabulary = sample_vocabulary(parameters.classes)
        self.labels = np.array([entry.label_index for entry in self.vocabulary.entries], np.int64)
        self.rated_classes = segment_classes(parameters.classes)
        self._world = World.make(parameters.classes, self._generator(_WORLD, 0), self._generator(_WORLD, 1))

    def annotations(self, ordinal: int) -> Annotations:
        """Id, video labels and ratings of one video, whatever its split will show of them."""
        return self._planned(self._generator(_VIDEO, ordinal), ordinal)[1]

    def video(self, ordinal: int) -> Video:
        """One video with everything that is known of it."""
        random = self._generator(_VIDEO, ordinal)
        scene, known = self._planned(random, ordinal)
        return Video(known.id, known.labels, known.ratings, frames=render(random, scene, self._world))

    def _planned(self, random: np.random.Generator, ordinal: int) -> tuple[Scene, Annotations]:
        scene = draw_scene(random, self.parameters.classes)
        ratings = rate(random, scene, self.rated_classes, self.labels)
        return scene, Annotations(video_id(ordinal), self.labels[scene.classes], ratings)

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.parameters.seed, spawn_key=key)))


def video_id(ordinal: int) -> str:
    """Four letters and digits, as YouTube-8M's ids are, in no visible order; distinct up to MOST_VIDEOS."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    rest, letters = (ordinal + 1) * 9_176_263 % MOST_VIDEOS, ""
    for _ in range(4):
        rest, digit = divmod(rest, 62)
        letters += alphabet[digit]
    return letters


def write_sample(out: Path, parameters: Parameters, advance: Callable[[], None]) -> Counts:
    """Makes the folder `out`, new or empty until then; `advance` is called after each video.

    It appears only when it is whole: a killed run leaves `.<name>.building-*` beside it, which nobody reads.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    built = Path(tempfile.mkdtemp(prefix=f".{out.name}.building-", dir=out.parent))
    try:
        built.chmod(0o755)
        counts = _write(built, Sample(parameters), advance)
        publish_directory(built, out)  # over an empty directory a rename is allowed
    finally:
        shutil.rmtree(built, ignore_errors=True)
    return counts


def held_sample(out: Path, parameters: Parameters) -> Counts | None:
    """What `out` holds if it is this very sample; None if it is new or empty. Anything else raises ConfigError."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    note = _read_note(out)
    if note.get("format_version") != FORMAT_VERSION or note.get("parameters") != asdict(parameters):
        raise ConfigError("OUT", str(out), f"a new or empty directory, or a sample made with {asdict(parameters)}")
    sizes = {path.name: path.stat().st_size for path in out.iterdir()}
    if changed := [name for name, size in note["files"].items() if sizes.get(name) != size]:
        raise ConfigError("OUT", str(out), f"a whole sample, but {changed[0]} is missing or changed; remove the folder")
    return Counts(**note["counts"])


def _read_note(directory: Path) -> dict[str, Any]:
    """What `sample.json` says; nothing where there is none that can be read."""
    try:
        note = json.loads((directory / NOTE).read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _write(built: Path, sample: Sample, advance: Callable[[], None]) -> Counts:
    counts = Counts()
    for split, ordinals in sample.parameters.splits().items():
        for name, part in shards_of(split, ordinals):
            write_records(built / name, _records(sample, split, part, counts, advance))
    test = sample.parameters.splits()["test"]
    write_records(built / "truth00.tfrecord", (serialise_annotations(sample.annotations(video)) for video in test))
    _write_vocabulary(built, sample)
    _write_note(built, sample, counts)
    return counts


def shards_of(split: str, ordinals: range) -> Iterator[tuple[str, range]]:
    """File names and the videos that go into each: as many shards as there are folds, more for a large split."""
    count = FOLDS if split == "validate" else min(len(ordinals), max(FOLDS, -(-len(ordinals) // SHARD_VIDEOS)))
    width = max(2, len(str(count - 1)))
    for shard in range(count):
        yield f"{split}{shard:0{width}d}.tfrecord", ordinals[shard::count]


def _records(
    sample: Sample, split: str, ordinals: range, counts: Counts, advance: Callable[[], None]
) -> Iterator[bytes]:
    for ordinal in ordinals:
        video = sample.video(ordinal)
        _count(counts, split, video)
        advance()
        yield serialise_video(as_published(video, split), YOUTUBE8M)


def as_published(video: Video, split: str) -> Video:
    """What a split shows of a video: train its labels, validate its ratings too, test neither."""
    labels = None if split == "test" else video.labels
    ratings = video.ratings if split == "validate" else Ratings.none()
    return Video(video.id, labels, ratings, frames=video.frames)


def _count(counts: Counts, split: str, video: Video) -> None:
    setattr(counts, split, getattr(counts, split) + 1)
    counts.frames += len(video.frames)
    rated, positive = len(video.ratings), int((video.ratings.scores > 0).sum())
    if split == "validate":
        counts.rated, counts.positive = counts.rated + rated, counts.positive + positive
    elif split == "test":
        counts.truth_rated, counts.truth_positive = counts.truth_rated + rated, counts.truth_positive + positive


def _write_vocabulary(built: Path, sample: Sample) -> None:
    (built / "vocabulary.csv").write_text(sample.vocabulary.to_csv(), encoding="utf-8")
    rated = "".join(f"{sample.labels[ordinal]}\n" for ordinal in sample.rated_classes)
    (built / "segment_label_ids.csv").write_text(f"Index\n{rated}", encoding="utf-8")


def _write_note(built: Path, sample: Sample, counts: Counts) -> None:
    note = {
        "format_version": FORMAT_VERSION,
        "about": "Made-up videos in YouTube-8M's wire format, written by `segsearch sample`. "
        "truth00.tfrecord holds labels and ratings of the test videos; no model may see it.",
        "parameters": asdict(sample.parameters),
        "features": str(YOUTUBE8M),
        "counts": asdict(counts),
        "files": {path.name: path.stat().st_size for path in sorted(built.iterdir())},
    }
    (built / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
