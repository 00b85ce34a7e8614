"""Trained runs that nobody trained: score matrices of a data folder's videos, as good as they are told to be."""

import dataclasses

import numpy as np

from segsearch.core.score_codes import encode_logits
from segsearch.core.segments import SEGMENT_FRAMES, segment_starts
from segsearch.core.videos import read_videos
from segsearch.training.folder import FOLDS
from segsearch.training.score_matrix import About, VideoScores, write_score_matrix


def write_model(root, data, name, seed, knowledge, *, shards=None, **changes):
    """A run's folder: logits are noise, moved by `knowledge` towards what people said of a rated pair.

    shards: instead of each fold's held-out ones; the matrices are then named test.npz. changes: of what the matrices
    say of themselves.
    """
    random = np.random.default_rng(seed)
    for fold in range(FOLDS):
        learned, held_out = data.fold(fold)
        about = About(
            run=name, stage=f"fold{fold}", checkpoint=f"{seed:064x}", fold=fold,
            vocabulary_digest=data.segment_vocabulary.digest, feature_space=data.features.space, context_frames=1,
            shift=0, shards=tuple(path.name for path in shards or held_out),
            trained_on=tuple(path.name for path in learned),
        )  # fmt: skip
        path = root / name / f"fold{fold}" / ("test.npz" if shards else "matrix.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        videos = [_scored(video, data, random, knowledge) for video in read_videos(shards or held_out, data.features)]
        write_score_matrix(path, dataclasses.replace(about, **changes), data.segment_vocabulary, videos)
    return root / name


def _scored(video, data, random, knowledge):
    starts, classes = segment_starts(len(video.frames)), data.segment_vocabulary
    logits = random.normal(-3, 2, (len(starts), len(classes)))
    if (ratings := video.ratings) is not None:
        for start, label, score in zip(ratings.starts, ratings.labels, ratings.scores, strict=True):
            logits[start // SEGMENT_FRAMES, classes.ordinal_of(label)] += knowledge * (2 * score - 1)
    return VideoScores(video.id, starts, encode_logits(logits))


def tiny_folder(shared, folder):
    """The first records of AudioSet-Segments as a data folder of their own."""
    folder.mkdir()
    for file in (shared / "data" / "tiny").iterdir():
        (folder / file.name).symlink_to(file)
    for name in ("vocabulary.csv", "segment_label_ids.csv"):
        (folder / name).symlink_to(shared / "data" / name)
    return folder
