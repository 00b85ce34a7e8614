"""Writes an ensemble's score matrices: each fold's held-out segments, and other shards averaged over folds first.

Where it stands: `cli` has opened the members and found weights. Streams video by video, so that memory follows one
video, whatever the matrices' size.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segsearch.core.score_matrix import check_same_segments
from segsearch.core.vocabulary import Vocabulary
from segsearch.training.ensemble.members import MATRIX, Members
from segsearch.training.ensemble.votes import codes_of, votes_of, weighted_mean
from segsearch.training.folder import FOLDS
from segsearch.training.score_matrix import About, ScoreMatrix, VideoScores, write_score_matrix

NAME = "ensemble"


@dataclass(frozen=True, kw_only=True)
class Blending:
    """How several matrices become one."""

    way: str  # see `votes.votes_of`
    vocabulary: Vocabulary


def write_folds(members: Members, blending: Blending, weights: Sequence[Sequence[float]], out: Path) -> None:
    """`fold0/matrix.npz` ... of the ensemble. weights: of each fold, found without it: these scores are honest."""
    for fold in range(FOLDS):
        matrices = [member.folds[fold] for member in members.members]
        write_blend(_in_fold(out, fold, MATRIX), matrices, blending, weights[fold], fold)


def write_lessons(
    members: Members, name: str, blending: Blending, weights: Sequence[Sequence[float]], out: Path
) -> None:
    """`fold0/<name>.npz` ...: what each fold's own networks say of other shards, to teach a student of that fold.

    These networks have not seen the fold's ratings, nor did the weights that count them. They may have learned from
    the shards that they score: so does their student.
    """
    for fold in range(FOLDS):
        matrices = [member.lesson(name, fold) for member in members.members]
        for matrix in matrices:
            check_same_segments(matrices[0], matrix)
        write_blend(_in_fold(out, fold, f"{name}.npz"), matrices, blending, weights[fold], fold)


def write_others(members: Members, name: str, blending: Blending, weights: Sequence[float], out: Path) -> Path:
    """`<name>.npz`: other shards as all members' five networks score them, each network a fifth of its member."""
    matrices = [member.others(name) for member in members.members]
    for parts in matrices:
        check_same_segments(matrices[0][0], parts[0])
    shares = [weight / FOLDS for weight in weights for _ in range(FOLDS)]
    path = out / f"{name}.npz"
    write_blend(path, list(itertools.chain.from_iterable(matrices)), blending, shares, None)
    return path


def write_blend(
    path: Path, matrices: Sequence[ScoreMatrix], blending: Blending, weights: Sequence[float], fold: int | None
) -> int:
    """One matrix of the weighted mean of several over the same segments; returns how many segments it has."""
    about = _about(matrices, blending, weights, fold)
    return write_score_matrix(path, about, blending.vocabulary, _videos(matrices, blending, weights))


def _in_fold(out: Path, fold: int, name: str) -> Path:
    folder = out / f"fold{fold}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def _videos(matrices: Sequence[ScoreMatrix], blending: Blending, weights: Sequence[float]) -> Iterator[VideoScores]:
    way = blending.way
    counted = [(matrix, weight) for matrix, weight in zip(matrices, weights, strict=True) if weight]
    votes = [votes_of(way, matrix.codes) for matrix, _ in counted]
    first = matrices[0]
    ends = np.searchsorted(first.segment_videos, np.arange(len(first.video_ids)), side="right")
    for number, video in enumerate(first.video_ids.tolist()):
        rows = slice(ends[number - 1] if number else 0, ends[number])
        parts = (vote.of(matrix.codes[rows]) for vote, (matrix, _) in zip(votes, counted, strict=True))
        mean = weighted_mean(parts, [weight for _, weight in counted])
        starts = first.segment_starts[rows].astype(np.int64)
        yield VideoScores(video, starts, codes_of(way, mean))


def _about(matrices: Sequence[ScoreMatrix], blending: Blending, weights: Sequence[float], fold: int | None) -> About:
    first = matrices[0].about
    parts = [[matrix.about.checkpoint, weight] for matrix, weight in zip(matrices, weights, strict=True)]
    return About(
        run=NAME,
        stage=NAME if fold is None else f"fold{fold}",
        checkpoint=hashlib.sha256(json.dumps([blending.way, parts]).encode()).hexdigest(),
        fold=fold,
        vocabulary_digest=first.vocabulary_digest,
        feature_space=first.feature_space,
        context_frames=max(matrix.about.context_frames for matrix in matrices),
        shift=max(matrix.about.shift for matrix in matrices),
        shards=first.shards,
        trained_on=tuple(sorted({shard for matrix in matrices for shard in matrix.about.trained_on})),
    )
