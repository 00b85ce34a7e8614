"""What a live store looks like on disk: an LMDB environment with five tables, value files beside it, and the format
version.

Where it stands: `record` encodes the values, `edit` writes them, `snapshot` reads; `value_files` has the long ones.

Every value is a record: a fixed little-endian header with a checksum, and raw arrays or text behind it. An array of
more than INLINE_BYTES lies in a value file, and its record says where. Version 1 had no value files; a store of that
version is read as it is, and becomes one of version 2 with the first array that goes into a value file.

| table | key | value |
| --- | --- | --- |
| meta | `format`, `counters` | version and feature space; last sequence number, commits |
| meta | `taken`, `taken/` and a value file's number | bytes that value files hold: of all of them, of this one |
| meta | `freed/` and a commit's number | the places in value files that it left, and that are still to be emptied |
| meta | `done/` and the digest of a name | what a caller wanted done once: what was asked, when, and what came of it |
| sequences | SHA-256 of a video id | the sequence number of the video's last change |
| changes | sequence, big-endian u64 | id, content digest, or that it was deleted: each video once, by its last change |
| frames | sequence | (T, F) frames |
| codes | sequence, then the bundle's digest | (S, C) score codes of one bundle |
"""

from typing import Final

import numpy as np

FORMAT_VERSION: Final = 2

DATA_FILE: Final = "data.mdb"  # LMDB's own name; `lock.mdb` beside it holds its locks and no data
VALUES_FOLDER: Final = "values"  # value files, by number
HEAD_FILE: Final = "head"  # the last commit's number, for `data_file` to find a data file that went back

META: Final = b"meta"
SEQUENCES: Final = b"sequences"
CHANGES: Final = b"changes"
FRAMES: Final = b"frames"
CODES: Final = b"codes"
TABLES: Final = (META, SEQUENCES, CHANGES, FRAMES, CODES)

FORMAT_KEY: Final = b"format"
COUNTERS_KEY: Final = b"counters"
TAKEN_KEY: Final = b"taken"
FREED_PREFIX: Final = b"freed/"
DONE_PREFIX: Final = b"done/"

FRAMES_DTYPE: Final = np.dtype("u1")
CODES_DTYPE: Final = np.dtype("<u2")

INLINE_BYTES: Final = 16 << 10  # of an array that lies in LMDB's file; longer ones lie in value files
VALUE_FILE_BYTES: Final = 256 << 20  # of a value file, before the next one is begun
MAP_BYTES: Final = 64 << 30  # what is stored grows up to here; reserves address space, neither memory nor disk
RESERVE_BYTES: Final = 1 << 20  # of it, left by uploads: deleting needs room to give room
READER_SLOTS: Final = 1_024  # read transactions at one time, over all processes
BUNDLE_BYTES_CAP: Final = 400  # LMDB's keys end at 511 bytes
COMMIT_CHANGES: Final = 256  # that are committed together
# LMDB hands what a commit wrote to the kernel in one piece. From 2 MB on the kernel puts it into pages of 2 MB, which a
# virtual machine often has to get from its host first: five times the cost of copying, far more than another sync.
COMMIT_BYTES: Final = 2 << 20
CODES_BYTES: Final = 32 << 20  # of codes of many videos that one operation adds


def taken_key(file: int) -> bytes:
    return TAKEN_KEY + b"/%016x" % file


def freed_key(commit: int) -> bytes:
    return FREED_PREFIX + b"%016x" % commit


def done_key(digest: bytes) -> bytes:
    return DONE_PREFIX + digest.hex().encode()
