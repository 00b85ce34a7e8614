"""Fields of a (Sequence)Example as arrays, or an InvalidInput that names the field.

Where it stands: `videos` knows which fields a video has, this file what can be wrong with one.

T frames.
"""

from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from segsearch.core.errors import InvalidInput
from segsearch.core.example_pb2 import Feature, SequenceExample
from segsearch.core.features import Stream


def decoded(message: Any, payload: bytes) -> Any:
    """A message of this kind."""
    try:
        return message.FromString(payload)
    except DecodeError as error:
        raise InvalidInput("payload", f"not a protobuf message ({error})", message.__name__) from None


def streams_in(payload: bytes) -> tuple[Stream, ...]:
    """The feature streams of a frame-level SequenceExample: `rgb` first, the rest by name."""
    lists = decoded(SequenceExample, payload).feature_lists.feature_list
    sizes = {key: len(entry.feature[0].bytes_list.value[0]) for key, entry in lists.items() if _is_stream(entry)}
    if not sizes:
        raise InvalidInput("feature_lists", "no feature stream", "frame-level features")
    for key, size in sizes.items():
        if not size:
            raise InvalidInput(f"{key}[0]", "0 bytes", "a value of 1 byte or more")
    return tuple(Stream(key, sizes[key]) for key in sorted(sizes, key=lambda key: (key != "rgb", key)))


def _is_stream(entry: Any) -> bool:
    return bool(entry.feature) and bool(entry.feature[0].bytes_list.value)


def stream_codes(lists: Any, stream: Stream) -> np.ndarray:
    """(T, size) uint8 of one stream."""
    if stream.key not in lists:
        raise InvalidInput(stream.key, f"missing (streams here: {', '.join(sorted(lists)) or 'none'})", "this stream")
    entries = lists[stream.key].feature
    rows = [entry.bytes_list.value for entry in entries]
    for second, row in enumerate(rows):
        if len(row) != 1 or len(row[0]) != stream.size:
            _check_kind(entries[second], f"{stream.key}[{second}]", "bytes_list")
            found = f"{len(row[0])} bytes" if len(row) == 1 else f"{len(row)} values"
            raise InvalidInput(f"{stream.key}[{second}]", found, f"one value of {stream.size} bytes")
    codes = np.frombuffer(b"".join([row[0] for row in rows]), np.uint8)
    return codes.reshape(len(rows), stream.size)


def ints(features: Any, key: str) -> np.ndarray | None:
    """A feature's whole numbers, int64; None where the record does not have the feature."""
    found = values_of(features, key, "int64_list")
    return None if found is None else np.array(found, np.int64)


def floats(features: Any, key: str, size: int | None) -> np.ndarray:
    """A feature's numbers, float32, all finite. size: how many there must be."""
    found = values_of(features, key, "float_list")
    if found is None:
        raise InvalidInput(key, "missing", "a list of floats")
    values = np.array(found, np.float32)
    if size is not None and len(values) != size:
        raise InvalidInput(key, f"{len(values)} values", f"{size}")
    if not np.isfinite(values).all():
        raise InvalidInput(key, f"{values[~np.isfinite(values)][0]} among the values", "finite numbers")
    return values


def values_of(features: Any, key: str, kind: str) -> Any:
    """The list of one feature; None where the record does not have the feature."""
    if key not in features.feature:
        return None
    feature = features.feature[key]
    _check_kind(feature, key, kind)
    return getattr(feature, kind).value


def _check_kind(feature: Any, field: str, wanted: str) -> None:
    """A list of another type reads as an empty one unless it is asked for; one without any type is empty."""
    found = feature.WhichOneof("kind")
    if found not in (None, wanted):
        raise InvalidInput(field, found, wanted)


def bytes_feature(value: bytes) -> Feature:
    """One string as a feature."""
    feature = Feature()
    feature.bytes_list.value.append(value)
    return feature
