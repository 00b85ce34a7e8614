"""Scores as 16-bit codes of their logit: what postings and score matrices store.

A code is the logit in steps of 1/1024 over [-32, 32), so that it is monotone, decodes through one fixed table, and
keeps rare classes apart: where linear 16-bit probabilities run out of values (mean logit -13: a few hundred distinct
among the best 100,000), logit codes have thousands. A probability moves by at most 1.3e-4 (at 0.5) through its code.
"""

import numpy as np

STEPS_PER_LOGIT = 1024
_ZERO = 1 << 15  # the code of logit 0
HIGHEST = (1 << 16) - 1

LOGITS: np.ndarray = ((np.arange(1 << 16) - _ZERO) / STEPS_PER_LOGIT).astype(np.float32)  # (65536,)
PROBABILITIES: np.ndarray = (1 / (1 + np.exp(-LOGITS.astype(np.float64)))).astype(np.float32)  # (65536,), rising
LOGITS.flags.writeable = PROBABILITIES.flags.writeable = False


def encode_logits(logits: np.ndarray) -> np.ndarray:
    """Float logits of any shape to uint16 codes; beyond ±32 they saturate. Raises ValueError at NaN."""
    scaled = np.rint(np.asarray(logits, np.float64) * STEPS_PER_LOGIT) + _ZERO
    if np.isnan(scaled).any():
        raise ValueError("a score is NaN")
    codes: np.ndarray = np.clip(scaled, 0, HIGHEST).astype(np.uint16)
    return codes


def encode_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities in [0, 1] of any shape to uint16 codes; 0 and 1 become the lowest and highest code."""
    p = np.asarray(probabilities, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a score is NaN or outside 0 to 1")
    with np.errstate(divide="ignore"):
        return encode_logits(np.log(p) - np.log1p(-p))


def decode(codes: np.ndarray) -> np.ndarray:
    """Codes to float32 probabilities, strictly between 0 and 1 where float32 can tell."""
    probabilities: np.ndarray = PROBABILITIES[codes]
    return probabilities
