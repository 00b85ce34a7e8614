"""Lets a model prove itself: the bundle's golden videos must come out as the training framework scored them.

V golden videos, S segments of one or of all of them, C classes.
"""

import numpy as np

from segsearch.core.bundle import Bundle, Graph
from segsearch.core.errors import BundleRefused, GoldenMismatch
from segsearch.core.score_codes import STEPS_PER_LOGIT, decode
from segsearch.service.scoring.model import Model

_CODE_STEP = 0.25 / STEPS_PER_LOGIT  # of a probability, at 0.5 where it is steepest; codes are right to half of it
_HALF_FLOATS = 2  # times the measured difference: processors differ in where they round half floats
_ALL_AT_ONCE = 4096  # segments; golden videos hold a few dozen


LIMIT_S = 120.0  # a few dozen segments take milliseconds; a model with an endless loop would hold a start up for ever


def check_golden(bundle: Bundle, graph: Graph, model: Model, limit_s: float = LIMIT_S) -> float:
    """Scores the golden videos, together and each alone, as probabilities and as codes, in `limit_s` at most.

    Returns the largest difference of a probability. Raises GoldenMismatch with the largest difference and its segment.
    """
    golden, tolerance = bundle.manifest.golden, allowed_difference(bundle, graph)
    parts = [(golden.videos(), golden.scores, 0)]
    first = 0
    for frames, scores in zip(golden.videos(), golden.scores_by_video(), strict=True):
        parts.append(([frames], scores, first))
        first += len(scores)
    largest = 0.0
    with model.limited(limit_s):
        for videos, wanted, first in parts:
            scores, *codes = _outcomes(bundle, model, videos)
            largest = max(largest, _check(bundle, scores, wanted, first, tolerance))
            for found in codes:
                _check(bundle, found, wanted, first, tolerance + _CODE_STEP)
    return largest


def allowed_difference(bundle: Bundle, graph: Graph) -> float:
    """Of a probability: the bundle's tolerance, and for a variant how far off it was when it was made."""
    return bundle.manifest.golden.tolerance + graph.difference * (_HALF_FLOATS if graph.precision == "float16" else 1)


def _outcomes(bundle: Bundle, model: Model, videos: list[np.ndarray]) -> list[np.ndarray]:
    """Probabilities (S, C): as the model gives them, and as its codes decode, row by row and class by class."""
    batches = list(model.batches(videos, _ALL_AT_ONCE, _ALL_AT_ONCE))
    try:
        judged = [model.scores(batch) for batch in batches]
        codes = np.concatenate([model.codes(batch, by_class=False) for batch in batches])
        by_class = np.concatenate([model.codes(batch, by_class=True) for batch in batches], axis=1)
    except BundleRefused:
        raise
    except Exception as error:  # onnxruntime has a dozen exception types without a common base
        reason = f"the model fails on the golden videos: {type(error).__name__} {error}"
        raise BundleRefused(bundle.directory, reason) from None
    embeddings = np.concatenate([embedding for _, embedding in judged])
    if embeddings.shape[1:] != (bundle.manifest.embedding_size,):
        raise BundleRefused(bundle.directory, f"embeddings are {embeddings.shape}, wanted as the manifest says")
    return [np.concatenate([scores for scores, _ in judged]), decode(codes), decode(by_class.T)]


def _check(bundle: Bundle, found: np.ndarray, wanted: np.ndarray, first: int, tolerance: float) -> float:
    if found.shape != wanted.shape:
        raise BundleRefused(bundle.directory, f"golden videos gave scores {found.shape}, wanted {wanted.shape}")
    differences = np.abs(found - wanted).max(axis=1)
    if not differences.max() <= tolerance:
        segment = first + int(differences.argmax())
        raise GoldenMismatch(bundle.directory, segment, float(differences.max()), tolerance)
    return float(differences.max())
