"""TFRecord framing without TensorFlow: length, payload and their masked CRC32C checksums.

Where it stands: `videos` turns payloads into videos; this file knows only bytes. Format:
tensorflow/core/lib/io/record_writer.h.
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import google_crc32c

from segsearch.core.errors import BadRecord, BadShard
from segsearch.core.files import sync_directory

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER = struct.Struct("<QI")
# No YouTube-8M record comes near this; a damaged length must not make us ask for terabytes.
PAYLOAD_LIMIT_BYTES = 1 << 30


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord stores it: rotated and offset, so that a CRC of CRCs stays useful."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(path: Path) -> Iterator[bytes | BadRecord]:
    """The payloads of one file, in order; a payload whose checksum fails comes as the error it is.

    A reader decides what a `BadRecord` means: raise it, or count it and go on. Framing that is damaged raises
    `BadShard`, as the next record cannot be found.
    """
    with path.open("rb") as file:
        number = 0
        while header := file.read(_HEADER.size):
            if len(header) < _HEADER.size:
                raise BadShard(path, number, "header", f"{len(header)} bytes", f"{_HEADER.size} bytes")
            length, length_checksum = _HEADER.unpack(header)
            if masked_crc32c(header[: _LENGTH.size]) != length_checksum:
                raise BadShard(path, number, "length", "wrong CRC32C", f"{length_checksum:#010x}")
            if length > PAYLOAD_LIMIT_BYTES:
                raise BadShard(path, number, "length", f"{length} bytes", f"at most {PAYLOAD_LIMIT_BYTES}")
            body = file.read(length + _CHECKSUM.size)
            if len(body) < length + _CHECKSUM.size:
                raise BadShard(
                    path, number, "payload", f"file ends after {len(body)} bytes", f"{length + _CHECKSUM.size} bytes"
                )
            payload, (checksum,) = body[:length], _CHECKSUM.unpack(body[length:])
            if masked_crc32c(payload) == checksum:
                yield payload
            else:
                yield BadRecord(path, number, "payload", "wrong CRC32C", f"{checksum:#010x}")
            number += 1


def write_records(path: Path, payloads: Iterable[bytes]) -> int:
    """Writes a TFRecord file and returns the number of records; `path` appears only when it is whole."""
    beside = path.with_name(f".{path.name}.part")
    count = 0
    try:
        with beside.open("wb") as file:
            for payload in payloads:
                length = _LENGTH.pack(len(payload))
                file.write(length + _CHECKSUM.pack(masked_crc32c(length)))
                file.write(payload + _CHECKSUM.pack(masked_crc32c(payload)))
                count += 1
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(path.parent)
    return count
