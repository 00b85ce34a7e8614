"""Which parser reads which body of `POST /score`, and what OpenAPI says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from segsearch.core.errors import InvalidInput, UnsupportedContent
from segsearch.core.features import FeatureSpec
from segsearch.core.videos import VIDEO_ID_LIMIT, check_video_id
from segsearch.service.uploads.json_frames import parse_json
from segsearch.service.uploads.npy_frames import parse_npy, parse_npz
from segsearch.service.uploads.record_frames import parse_protobuf, parse_tfrecord
from segsearch.service.uploads.upload import Rules, Upload

UNNAMED: Final = "upload"
JSON, NPY, NPZ, TFRECORD, PROTOBUF = (
    "application/json", "application/x-npy", "application/x-npz", "application/x-tfrecord", "application/x-protobuf",
)  # fmt: skip
PARSERS: Final[dict[str, Callable[[bytes, Rules], Upload]]] = {
    JSON: parse_json,
    NPY: parse_npy,
    NPZ: parse_npz,
    TFRECORD: parse_tfrecord,
    PROTOBUF: parse_protobuf,
    "application/protobuf": parse_protobuf,  # as IANA lists it
}


@dataclass(frozen=True, slots=True)
class UploadReader:
    """Reads bodies into uploads of which each has a name."""

    rules: Rules

    def read(self, content_type: str, body: bytes, video_id: str | None) -> tuple[str, Upload]:
        """The video's id and its frames; raises UnsupportedContent, InputTooLarge, or InvalidInput naming the field.

        video_id: from the query, for a body that does not name its video.
        """
        kind = content_type.partition(";")[0].strip().lower()
        if kind not in PARSERS:
            found = repr(kind[:80]) if kind else "none"
            raise UnsupportedContent("content-type", found, f"one of {', '.join(PARSERS)}")
        if video_id is not None:
            check_video_id(video_id, "query.video_id")
        upload = PARSERS[kind](body, self.rules)
        if video_id is not None and upload.video_id is not None:
            raise InvalidInput("query.video_id", "given beside a body that names its video", "one name")
        return upload.video_id or video_id or UNNAMED, upload


# For OpenAPI, which cannot see what is read by hand.
FRAMES: Final = "Frames"  # the schema that `frames_schema` is, in the document's components
_CODE = {"type": "integer", "minimum": 0, "maximum": 255}
_BASE64 = {
    "type": "string",
    "format": "byte",
    "minLength": 1,
    "description": "Base64 of the rows, one behind the other.",
}
_OBJECT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["frames"],
    "properties": {
        "video_id": {"type": "string", "minLength": 1, "maxLength": VIDEO_ID_LIMIT, "default": UNNAMED},
        "frames": {"$ref": f"#/components/schemas/{FRAMES}"},
    },
}
_BINARY = {
    NPY: "numpy.save of a uint8 array (frames, codes a frame).",
    NPZ: "numpy.savez of uint8 arrays: `frames` alone, or one for each feature stream.",
    TFRECORD: "A TFRecord file of one SequenceExample.",
    PROTOBUF: "A SequenceExample as YouTube-8M writes it.",
    "application/protobuf": "The same.",
}
REQUEST_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "Frames of one video; `Content-Encoding` gzip and zstd are read.",
        "content": {JSON: {"schema": _OBJECT}}
        | {
            kind: {"schema": {"type": "string", "format": "binary", "description": text}}
            for kind, text in _BINARY.items()
        },
    }
}


def frames_schema(spec: FeatureSpec) -> dict[str, Any]:
    """What OpenAPI says of frames in JSON: how many codes a row has depends on the bundle."""
    streams = {
        stream.name: {
            "oneOf": [
                {
                    "type": "array", "minItems": 1,
                    "items": {"type": "array", "minItems": stream.size, "maxItems": stream.size, "items": _CODE},
                },
                _BASE64,
            ]
        }
        for stream in spec.streams
    }  # fmt: skip
    return {
        "type": "object", "description": "A member for each feature stream of the bundle, a row a second.",
        "properties": streams, "required": list(streams), "additionalProperties": False,
    }  # fmt: skip
