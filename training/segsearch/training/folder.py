"""A data folder: which shards train, which are rated, which classes there are, and how the rated ones fold.

Convention: `train*.tfrecord` (video labels), `validate*.tfrecord` (rated segments), `vocabulary.csv`, and optionally
`segment_label_ids.csv`, the classes that stage 2 keeps. Every part can be given on its own instead.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segsearch.core.errors import ConfigError, DataError
from segsearch.core.features import FeatureSpec
from segsearch.core.files import matching_files
from segsearch.core.videos import streams_of
from segsearch.core.vocabulary import Vocabulary, read_segment_labels

FOLDS = 5


@dataclass(frozen=True, slots=True)
class DataFolder:
    """What a run trains on. Both vocabularies are in output order: stage 1's classes, and stage 2's among them."""

    train: tuple[Path, ...]
    rated: tuple[Path, ...]
    features: FeatureSpec
    vocabulary: Vocabulary
    segment_vocabulary: Vocabulary

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        train: str | None = None,
        rated: str | None = None,
        vocabulary: Path | None = None,
        segment_labels: Path | None = None,
        features: str | None = None,
    ) -> "DataFolder":
        """Finds the parts that are not given; raises NoFiles, DataError or ConfigError naming what is amiss."""
        train_files = matching_files([train or str(folder / "train*.tfrecord")])
        rated_files = matching_files([rated or str(folder / "validate*.tfrecord")])
        classes = Vocabulary.read(vocabulary or folder / "vocabulary.csv")
        spec = FeatureSpec.parse(features) if features else streams_of(train_files[0])
        segment_classes = _segment_classes(classes, folder / "segment_label_ids.csv", segment_labels)
        return cls(tuple(train_files), tuple(rated_files), spec, classes, segment_classes)

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


def _segment_classes(vocabulary: Vocabulary, usual: Path, given: Path | None) -> Vocabulary:
    path = given or usual
    if given is None and not usual.exists():
        return vocabulary
    indices = read_segment_labels(path)
    outside = [index for index in indices if index not in vocabulary]
    if outside:
        raise DataError(path, None, "Index", f"{outside[0]} is outside the vocabulary", vocabulary.extent())
    return vocabulary.subset(indices)
