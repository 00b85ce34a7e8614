"""Bodies that the REST API takes, and what an answer to any other must be."""

import base64
import io
import struct

import httpx
import numpy as np

from segsearch.core.records import masked_crc32c
from tests.library_fixtures import make_videos

FRAMES = make_videos(1, seed=11)[0].frames  # (T, 12)
NPY = {"content-type": "application/x-npy"}


def npy_of(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)  # hostile clients may
    return out.getvalue()


def npz_of(save=np.savez, **arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def base64_of(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def tfrecord_of(payload: bytes) -> bytes:
    """A TFRecord file of one record."""
    length = struct.pack("<Q", len(payload))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, payload)]
    return length + checksums[0] + payload + checksums[1]


def json_of(frames: np.ndarray = FRAMES, **changes: object) -> dict[str, object]:
    """A JSON body of frames (T, 12), its streams replaced by `changes`."""
    return {"video_id": "up", "frames": {"rgb": frames[:, :8].tolist(), "audio": frames[:, 8:].tolist(), **changes}}


def problem(answer: httpx.Response, status: int, code: str) -> str:
    """The detail of an answer, which must be this problem document."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert (answer.status_code, document["status"], document["type"]) == (status, status, f"/problems/{code}")
    assert document["instance"] == answer.request.url.path
    return str(document["detail"])
