"""The sample's MAP tells a good model from a bad one: chance, then one frame, then a pooled window, then perfect.

The two models differ in what they look at only. Both are ridge regressions, one a class, fitted to the rated segments
of four validate shards and judged on the fifth; neither sees the train split, which helps a real model further.

N rated pairs, W frames of a window, F features.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from segsearch.core.features import YOUTUBE8M, dequantise
from segsearch.core.ranking import average_precision
from segsearch.core.sample.folder import FOLDS, Parameters, write_sample
from segsearch.core.segments import SEGMENT_FRAMES, cut_windows
from segsearch.core.videos import read_videos

CONTEXT = 5
MIDDLE = CONTEXT + SEGMENT_FRAMES // 2
RIDGE = 0.1  # of the mean squared length of the inputs


@dataclass(frozen=True, eq=False)
class Rated:
    """The rated pairs of all validate shards."""

    windows: np.ndarray  # (N, W, F) float32, each frame of length 1
    labels: np.ndarray  # (N,) label index
    yes: np.ndarray  # (N,) 0 or 1
    folds: np.ndarray  # (N,) which shard

    @classmethod
    def read(cls, folder):
        rows = []
        for fold, file in enumerate(sorted(folder.glob("validate*.tfrecord"))):
            for video in read_videos([file], YOUTUBE8M):
                windows, _ = cut_windows(video.frames, video.ratings.starts, CONTEXT)
                ratings = video.ratings
                rows.append((windows, ratings.labels, ratings.scores, np.full(len(ratings), fold)))
        codes, labels, yes, folds = (np.concatenate(column) for column in zip(*rows, strict=True))
        frames = dequantise(codes)
        return cls(frames / np.linalg.norm(frames, axis=-1, keepdims=True), labels, yes, folds)


def held_out_map(rated, seen, judged):
    """MAP of out-of-fold scores. Of each pair the model learns from seen (N, n, F) and is judged by judged (N, F)."""
    scores = np.zeros(len(judged))
    for fold in range(FOLDS):
        for label in np.unique(rated.labels):
            ours = rated.labels == label
            fit, held = ours & (rated.folds != fold), ours & (rated.folds == fold)
            yes = np.repeat(rated.yes[fit], seen.shape[1])
            scores[held] = ridge_scores(seen[fit].reshape(len(yes), -1), yes, judged[held])
    return rated_map(rated, scores)


def ridge_scores(seen, yes, judged):
    """Linear scores (M,) of judged (M, F), fitted to seen (N, F) and yes (N,); solved in the dual."""
    centre, share = seen.mean(axis=0), yes.mean()
    gram = (seen - centre) @ (seen - centre).T
    weight = np.linalg.solve(gram + RIDGE * np.diag(gram).mean() * np.eye(len(gram)), yes - share)
    return (judged - centre) @ ((seen - centre).T @ weight) + share


def rated_map(rated, scores):
    classes = [rated.labels == label for label in np.unique(rated.labels)]
    return np.mean([average_precision(scores[ours], rated.yes[ours]) for ours in classes if rated.yes[ours].any()])


@pytest.fixture(scope="module", params=[1, 2])
def rated(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("sample") / "out"
    write_sample(out, Parameters(videos=250, seed=request.param, classes=12), lambda: None)
    return Rated.read(out)


@pytest.fixture(scope="module")
def chance(rated):
    random = np.random.default_rng(0)
    return np.mean([rated_map(rated, random.random(len(rated.yes))) for _ in range(10)])


@pytest.fixture(scope="module")
def one_frame(rated):
    """Learns from every frame of the rated segments, and judges by the middle one."""
    return held_out_map(rated, rated.windows[:, CONTEXT : CONTEXT + SEGMENT_FRAMES], rated.windows[:, MIDDLE])


@pytest.fixture(scope="module")
def pooled(rated):
    means = rated.windows.mean(axis=1)
    return held_out_map(rated, means[:, None], means)


def test_chance_is_about_the_share_of_yes(rated, chance):
    assert chance == pytest.approx(rated.yes.mean(), abs=0.06)


def test_one_frame_tells_something(chance, one_frame):
    assert one_frame > chance + 0.07


def test_a_window_tells_much_more_than_one_frame(one_frame, pooled):
    assert pooled > one_frame + 0.2


def test_a_linear_model_of_the_window_leaves_room_for_a_better_one(pooled):
    assert 0.68 < pooled < 0.92
