"""Bodies that nobody means well with: of each its media type, bytes, headers, and the answer that it must get.

The model reads frames of rgb:8 and audio:4; the server takes 200 frames and 2 MB.
"""

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from backports import zstd

from segsearch.core.example_pb2 import Feature, SequenceExample
from segsearch.core.records import masked_crc32c
from segsearch.core.videos import Video, serialise_video
from tests.tiny_model import SPEC

FRAME_LIMIT, BODY_LIMIT_BYTES = 200, 2_000_000
FRAMES = np.arange(7 * SPEC.size, dtype=np.uint8).reshape(7, SPEC.size)
JSON, NPY, NPZ = "application/json", "application/x-npy", "application/x-npz"
TFRECORD, PROTOBUF = "application/x-tfrecord", "application/x-protobuf"
BAD, BIG, ODD = (422, "invalid-input"), (413, "too-large"), (415, "unsupported-content")


class Hostile(NamedTuple):
    """A body and the status and problem code that it deserves."""

    content_type: str
    body: bytes
    answer: tuple[int, str] = BAD
    encoding: str | None = None


class RunsCode:
    """Whoever unpickles this makes a folder."""

    def __reduce__(self) -> tuple[object, ...]:
        return __import__("os").mkdir, ("unpickled",)


def npy_of(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def npy_claiming(shape: object, descr: str = "'|u1'", fortran: str = "False", data: bytes = bytes(12)) -> bytes:
    """A `.npy` file whose header says so, whatever the data are."""
    header = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


PICKLED = npy_of(np.array([[RunsCode()]], object))
NPY_BODIES = {
    "a pickle in npy": Hostile(NPY, PICKLED),
    "a bare pickle": Hostile(NPY, b"\x80\x04cos\nmkdir\n(X\x09\x00\x00\x00unpickledtR."),
    "shape of 2^31": Hostile(NPY, npy_claiming((2**31, 12)), BIG),
    "shape of 2^63": Hostile(NPY, npy_claiming((2**63, 12)), BIG),
    "width of 2^63": Hostile(NPY, npy_claiming((1, 2**63))),
    "shape of three thousand digits": Hostile(NPY, npy_claiming(f"({'9' * 3000}, 12)"), BIG),
    "a product that overflows": Hostile(NPY, npy_claiming((2**32, 2**32))),
    "negative frames": Hostile(NPY, npy_claiming((-1, 12))),
    "negative width": Hostile(NPY, npy_claiming((1, -12))),
    "object dtype": Hostile(NPY, npy_claiming((1, 12), "'|O'")),
    "record dtype": Hostile(NPY, npy_claiming((1,), "[('a', '|u1')]")),
    "void dtype": Hostile(NPY, npy_claiming((1, 12), "'|V1'")),
    "text dtype": Hostile(NPY, npy_of(np.full((1, 12), "x"))),
    "NaN": Hostile(NPY, npy_of(np.full((2, 12), np.nan))),
    "infinity": Hostile(NPY, npy_of(np.full((2, 12), np.inf, np.float32))),
    "Fortran order that lies": Hostile(NPY, npy_claiming((2, 12), fortran="True")),
    "Fortran order that is none": Hostile(NPY, npy_claiming((1, 12), fortran="1")),
    "0 frames": Hostile(NPY, npy_of(FRAMES[:0])),
    "no axis": Hostile(NPY, npy_of(np.uint8(3))),
    "10^6 frames claimed": Hostile(NPY, npy_claiming((1_000_000, 12)), BIG),
    "code in the header": Hostile(NPY, npy_claiming("__import__('os').mkdir('unpickled')")),
    "a deep header": Hostile(NPY, npy_claiming("(" * 3000)),
    "a header of 64 kB": Hostile(NPY, npy_claiming((1, 12), data=b"") + bytes(70_000)),
    "a header that never ends": Hostile(NPY, b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"),
}


def json_of(rgb: object, audio: object = ()) -> bytes:
    return json.dumps({"frames": {"rgb": rgb, "audio": audio}}).encode()


ROW = "[0,0,0,0,0,0,0,0]"
JSON_BODIES = {
    "NaN in JSON": Hostile(JSON, b'{"frames": {"rgb": [[NaN,0,0,0,0,0,0,0]], "audio": [[0,0,0,0]]}}'),
    "infinity in JSON": Hostile(JSON, b'{"frames": {"rgb": [[-Infinity,0,0,0,0,0,0,0]], "audio": []}}'),
    "1e999": Hostile(JSON, b'{"frames": {"rgb": [[1e999,0,0,0,0,0,0,0]], "audio": []}}'),
    "a number of 10^5 digits": Hostile(JSON, b'{"frames": {"rgb": [[' + b"9" * 100_000 + b"]]}}"),
    "lists in lists": Hostile(JSON, b"[" * 90_000),
    "objects in objects": Hostile(JSON, b'{"frames":' * 50_000),
    "10^6 frames": Hostile(JSON, json_of([[]] * 450_000), BIG),
    "10^6 objects": Hostile(JSON, json_of([{}] * 450_000), BIG),
    "10^6 texts": Hostile(JSON, json_of([""] * 450_000), BIG),
    "10^5 numbers for a row": Hostile(JSON, json_of([[0] * 100_000])),
    "base64 rubbish": Hostile(JSON, json_of("&&&& not base64 \u2028")),
    "base64 with line ends": Hostile(JSON, json_of("AAAA\nAAAA")),
    "base64 without padding": Hostile(JSON, json_of("AAAAAAAAAAA")),
    "base64 of half a frame": Hostile(JSON, json_of("AAAA")),
    "frames twice": Hostile(JSON, b'{"frames": {}, "frames": {}}'),
    "a prototype": Hostile(JSON, b'{"__proto__": {"admin": true}, "frames": {}}'),
    "half a character": Hostile(JSON, b'{"\\ud800": 1, "frames": {}}'),
    "no UTF-8": Hostile(JSON, b'{"frames": "\xff\xfe"}'),
    "a NUL in an id": Hostile(JSON, json.dumps({"video_id": "a\0b", "frames": {"rgb": "", "audio": ""}}).encode()),
    "an id that is a path": Hostile(JSON, json.dumps({"video_id": "../ /etc", "frames": {}}).encode()),
    "a pickle as JSON": Hostile(JSON, PICKLED),
}


ZEROS = bytes(20_000_000)


def npz_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


WHOLE_NPY = npy_of(FRAMES)
WHOLE_NPZ = npz_of({"frames.npy": WHOLE_NPY})


def patched(body: bytes, mark: bytes, offset: int, change: bytes) -> bytes:
    """The body with other bytes so far behind each such mark."""
    changed, at = bytearray(body), body.find(mark)
    while at >= 0:
        changed[at + offset : at + offset + len(change)] = change
        at = body.find(mark, at + 1)
    return bytes(changed)


def overlapping_npz() -> bytes:
    """Two members in the list, one and the same bytes in the archive."""
    body = npz_of({"rgb.npy": npy_of(FRAMES[:, :8]), "audio.npy": npy_of(FRAMES[:, 8:])})
    listed = [body.find(b"PK\1\2"), body.rfind(b"PK\1\2")]
    changed = bytearray(body)
    changed[listed[1] + 42 : listed[1] + 46] = changed[listed[0] + 42 : listed[0] + 46]
    return bytes(changed)


NPZ_BODIES = {
    "zip slip": Hostile(NPZ, npz_of({"../../../srv/unpickled.npy": WHOLE_NPY})),
    "zip slip by a root": Hostile(NPZ, npz_of({"/unpickled.npy": WHOLE_NPY})),
    "zip slip in DOS manner": Hostile(NPZ, npz_of({"..\\..\\frames.npy": WHOLE_NPY})),
    "a pickle in npz": Hostile(NPZ, npz_of({"frames.npy": PICKLED})),
    "a pickle beside frames": Hostile(NPZ, npz_of({"frames.npy": WHOLE_NPY, "data.pkl": PICKLED})),
    "a zip bomb": Hostile(NPZ, npz_of({"frames.npy": WHOLE_NPY + ZEROS}, zipfile.ZIP_DEFLATED), BIG),
    "a zip bomb that claims 12 bytes": Hostile(
        NPZ,
        patched(
            npz_of({"frames.npy": WHOLE_NPY + ZEROS}, zipfile.ZIP_DEFLATED),
            b"PK\1\2",
            24,
            bytes([12, 0, 0, 0]),
        ),
    ),
    "10^4 members": Hostile(NPZ, npz_of({f"{row}.npy": b"" for row in range(10_000)}), BIG),
    "a zip in a zip": Hostile(NPZ, npz_of({"frames.npy": WHOLE_NPZ})),
    "members that overlap": Hostile(NPZ, overlapping_npz()),
    "bzip2 in a zip": Hostile(NPZ, npz_of({"frames.npy": WHOLE_NPY}, zipfile.ZIP_BZIP2)),
    "a zip with a password": Hostile(NPZ, patched(WHOLE_NPZ, b"PK\1\2", 8, b"\1\0")),
    "a zip with a wrong CRC": Hostile(NPZ, patched(WHOLE_NPZ, b"PK\1\2", 16, bytes(4))),
    "a zip that is cut": Hostile(NPZ, WHOLE_NPZ[:-30]),
    "a zip without a member": Hostile(NPZ, npz_of({})),
    "a zip with a comment": Hostile(NPZ, WHOLE_NPZ[:-2] + struct.pack("<H", 4) + b"PK\5\6"),
    "a list of members elsewhere": Hostile(NPZ, patched(WHOLE_NPZ, b"PK\5\6", 16, b"\xff\xff\xff\x7f")),
    "one stream of two": Hostile(NPZ, npz_of({"rgb.npy": npy_of(FRAMES[:, :8])})),
    "streams of unequal length": Hostile(
        NPZ, npz_of({"rgb.npy": npy_of(FRAMES[:, :8]), "audio.npy": npy_of(FRAMES[:3, 8:])})
    ),
    "a stream beside frames": Hostile(NPZ, npz_of({"frames.npy": WHOLE_NPY, "rgb.npy": npy_of(FRAMES[:, :8])})),
}

RECORD = serialise_video(Video("up", None, frames=FRAMES), SPEC)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def nested(depth: int) -> bytes:
    """A message in a message in a message."""
    content = b""
    for _ in range(depth):
        content = field(1, content)
    return content


def altered(change: Callable[[SequenceExample], object]) -> bytes:
    record = SequenceExample.FromString(RECORD)
    change(record)
    return bytes(record.SerializeToString())


def streams_of(record: SequenceExample):
    return record.feature_lists.feature_list


def bytes_feature(value: bytes) -> Feature:
    feature = Feature()
    feature.bytes_list.value.append(value)
    return feature


LONG_KEY = "k" * 50_000
PROTOBUF_BODIES = {
    "nothing in protobuf": Hostile(PROTOBUF, b""),
    "10^6 unknown fields": Hostile(PROTOBUF, RECORD + b"\x78\x01" * 900_000, BIG),
    "10^6 frames in protobuf": Hostile(PROTOBUF, RECORD + field(2, field(1, field(2, b"\x0a\x00" * 900_000))), BIG),
    "10^6 streams": Hostile(PROTOBUF, RECORD + field(2, b"\x0a\x00" * 900_000), BIG),
    "10^6 values in a frame": Hostile(
        PROTOBUF, RECORD + field(2, field(1, field(2, field(1, field(1, b"\x0a\x00" * 900_000))))), BIG
    ),
    "10^6 labels": Hostile(PROTOBUF, RECORD + field(1, field(1, field(2, field(3, field(1, bytes(900_000)))))), BIG),
    "groups in groups": Hostile(PROTOBUF, RECORD + b"\x7b" * 100_000),
    "messages in messages": Hostile(PROTOBUF, nested(20_000)),
    "an end without a group": Hostile(PROTOBUF, RECORD + b"\x7c"),
    "field number 0": Hostile(PROTOBUF, RECORD + b"\x02\x00"),
    "wire type 7": Hostile(PROTOBUF, RECORD + b"\x7f"),
    "a number that does not end": Hostile(PROTOBUF, RECORD + b"\xff" * 12),
    "a length of 2^63": Hostile(PROTOBUF, RECORD + b"\x7a" + varint(2**63)),
    "a field that is cut": Hostile(PROTOBUF, RECORD[:-1]),
    "201 frames": Hostile(
        PROTOBUF, serialise_video(Video("up", None, frames=np.zeros((201, 12), np.uint8)), SPEC), BIG
    ),
    "0 frames in protobuf": Hostile(
        PROTOBUF, altered(lambda record: [stream.ClearField("feature") for stream in streams_of(record).values()])
    ),
    "a stream too few": Hostile(PROTOBUF, altered(lambda record: streams_of(record).pop("audio"))),
    "streams with long names": Hostile(
        PROTOBUF,
        altered(lambda record: (streams_of(record).pop("audio"), streams_of(record)[LONG_KEY].feature.add())),
    ),
    "a frame too few": Hostile(PROTOBUF, altered(lambda record: streams_of(record)["audio"].feature.pop())),
    "a frame of other size": Hostile(
        PROTOBUF, altered(lambda record: streams_of(record)["rgb"].feature[3].bytes_list.value.append(b"x"))
    ),
    "a frame of numbers": Hostile(
        PROTOBUF, altered(lambda record: streams_of(record)["rgb"].feature[3].int64_list.value.append(1))
    ),
    "an id that is no text": Hostile(
        PROTOBUF, altered(lambda record: record.context.feature["id"].CopyFrom(bytes_feature(b"\xff")))
    ),
    "an id of a kilobyte": Hostile(
        PROTOBUF, altered(lambda record: record.context.feature["id"].CopyFrom(bytes_feature(b"x" * 1000)))
    ),
    "two ids": Hostile(PROTOBUF, altered(lambda record: record.context.feature["id"].bytes_list.value.append(b"b"))),
    "no id": Hostile(PROTOBUF, altered(lambda record: record.context.feature.pop("id"))),
}


def tfrecord_of(payload: bytes, length: int | None = None) -> bytes:
    head = struct.pack("<Q", len(payload) if length is None else length)
    return head + struct.pack("<I", masked_crc32c(head)) + payload + struct.pack("<I", masked_crc32c(payload))


WHOLE_TFRECORD = tfrecord_of(RECORD)
TFRECORD_BODIES = {
    "nothing in a TFRecord": Hostile(TFRECORD, b""),
    "a TFRecord header alone": Hostile(TFRECORD, WHOLE_TFRECORD[:12]),
    "a record that is cut": Hostile(TFRECORD, WHOLE_TFRECORD[:-5]),
    "a wrong CRC of the length": Hostile(TFRECORD, WHOLE_TFRECORD[:8] + bytes(4) + WHOLE_TFRECORD[12:]),
    "a wrong CRC of the record": Hostile(TFRECORD, WHOLE_TFRECORD[:-4] + bytes(4)),
    "a bit that flipped": Hostile(TFRECORD, patched(WHOLE_TFRECORD, RECORD[:8], 5, b"\x99")),
    "a record of 2^63 bytes": Hostile(TFRECORD, tfrecord_of(RECORD, 2**63)),
    "two records": Hostile(TFRECORD, WHOLE_TFRECORD * 2),
    "an empty record": Hostile(TFRECORD, tfrecord_of(b"")),
    "a pickle as a record": Hostile(TFRECORD, tfrecord_of(PICKLED)),
}

ENCODED_BODIES = {
    "a gzip bomb": Hostile(NPY, gzip.compress(ZEROS), BIG, "gzip"),
    "a zstd bomb": Hostile(NPY, zstd.compress(ZEROS), BIG, "zstd"),
    "a bomb in a bomb": Hostile(NPY, gzip.compress(gzip.compress(ZEROS)), BAD, "gzip"),
    "two encodings": Hostile(NPY, gzip.compress(gzip.compress(WHOLE_NPY)), ODD, "gzip, gzip"),
    "an encoding in none": Hostile(NPY, gzip.compress(WHOLE_NPY), ODD, "identity, gzip"),
    "ten thousand encodings": Hostile(NPY, WHOLE_NPY, ODD, ",".join(["gzip"] * 10_000)),
    "deflate": Hostile(NPY, zlib.compress(WHOLE_NPY), ODD, "deflate"),
    "brotli": Hostile(NPY, b"\x0b\x02\x80hello\x03", ODD, "br"),
    "no gzip": Hostile(NPY, WHOLE_NPY, BAD, "gzip"),
    "no zstd": Hostile(NPY, WHOLE_NPY, BAD, "zstd"),
    "nothing in gzip": Hostile(NPY, b"", BAD, "gzip"),
    "nothing in zstd": Hostile(NPY, b"", BAD, "zstd"),
    "gzip that is cut": Hostile(NPY, gzip.compress(WHOLE_NPY)[:-4], BAD, "gzip"),
    "zstd that is cut": Hostile(NPY, zstd.compress(WHOLE_NPY)[:-4], BAD, "zstd"),
    "gzip with a wrong CRC": Hostile(NPY, gzip.compress(WHOLE_NPY)[:-8] + bytes(8), BAD, "gzip"),
    "gzip that goes on": Hostile(NPY, gzip.compress(WHOLE_NPY) * 2, BAD, "gzip"),
    "zstd that goes on": Hostile(NPY, zstd.compress(WHOLE_NPY) * 2, BAD, "zstd"),
    "zstd without content": Hostile(NPY, b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip", BAD, "zstd"),
    "zstd with a window of 2 GB": Hostile(NPY, b"\x28\xb5\x2f\xfd\x00\xa8\x00\x00\x00", BAD, "zstd"),
    "zstd with a dictionary": Hostile(NPY, b"\x28\xb5\x2f\xfd\x23\x01\x02\x03\x04\x05\x29\x00\x00x", BAD, "zstd"),
}

OTHER_BODIES = {
    "a pickle as itself": Hostile("application/python-pickle", PICKLED, ODD),
    "a form": Hostile("multipart/form-data; boundary=x", b"--x--", ODD),
    "a media type of 9 kB": Hostile("application/" + "x" * 9_000, b"", ODD),
    "an archive as an array": Hostile(NPY, WHOLE_NPZ),
    "an array as an archive": Hostile(NPZ, WHOLE_NPY),
    "more than the limit": Hostile(NPY, bytes(BODY_LIMIT_BYTES + 1), BIG),
}

HOSTILE_BODIES = {
    **NPY_BODIES, **JSON_BODIES, **NPZ_BODIES, **PROTOBUF_BODIES, **TFRECORD_BODIES, **ENCODED_BODIES, **OTHER_BODIES,
}  # fmt: skip
