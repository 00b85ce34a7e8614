"""A data folder: which shards train, which are rated, which classes there are, and how the rated ones fold.

Convention: `train*.tfrecord` (video labels), `validate*.tfrecord` (rated segments), `test*.tfrecord` (nothing known:
for a mean teacher), `vocabulary.csv`, and optionally `segment_label_ids.csv`, the classes that stage 2 keeps. Every
part can be given on its own instead, and lie behind a URL (`input.remote`).
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segsearch.core.errors import ConfigError, DataError, NoFiles
from segsearch.core.features import FeatureSpec
from segsearch.core.videos import streams_of
from segsearch.core.vocabulary import Vocabulary, read_segment_labels
from segsearch.training.input.mending import Check, Mending
from segsearch.training.input.remote import files_of, inside, is_url
from segsearch.training.input.survey import checked_video

FOLDS = 5
CACHE = Path.home() / ".cache" / "segsearch"  # of files that lie behind a URL


@dataclass(frozen=True, slots=True)
class DataFolder:
    """What a run trains on. Both vocabularies are in output order: stage 1's classes, and stage 2's among them."""

    train: tuple[Path, ...]
    rated: tuple[Path, ...]
    features: FeatureSpec
    vocabulary: Vocabulary
    segment_vocabulary: Vocabulary
    unlabelled: tuple[Path, ...] = ()  # for a mean teacher; empty where none is asked for
    skipped: tuple[str, ...] = ()  # a line for each record that is left out of the shards

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        train: str | None = None,
        rated: str | None = None,
        vocabulary: str | Path | None = None,
        segment_labels: str | Path | None = None,
        features: str | None = None,
        unlabelled: str | None = None,
        with_unlabelled: bool = False,
        cache: Path = CACHE,
    ) -> "DataFolder":
        """Finds the parts that are not given; raises NoFiles, DataError or ConfigError naming what is amiss.

        Unlabelled shards are looked for only `with_unlabelled`. Every part may be a URL; `cache` keeps what is fetched.
        """
        train_files = files_of(train or inside(folder, "train*.tfrecord"), cache)
        rated_files = files_of(rated or inside(folder, "validate*.tfrecord"), cache)
        classes = Vocabulary.read(_local(vocabulary or inside(folder, "vocabulary.csv"), cache))
        spec = FeatureSpec.parse(features) if features else streams_of(train_files[0])
        segment_classes = _segment_classes(classes, _segment_labels(folder, segment_labels, cache))
        others = files_of(unlabelled or inside(folder, "test*.tfrecord"), cache) if with_unlabelled else ()
        return cls(tuple(train_files), tuple(rated_files), spec, classes, segment_classes, tuple(others))

    def without_bad_records(self, folder: Path, rated_labelled: bool = False) -> "DataFolder":
        """The same shards without the records that cannot be used, which `skipped` lists; copies go to `folder`.

        rated_labelled: whether a rated video without video labels is one of them; a training video always is.
        """
        mending = Mending(folder)

        def check(segment_vocabulary: Vocabulary | None, labelled: bool) -> Check:
            parts = (self.features, self.vocabulary, segment_vocabulary, labelled)
            return lambda path, number, payload: checked_video(path, number, payload, *parts)

        changes = {
            "train": mending.mended("train", self.train, check(None, labelled=True)),
            "rated": mending.mended("rated", self.rated, check(self.segment_vocabulary, rated_labelled)),
            "unlabelled": mending.mended("unlabelled", self.unlabelled, check(None, labelled=False)),
        }
        return dataclasses.replace(self, **changes, skipped=tuple(mending.skipped))

    @property
    def segment_ordinals(self) -> np.ndarray:
        """(C,) int64: where each segment class stands in the whole vocabulary."""
        return np.array([self.vocabulary.ordinal_of(entry.label_index) for entry in self.segment_vocabulary.entries])

    def fold(self, number: int) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Rated shards to train on and to hold out: of five folds by file, number 0 to 4 holds out every fifth."""
        if not 0 <= number < FOLDS:
            raise ConfigError("fold", number, f"0 to {FOLDS - 1}")
        if len(self.rated) < FOLDS:
            raise ConfigError(
                "fold", number, f"{FOLDS} rated shards or more, as folds go by file; {len(self.rated)} found"
            )
        held_out = self.rated[number::FOLDS]
        return tuple(file for file in self.rated if file not in held_out), held_out


def _segment_labels(folder: str | Path, given: str | Path | None, cache: Path) -> Path | None:
    """The file with the segment classes; None where the folder has none and none is given."""
    if given is not None:
        return _local(given, cache)
    try:
        return files_of(inside(folder, "segment_label_ids.csv"), cache)[0]
    except NoFiles:
        return None


def _local(place: str | Path, cache: Path) -> Path:
    return files_of(str(place), cache)[0] if is_url(place) else Path(place)


def _segment_classes(vocabulary: Vocabulary, path: Path | None) -> Vocabulary:
    if path is None:
        return vocabulary
    indices = read_segment_labels(path)
    outside = [index for index in indices if index not in vocabulary]
    if outside:
        raise DataError(path, None, "Index", f"{outside[0]} is outside the vocabulary", vocabulary.extent())
    return vocabulary.subset(indices)
