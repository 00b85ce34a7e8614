"""Bodies of `POST /score`: whatever bytes come, an upload or one of our errors."""

import base64
import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segsearch.core.errors import InvalidInput
from segsearch.service.npy_header import read_npy_header
from segsearch.service.rest.score_body import JSON, NPY, UploadReader
from tests.tiny_model import SPEC

READER = UploadReader(SPEC, frame_limit=50)
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


@settings(deadline=None, max_examples=50)
@given(some_frames, st.booleans(), st.booleans())
def test_every_way_of_sending_frames_gives_the_same_frames(frames, fortran, as_base64):
    parts = {"rgb": np.ascontiguousarray(frames[:, :8]), "audio": np.ascontiguousarray(frames[:, 8:])}
    sent = {
        name: base64.b64encode(part.tobytes()).decode() if as_base64 else part.tolist() for name, part in parts.items()
    }
    from_json = READER.read(JSON, json.dumps({"frames": sent}).encode(), None)
    from_npy = READER.read(NPY, npy_bytes(np.asfortranarray(frames) if fortran else frames), None)
    np.testing.assert_array_equal(from_json.frames, frames)
    np.testing.assert_array_equal(from_npy.frames, frames)


@settings(deadline=None, max_examples=50)
@given(json_values)
def test_any_json_is_an_upload_or_a_named_fault(value):
    with contextlib.suppress(InvalidInput):
        READER.read(JSON, json.dumps({"frames": value}).encode(), None)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200), st.sampled_from([JSON, NPY]))
def test_any_bytes_are_an_upload_or_a_named_fault(body, kind):
    with pytest.raises(InvalidInput):
        READER.read(kind, body, None)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_damaged_npy_file_is_an_upload_or_a_named_fault(data):
    body = bytearray(npy_bytes(np.zeros((2, SPEC.size), np.uint8)))
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
        body[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidInput):
        READER.read(NPY, bytes(body), None)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 1000), max_size=3).map(tuple), st.sampled_from(["|u1", "<f4", "<i8"]))
def test_headers_are_read_as_numpy_writes_them(shape, descr):
    array = np.lib.stride_tricks.as_strided(np.zeros(1, descr), shape, (0,) * len(shape))
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, np.lib.format.header_data_from_array_1_0(array) | {"shape": shape})
    header = read_npy_header(out.getvalue())
    assert (header.shape, header.descr, header.data_start) == (shape, descr, len(out.getvalue()))
