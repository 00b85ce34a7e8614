"""TFRecord framing without TensorFlow: length, payload and their masked CRC32C checksums.

Where it stands: `videos` turns payloads into videos; this file knows only bytes. Format:
tensorflow/core/lib/io/record_writer.h.
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import google_crc32c

from segsearch.core.errors import BadRecord, BadShard
from segsearch.core.files import writing_atomically

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER = struct.Struct("<QI")
# No YouTube-8M record comes near this; a damaged length must not make us ask for terabytes.
PAYLOAD_LIMIT_BYTES = 1 << 30


class RecordFile(Protocol):
    """A `Path`, or what opens like one; errors name it by its `str`."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Its content, from the beginning."""


def masked_crc32c(data: bytes) -> int:
    """The checksum as TFRecord stores it: rotated and offset, so that a CRC of CRCs stays useful."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(path: RecordFile) -> Iterator[bytes | BadRecord]:
    """The payloads of one file, in order; a payload whose checksum fails comes as the error it is.

    A reader decides what a `BadRecord` means: raise it, or count it and go on. Framing that is damaged raises
    `BadShard`, as the next record cannot be found.
    """
    with path.open("rb") as file:
        number, start, size = 0, 0, file.seek(0, 2)
        file.seek(0)

        def broken(field: str, found: str, wanted: str) -> BadShard:
            return BadShard(path, number, field, found, wanted, unread_bytes=size - start)

        while header := file.read(_HEADER.size):
            if len(header) < _HEADER.size:
                raise broken("header", f"{len(header)} bytes", f"{_HEADER.size} bytes")
            length, length_checksum = _HEADER.unpack(header)
            if (found := masked_crc32c(header[: _LENGTH.size])) != length_checksum:
                raise broken("length", *_wrong(found, length_checksum))
            if length > PAYLOAD_LIMIT_BYTES:
                raise broken("length", f"{length} bytes", f"at most {PAYLOAD_LIMIT_BYTES}")
            body = file.read(length + _CHECKSUM.size)
            if len(body) < length + _CHECKSUM.size:
                raise broken("payload", f"file ends after {len(body)} bytes", f"{length + _CHECKSUM.size} bytes")
            payload, (checksum,) = body[:length], _CHECKSUM.unpack(body[length:])
            if (found := masked_crc32c(payload)) == checksum:
                yield payload
            else:
                yield BadRecord(path, number, "payload", *_wrong(found, checksum))
            number, start = number + 1, start + _HEADER.size + len(body)


def _wrong(found: int, stored: int) -> tuple[str, str]:
    """What an error says of a checksum: the one that the bytes have, and the one that stands beside them."""
    return f"wrong CRC32C {found:#010x}", f"{stored:#010x} as stored"


def count_records(path: Path) -> int:
    """How many records a file frames, read from their headers alone; stops at damage, which `read_records` names."""
    size, count, end = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            end += _HEADER.size + _HEADER.unpack(header)[0] + _CHECKSUM.size
            if end > size:
                break
            file.seek(end)
            count += 1
    return count


def write_records(path: Path, payloads: Iterable[bytes]) -> int:
    """Writes a TFRecord file and returns the number of records; `path` appears only when it is whole."""
    count = 0
    with writing_atomically(path) as file:
        for payload in payloads:
            length = _LENGTH.pack(len(payload))
            file.write(length + _CHECKSUM.pack(masked_crc32c(length)))
            file.write(payload + _CHECKSUM.pack(masked_crc32c(payload)))
            count += 1
    return count
