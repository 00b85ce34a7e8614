"""What level two sees of a (segment, class) pair: each model's score, what the models agree on, and the score's place
among the video's other segments.

Sources: the paper's section 5 ("probabilities of each model and some statistics on them"); rank and gap within the
video, video-level scores and neighbours are what the 3rd and 5th place of the challenge found useful.

N segments, M models, F features.
"""

from collections.abc import Sequence

import numpy as np

from segsearch.training.level_two.scored import Scored

TOP_SHARE = 0.05  # of a class's segments: a model that puts one there votes for it
BEST_COUNT = 3  # of a video's segments, whose mean is its top score
STATISTICS = ("mean", "deviation", "lowest", "highest", "votes")
PLACES = (
    "ensemble", "rank", "behind_best_class", "rank_in_video", "behind_best_in_video", "video_mean", "video_best",
    "video_top", "before", "after", "two_before", "two_after", "position", "from_start", "from_end", "prior",
)  # fmt: skip


def feature_names(models: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns of `features_of`."""
    return (*(f"model:{name}" for name in models), *STATISTICS, *PLACES)


def features_of(scored: Scored, ordinal: int, prior: float) -> np.ndarray:
    """(N, F) float32 for one class and every segment; prior: the class's logit among the ratings learned from."""
    models = scored.model_logits(ordinal)  # (M, N)
    ensemble = scored.ensemble_logits(ordinal)  # (N,)
    rank_in_video = _ranks_in_videos(scored, ensemble)
    best, mean, top = _video_scores(scored, ensemble, rank_in_video)
    counts = np.repeat(scored.counts, scored.counts)
    columns = [
        *models,
        models.mean(axis=0), models.std(axis=0), models.min(axis=0), models.max(axis=0), _votes(models),
        ensemble,
        _shares_below(ensemble),
        ensemble - scored.best_logits,
        rank_in_video / counts,
        ensemble - best,
        mean, best, top,
        *(_neighbour(scored, ensemble, distance) for distance in (-1, 1, -2, 2)),
        scored.places / counts,
        scored.places,
        counts - 1 - scored.places,
        np.full(len(scored), prior),
    ]  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float32)


def _votes(models: np.ndarray) -> np.ndarray:
    """(N,) share of the models that put a segment among the class's best."""
    return np.mean([_shares_below(logits) >= 1 - TOP_SHARE for logits in models], axis=0)


def _shares_below(logits: np.ndarray) -> np.ndarray:
    """(N,) float64: the share of segments with a lower logit."""
    return np.searchsorted(np.sort(logits), logits) / max(len(logits), 1)


def _ranks_in_videos(scored: Scored, logits: np.ndarray) -> np.ndarray:
    """(N,) int64: how many of its video's segments stand before each, of equal ones the earlier."""
    videos = np.repeat(np.arange(len(scored.counts)), scored.counts)
    order = np.lexsort((-logits, videos))  # video after video, best first
    ranks = np.empty(len(logits), np.int64)
    ranks[order] = scored.places
    return ranks


def _video_scores(scored: Scored, logits: np.ndarray, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each segment's video's best, mean and mean of the best few, (N,) each."""
    counts = scored.counts
    if not len(counts):
        return logits, logits, logits
    best = np.maximum.reduceat(logits, scored.starts)
    mean = np.add.reduceat(logits, scored.starts) / counts
    top = np.add.reduceat(np.where(ranks < BEST_COUNT, logits, 0), scored.starts) / np.minimum(counts, BEST_COUNT)
    return np.repeat(best, counts), np.repeat(mean, counts), np.repeat(top, counts)


def _neighbour(scored: Scored, logits: np.ndarray, distance: int) -> np.ndarray:
    """(N,) the logit so many segments on in the same video; at its ends the last one there is."""
    counts = np.repeat(scored.counts, scored.counts)
    there = np.clip(scored.places + distance, 0, counts - 1)
    return logits[np.arange(len(logits)) + there - scored.places]
