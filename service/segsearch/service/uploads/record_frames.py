"""Frames as YouTube-8M ships them: a protobuf SequenceExample, bare or as the one record of a TFRecord file."""

from struct import Struct
from typing import Final

from segsearch.core.errors import InvalidInput
from segsearch.core.records import masked_crc32c
from segsearch.core.videos import parse_video
from segsearch.service.uploads.upload import Rules, Upload
from segsearch.service.uploads.wire import check_cost

_HEADER, _CHECKSUM = Struct("<QI"), Struct("<I")
_LENGTH_BYTES: Final = 8
# Feature, list and value: what a frame of one stream is in a SequenceExample.
_FIELDS_OF_A_FRAME: Final = 3
_OTHER_FIELDS: Final = 50_000  # labels and ratings of the longest videos, and streams that the model does not read


def parse_protobuf(body: bytes, rules: Rules) -> Upload:
    """The upload of one SequenceExample, which names its video; raises InvalidInput or InputTooLarge."""
    check_cost(body, _FIELDS_OF_A_FRAME * rules.frame_limit * len(rules.spec.streams) + _OTHER_FIELDS)
    video = parse_video(body, rules.spec, limit=rules.frame_limit)
    return Upload(video.frames, video.id)


def parse_tfrecord(body: bytes, rules: Rules) -> Upload:
    """The upload of a TFRecord file of one record; raises InvalidInput or InputTooLarge."""
    if len(body) < _HEADER.size:
        raise InvalidInput("body", f"{len(body)} bytes", f"a TFRecord header of {_HEADER.size}")
    length, checksum = _HEADER.unpack_from(body)
    _check_sum("body: record length", body[:_LENGTH_BYTES], checksum)
    found = len(body) - _HEADER.size - _CHECKSUM.size
    if found != length:
        raise InvalidInput("body", f"{found} bytes behind its header", f"one record of {length} bytes, and no more")
    payload = body[_HEADER.size : _HEADER.size + length]
    _check_sum("body: record", payload, *_CHECKSUM.unpack_from(body, _HEADER.size + length))
    return parse_protobuf(payload, rules)


def _check_sum(field: str, data: bytes, stored: int) -> None:
    if (found := masked_crc32c(data)) != stored:
        raise InvalidInput(field, f"wrong CRC32C {found:#010x}", f"{stored:#010x} as stored")
