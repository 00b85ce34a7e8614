"""What a generation looks like on disk: its files, their dtypes, the format version.

Where it stands: `writer` writes these files, `generation` maps them, `index_directory` publishes the directory.

C classes, P postings (class after class, best first), N segments, V videos, B bytes of all video ids, H embedding size.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

FORMAT_VERSION: Final = 1

CURRENT: Final = "CURRENT"  # in the index directory: the number of the generation that answers
LIVE: Final = "live"  # in the index directory: the live store
MANIFEST: Final = "manifest.json"
VOCABULARY: Final = "vocabulary.csv"

OFFSETS: Final = "offsets.npy"  # (C + 1,); class c owns postings offsets[c]:offsets[c + 1]
ORDINALS: Final = "ordinals.npy"  # (P,) segment ordinals
CODES: Final = "codes.npy"  # (P,) score codes
SEGMENT_VIDEOS: Final = "segment_videos.npy"  # (N,) video ordinal of each segment, rising
SEGMENT_STARTS: Final = "segment_starts.npy"  # (N,) first frame of each segment
VIDEO_IDS: Final = "video_ids.npy"  # (B,) UTF-8, one id behind the other
VIDEO_ID_OFFSETS: Final = "video_id_offsets.npy"  # (V + 1,); video v's id is bytes offsets[v]:offsets[v + 1]

ARRAYS: Final[Mapping[str, np.dtype]] = {
    OFFSETS: np.dtype("<u8"),
    ORDINALS: np.dtype("<u4"),
    CODES: np.dtype("<u2"),
    SEGMENT_VIDEOS: np.dtype("<u4"),
    SEGMENT_STARTS: np.dtype("<u4"),
    VIDEO_IDS: np.dtype("u1"),
    VIDEO_ID_OFFSETS: np.dtype("<u8"),
}
FILES: Final = (*ARRAYS, VOCABULARY)  # everything the manifest vouches for

SCORES: Final = "scores.npy"  # (N, C) score codes of everything, kept or not; there only where it was asked for
SCORES_DTYPE: Final = np.dtype("<u2")

EMBEDDINGS: Final = "embeddings.npy"  # (N, H) of length one, zeros where none is known; only where they were asked for
# Half the bytes of float32, and a cosine moves by less than 0.001.
EMBEDDINGS_DTYPE: Final = np.dtype("<f2")
NEIGHBOURS: Final = "neighbours.faiss"  # brings candidates out of many embeddings; few need none

SEGMENT_CAP: Final = 1 << 32  # ordinals are u32
POSTINGS_CAP: Final = 100_000  # the most one search may ask for
POSTINGS_KEPT: Final = 105_000  # a posting list's usual length: what lies behind the cap moves up for deleted segments
KEEP_CAP: Final = 1_000_000  # the longest list a reindex keeps
GENERATIONS_KEPT: Final = 3  # the current one, and two to go back to
GENERATIONS_CAP: Final = 1_000
