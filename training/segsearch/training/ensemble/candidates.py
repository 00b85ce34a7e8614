"""Rules that move a video's segments up or down by what the video around them shows: the challenge's candidate rules.

Where it stands: `ruled` applies them to each member's matrices, video after video, before anything is averaged. Each
rule is a function of its own and does nothing unless it is asked for. Sources: the write-ups of the 3rd YouTube-8M
challenge, whose winners ranked by a mix of video and segment scores, left out the ends of videos, where hardly anything
had been rated, and smoothed over neighbours.

S segments of one video, C classes.
"""

from dataclasses import dataclass

import numpy as np

from segsearch.core.score_codes import LOGITS, encode_probabilities
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.training.checks import at_least, share

BEST_COUNT = 3  # of a class's segments in the video: their mean is the video's score


@dataclass(frozen=True, kw_only=True)
class CandidateRules:
    """Which rules hold; as it stands, none."""

    video_power: float = 0.0  # the video's share in a geometric mean with the segment: p^(1 - a) v^a
    skip_first_s: int = 0  # segments that begin in a video's first seconds rank behind all others
    skip_last_s: int = 0  # as those that end in its last
    smoothing: float = 0.0  # the share of the neighbours' mean in a score

    def __post_init__(self) -> None:
        share("video_power", self.video_power)
        share("smoothing", self.smoothing)
        at_least("skip_first_s", self.skip_first_s, 0)
        at_least("skip_last_s", self.skip_last_s, 0)

    def __bool__(self) -> bool:
        return self != CandidateRules()

    def of(self, codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """(S, C) uint16 codes of a whole video as the rules have them; starts (S,), rising."""
        if not self or not len(codes):
            return codes
        scores = 1 / (1 + np.exp(-LOGITS[codes].astype(np.float64)))
        scores = mixed_with_video(smoothed(scores, self.smoothing), self.video_power)
        kept = inside(starts, self.skip_first_s, self.skip_last_s)
        return np.where(kept[:, None], encode_probabilities(np.minimum(scores, 1.0)), np.uint16(0))


def mixed_with_video(scores: np.ndarray, power: float) -> np.ndarray:
    """(S, C) probabilities p as p^(1 - power) v^power, v the mean of the class's best few segments of the video."""
    best = np.sort(scores, axis=0)[-BEST_COUNT:].mean(axis=0)  # (C,)
    return scores ** (1 - power) * best**power


def smoothed(scores: np.ndarray, share: float) -> np.ndarray:
    """(S, C) probabilities, each moved by `share` towards the mean of the segments before and after it.

    At a video's ends that is the one neighbour there is.
    """
    if len(scores) < 2:
        return scores
    sums, counts = np.zeros_like(scores), np.zeros((len(scores), 1))
    for there, here in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
        sums[here] += scores[there]
        counts[here] += 1
    return (1 - share) * scores + share * sums / counts


def inside(starts: np.ndarray, first_s: int, last_s: int) -> np.ndarray:
    """(S,) bool: which segments lie clear of the video's first and last seconds.

    A frame is a second. A video's end is that of its last segment, taken as whole.
    """
    ends = starts.astype(np.int64) + SEGMENT_FRAMES
    return (starts >= first_s) & (ends <= ends[-1] - last_s)
