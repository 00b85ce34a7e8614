"""How good a network is: rated segment MAP for stage 2, the starter code's video metrics for stage 1.

Where it stands: `trainer` calls an evaluation at the end of an epoch with the averaged network. Metrics are core's
(`core.ranking`, `rated_map`); scores are ranked as 16-bit codes, as every index ranks them.

S segments, C classes, N videos.
"""

from dataclasses import dataclass

import numpy as np

from segsearch.core import ranking
from segsearch.core.bundle import Metric
from segsearch.core.score_codes import encode_probabilities
from segsearch.training.input.segments import SegmentExamples
from segsearch.training.input.survey import RatedSegments
from segsearch.training.input.videos import VideoExamples
from segsearch.training.models.network import Network
from segsearch.training.rated_map import RATED_MAP, RATED_PROTOCOL, rated_map
from segsearch.training.scoring import mean_over_shifts, scores_of

VIDEO_PROTOCOL = "whole videos, all frames in order, video labels"


@dataclass(frozen=True, slots=True, eq=False)
class SegmentEvaluation:
    """Judges a network by the rated segments of some shards."""

    examples: SegmentExamples
    rated: RatedSegments
    split: str
    shift: int = 0  # a score is the mean over windows shifted by up to so many frames

    def __call__(self, network: Network) -> tuple[Metric, ...]:
        value = rated_map(self.score_codes(network), self.rated)
        shifted = f", mean over windows shifted by up to {self.shift} frames" if self.shift else ""
        return (Metric(RATED_MAP, value, RATED_PROTOCOL + shifted, self.split),)

    def score_codes(self, network: Network) -> np.ndarray:
        """(S, C) uint16, rows as in `rated`."""
        return encode_probabilities(mean_over_shifts(self.shift, lambda by: self._scores(network, by)))

    def _scores(self, network: Network, shift: int) -> np.ndarray:
        batches = self.examples.in_order(shift)
        return np.concatenate([scores_of(network, batch["codes"], batch["frame_count"]).numpy() for batch in batches])


@dataclass(frozen=True, slots=True, eq=False)
class VideoEvaluation:
    """Judges a network by video labels: GAP@20, MAP, Hit@1 and PERR over the first `limit` labelled videos."""

    examples: VideoExamples
    split: str
    limit: int

    def __call__(self, network: Network) -> tuple[Metric, ...]:
        scores, labels = self._scores_and_labels(network)
        if not len(labels):
            return ()
        values = {
            "gap_at_20": ranking.global_average_precision(scores, labels),
            "map": ranking.mean_average_precision(scores, labels),
            "hit_at_1": ranking.hit_at_one(scores, labels),
            "perr": ranking.precision_at_equal_recall(scores, labels),
        }
        return tuple(Metric(name, value, VIDEO_PROTOCOL, self.split) for name, value in values.items())

    def _scores_and_labels(self, network: Network) -> tuple[np.ndarray, np.ndarray]:
        """(N, C) each; videos without a label say nothing and are left out."""
        scores, labels = [], []
        for batch in self.examples.in_order():
            labelled = batch["labels"].numpy().any(axis=1)
            scores.append(scores_of(network, batch["codes"], batch["frame_count"]).numpy()[labelled])
            labels.append(batch["labels"].numpy()[labelled])
            if sum(map(len, labels)) >= self.limit:
                break
        return np.concatenate(scores)[: self.limit], np.concatenate(labels)[: self.limit]
