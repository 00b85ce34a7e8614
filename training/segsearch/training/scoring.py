"""Scores every segment of some videos with a network, for a score matrix.

Where it stands: `score_matrix` is the file that comes out; `evaluation` scores rated segments only, in an epoch's time.
Videos come through the plain reader, which names file and record of what it cannot read.

S segments of a batch, C classes.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from segsearch.core.score_codes import encode_probabilities
from segsearch.core.segments import cut_windows, segment_starts, shift_starts
from segsearch.core.videos import FRAME_CAP, Skips, Video, read_videos
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.models.network import Network
from segsearch.training.score_matrix import About, VideoScores, write_score_matrix

BATCH_SEGMENTS = 512  # a batch is filled with whole videos until it has so many


def write_matrix(
    path: Path,
    checkpoint: Checkpoint,
    shards: Sequence[Path],
    shift: int = 0,
    skips: Skips | None = None,
    network: Network | None = None,
) -> int:
    """Scores all segments of the shards' videos up to frame 300, where training stops reading too; returns how many.

    network: the checkpoint's, if it is at hand. With `skips`, records that cannot be read are noted there and left out.
    """
    about = About(
        run=checkpoint.run,
        stage=checkpoint.stage,
        checkpoint=checkpoint.digest,
        fold=checkpoint.training.get("fold"),
        vocabulary_digest=checkpoint.vocabulary.digest,
        feature_space=checkpoint.features.space,
        context_frames=checkpoint.context_frames,
        shift=shift,
        shards=tuple(shard.name for shard in shards),
        trained_on=tuple(checkpoint.training.get("rated_shards", ())),
    )
    videos = read_videos(shards, checkpoint.features, cap=FRAME_CAP, skips=skips)
    scores = score_videos(network or checkpoint.build_network(), videos, checkpoint.context_frames, shift)
    return write_score_matrix(path, about, checkpoint.vocabulary, scores)


def score_videos(network: Network, videos: Iterable[Video], context: int, shift: int = 0) -> Iterator[VideoScores]:
    """Each video's segments with their score codes; shift: means over windows shifted by up to so many frames."""
    for batch in _batches(videos):
        starts = [segment_starts(len(video.frames)) for video in batch]
        means = mean_over_shifts(
            shift,
            lambda by: _probabilities(network, batch, starts, context, by),  # noqa: B023 - used at once
        )
        ends = np.cumsum([len(part) for part in starts])[:-1]
        for video, part, codes in zip(batch, starts, np.split(encode_probabilities(means), ends), strict=True):
            yield VideoScores(video.id, part, codes)


def mean_over_shifts(shift, scores_at) -> np.ndarray:
    """The mean of `scores_at(by)` for by = -shift..shift, as the 9th place of the 3rd challenge has it.

    Without a shift these are the scores themselves, to the last bit.
    """
    if not shift:
        return scores_at(0)
    total = sum(scores_at(by).astype(np.float64) for by in range(-shift, shift + 1))
    return total / (2 * shift + 1)


@tf.function(reduce_retracing=True)
def scores_of(network: Network, codes: tf.Tensor, frame_count: tf.Tensor) -> tf.Tensor:
    """(S, C) float32 of windows (S, W, F) uint8 and frame counts (S,)."""
    return network(codes, frame_count)["scores"]


def _probabilities(
    network: Network, videos: list[Video], starts: list[np.ndarray], context: int, shift: int
) -> np.ndarray:
    windows, counts = zip(
        *(
            cut_windows(video.frames, shift_starts(part, len(video.frames), shift), context)
            for video, part in zip(videos, starts, strict=True)
        ),
        strict=True,
    )
    return scores_of(network, np.concatenate(windows), np.concatenate(counts)).numpy()


def _batches(videos: Iterable[Video]) -> Iterator[list[Video]]:
    batch: list[Video] = []
    segments = 0
    for video in videos:
        batch.append(video)
        segments += len(segment_starts(len(video.frames)))
        if segments >= BATCH_SEGMENTS:
            yield batch
            batch, segments = [], 0
    if batch:
        yield batch
