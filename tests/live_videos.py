"""Made-up uploads for tests of the live store: the same seed gives the same frames and codes, in every process."""

import hashlib

import numpy as np

from segsearch.core.segments import segment_count
from segsearch.service.index.live.once import Name

SPACE = "space-of-the-tests"
BUNDLE, OTHER = "b" * 64, "c" * 64
FRAME_CODES, CLASSES = 24, 30


def frame_count_of(seed):
    """Of made-up uploads: one in four is so long that its frames lie in a value file."""
    return 3 + seed % 40 + (700 if seed % 4 == 1 else 0)


def frames_of(seed, frame_count=12):
    """(T, F) u8."""
    return np.random.default_rng(seed).integers(0, 256, (frame_count, FRAME_CODES), np.uint8)


def codes_of(seed, bundle, frame_count=12, classes=CLASSES):
    """(S, C) u16."""
    salt = hashlib.sha256(f"{bundle}{seed}".encode()).digest()[:4]
    shape = (segment_count(frame_count), classes)
    return np.random.default_rng(int.from_bytes(salt)).integers(0, 1 << 16, shape, np.uint16)


def name_of(called, request=None, at_s=1_800_000_000):
    """Of a change that is done once. request: what is asked for by it; else the same each time."""
    called, request = str(called), str(called if request is None else request)
    return Name(hashlib.sha256(called.encode()).digest(), hashlib.sha256(request.encode()).digest(), at_s, "header")


def some_name_of(seed):
    """Of every second upload that processes of the tests make; None for the others."""
    return name_of(seed) if seed % 2 else None


def put(store, video_id, seed=0, bundles=(BUNDLE,), frame_count=12):
    """Uploads such a video, scored by these bundles."""
    return store.put(
        video_id, frames_of(seed, frame_count), {bundle: codes_of(seed, bundle, frame_count) for bundle in bundles}
    )
