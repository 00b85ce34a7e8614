"""What a caller calls a change over gRPC: `idempotency-key` of a call's metadata, as REST has it in a header.

Where it stands: `servicer` makes names for calls that change the library; `index.live.once` has them done once. Answers
are not kept here: who repeats an upload has it scored again, and hears what came of it the first time.
"""

from typing import Final

import numpy as np

from segsearch.core.errors import InvalidInput
from segsearch.service.index.live.once import Name, digest_of
from segsearch.service.rpc.calls import Call
from segsearch.service.rpc.requests import Upload

KEY: Final = "idempotency-key"
FIELD: Final = f"metadata.{KEY}"
_LIMIT: Final = 255


def upload_name(call: Call, upload: Upload) -> Name | None:
    """Of an upload; None where it has none, or is not added, which changes nothing."""
    key = _key(call)
    if key is None or not upload.index:
        return None
    frames = np.ascontiguousarray(upload.frames)
    asked = digest_of(
        b"score", upload.video_id.encode(), str(upload.top).encode(), str(frames.shape).encode(), frames.data.cast("B")
    )
    return Name.of(call.key_id or "", key, asked, FIELD)


def deletion_name(call: Call, video_id: str) -> Name | None:
    """Of a deletion; None where it has none."""
    key = _key(call)
    return None if key is None else Name.of(call.key_id or "", key, digest_of(b"delete", video_id.encode()), FIELD)


def _key(call: Call) -> str | None:
    """Raises InvalidInput."""
    keys = [str(value) for name, value in call.context.invocation_metadata() if name == KEY]
    if not keys:
        return None
    if len(keys) > 1 or not 0 < len(keys[0]) <= _LIMIT:
        found = f"{len(keys)} of them" if len(keys) > 1 else f"{len(keys[0])} characters"
        raise InvalidInput(FIELD, found, f"one, of 1 to {_LIMIT} characters")
    return keys[0]
