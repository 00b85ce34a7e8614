"""Bodies of `POST /score`: whatever bytes come, an upload or one of our errors."""

import base64
import contextlib
import gc
import gzip
import io
import itertools
import json
import struct
import threading
import time

import numpy as np
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segsearch.core.errors import InputTooLarge, InvalidInput
from segsearch.core.records import masked_crc32c
from segsearch.core.videos import Video, serialise_video
from segsearch.service.npy_header import read_npy_header
from segsearch.service.rest.answer_coding import encoded
from segsearch.service.rest.inflating import INFLATERS
from segsearch.service.uploads.reader import JSON, NPY, NPZ, PARSERS, PROTOBUF, TFRECORD, UploadReader
from segsearch.service.uploads.upload import Rules
from tests.tiny_model import SPEC

READER = UploadReader(Rules(SPEC, frame_limit=50))
COMPRESS = {"gzip": gzip.compress, "zstd": zstd.compress}
some_frames = st.integers(1, 50).flatmap(lambda count: arrays(np.uint8, (count, SPEC.size)))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.sampled_from(["rgb", "audio", "x"]), inner),
    max_leaves=40,
)


def npy_bytes(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def tfrecord_bytes(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    head, tail = (struct.pack("<I", masked_crc32c(part)) for part in (length, payload))
    return length + head + payload + tail


@settings(max_examples=50)
@given(some_frames, st.booleans(), st.booleans())
def test_every_way_of_sending_frames_gives_the_same_frames(frames, fortran, as_base64):
    parts = {"rgb": np.ascontiguousarray(frames[:, :8]), "audio": np.ascontiguousarray(frames[:, 8:])}
    sent = {
        name: base64.b64encode(part.tobytes()).decode() if as_base64 else part.tolist() for name, part in parts.items()
    }
    record = serialise_video(Video("up", None, frames=frames), SPEC)
    bodies = {
        JSON: json.dumps({"frames": sent}).encode(),
        NPY: npy_bytes(np.asfortranarray(frames) if fortran else frames),
        NPZ: npz_bytes(parts if fortran else {"frames": frames}),
        PROTOBUF: record,
        TFRECORD: tfrecord_bytes(record),
    }
    for kind, body in bodies.items():
        np.testing.assert_array_equal(READER.read(kind, body, None)[1].frames, frames)


@settings(max_examples=50)
@given(json_values)
def test_any_json_is_an_upload_or_a_named_fault(value):
    with contextlib.suppress(InvalidInput):
        READER.read(JSON, json.dumps({"frames": value}).encode(), None)


@settings(max_examples=50)
@given(st.binary(max_size=200), st.sampled_from(list(PARSERS)))
def test_any_bytes_are_an_upload_or_a_named_fault(body, kind):
    with pytest.raises(InvalidInput):
        READER.read(kind, body, None)


WHOLE = {
    NPY: npy_bytes(np.zeros((2, SPEC.size), np.uint8)),
    NPZ: npz_bytes({"frames": np.zeros((2, SPEC.size), np.uint8)}),
    PROTOBUF: serialise_video(Video("up", None, frames=np.zeros((2, SPEC.size), np.uint8)), SPEC),
}
WHOLE[TFRECORD] = tfrecord_bytes(WHOLE[PROTOBUF])


@settings(max_examples=200)
@given(st.data(), st.sampled_from(list(WHOLE)))
def test_a_damaged_body_is_an_upload_or_a_named_fault(data, kind):
    body = bytearray(WHOLE[kind])
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
        body[at] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))] if data.draw(st.booleans()) else body
    with contextlib.suppress(InvalidInput):
        READER.read(kind, bytes(body), None)


@settings(max_examples=50)
@given(st.data(), st.sampled_from(["gzip", "zstd"]), st.binary(max_size=50_000))
def test_a_compressed_body_inflates_to_what_it_was_however_it_is_cut(data, coding, content):
    compressed = COMPRESS[coding](content)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(compressed)), max_size=5)))
    inflater, found = INFLATERS[coding](), b""
    for start, stop in itertools.pairwise([0, *cuts, len(compressed)]):
        found += b"".join(inflater.feed(compressed[start:stop]))
    inflater.finish()
    assert found == content


@pytest.mark.parametrize("number", ["0", "1.5", "257"])
def test_more_numbers_than_are_read_in_a_moment_are_refused_before_the_first_is(number):
    body = b'{"frames": {"rgb": [[' + f"{number},".encode() * 4_000_001 + b"0]]}}"
    with pytest.raises(InputTooLarge, match="4000001 values; wanted at most 4000000"):
        READER.read(JSON, body, None)


def inflated(coding: str, body: bytes) -> bytes:
    inflater = INFLATERS[coding]()
    content = b"".join(inflater.feed(body))
    inflater.finish()
    return content


@settings(max_examples=50)
@given(st.data(), st.sampled_from(["gzip", "zstd"]), st.binary(max_size=500))
def test_compressed_data_that_are_cut_or_go_on_are_a_named_fault(data, coding, content):
    compressed = COMPRESS[coding](content)
    bad = data.draw(st.sampled_from([compressed[:-1], compressed + b"x", compressed * 2, compressed[1:], b"x" * 40]))
    with pytest.raises(InvalidInput):
        inflated(coding, bad)


@settings(max_examples=50)
@given(st.binary(min_size=1024, max_size=5000), st.sampled_from(["gzip", "zstd"]))
def test_a_compressed_answer_is_the_answer(content, coding):
    coded, headers = encoded(content, coding)
    assert inflated(headers["Content-Encoding"], coded) == content


@settings(max_examples=50)
@given(st.lists(st.integers(0, 1000), max_size=3).map(tuple), st.sampled_from(["|u1", "<f4", "<i8"]))
def test_headers_are_read_as_numpy_writes_them(shape, descr):
    array = np.lib.stride_tricks.as_strided(np.zeros(1, descr), shape, (0,) * len(shape))
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, np.lib.format.header_data_from_array_1_0(array) | {"shape": shape})
    header = read_npy_header(out.getvalue())
    assert (header.shape, header.descr, header.data_start) == (shape, descr, len(out.getvalue()))


class Knot:
    """Garbage that lets other threads go on whenever it is collected."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        time.sleep(0)


def test_threads_that_read_headers_at_the_same_time_do_not_fail_one_another():
    """As they did where Python's own parser read them."""
    content, failed = npy_bytes(np.zeros((3, SPEC.size), np.uint8)), []

    def read() -> None:
        try:
            for _ in range(300):
                Knot()
                read_npy_header(content)
        except Exception as error:
            failed.append(error)

    before = gc.get_threshold()
    gc.set_threshold(10)
    try:
        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*before)
    assert failed == []
