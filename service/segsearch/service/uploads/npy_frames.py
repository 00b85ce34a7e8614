"""Frames as numpy writes them: a `.npy` array, or an `.npz` archive of one array or of one for each stream.

Nothing is unpickled, nothing is written to disk, and no header is believed before the bytes bear it out.

T frames, F codes a frame.
"""

import io
import zipfile
import zlib
from struct import Struct
from typing import Final

import numpy as np

from segsearch.core.errors import InputTooLarge, InvalidInput
from segsearch.service.npy_header import HEADER_LIMIT_BYTES, read_npy_header
from segsearch.service.uploads.upload import Rules, Upload

_WHOLE: Final = "frames"  # the member that holds all streams side by side
_NPZ_WANTED: Final = "numpy.savez of uint8 arrays"
# An archive ends with where its list of members lies: signature, disk numbers, members here and in all, size and offset
# of the list, length of a comment. zipfile believes the size and makes an object of every member in it.
_END: Final = Struct("<4s4x2H2IH")
_LIST_LIMIT_BYTES: Final = 1 << 16
# What zipfile raises on damage, beside what it documents.
_DAMAGE: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError, OverflowError,
)  # fmt: skip


def parse_npy(body: bytes, rules: Rules) -> Upload:
    """The upload of a uint8 array (T, F); raises InvalidInput or InputTooLarge."""
    return Upload(_array("body", body, rules.spec.size, rules))


def parse_npz(body: bytes, rules: Rules) -> Upload:
    """The upload of an archive with the array `frames` (T, F), or one of each stream's name (T, size)."""
    sizes = {stream.name: stream.size for stream in rules.spec.streams}
    members = _members(body, rules)
    arrays = {
        name: _array(f"body.{name}", content, sizes.get(name, rules.spec.size), rules)
        for name, content in members.items()
    }
    if set(arrays) == {_WHOLE}:
        return Upload(arrays[_WHOLE])
    if set(arrays) != set(sizes):
        raise InvalidInput("body", f"members {sorted(arrays)}", f"{_WHOLE!r} alone, or each of {sorted(sizes)}")
    return Upload(rules.side_by_side("body", arrays))


def _array(field: str, content: bytes, width: int, rules: Rules) -> np.ndarray:
    """(T, width) uint8 of a `.npy` file."""
    try:
        descr, fortran, shape, start = read_npy_header(content)
    except ValueError as error:
        raise InvalidInput(field, f"not a .npy array ({error})", "numpy.save of a uint8 array") from None
    if descr != np.dtype(np.uint8).str:
        raise InvalidInput(field, f"array of {descr[:80]!r}", "uint8")
    if len(shape) != 2 or shape[1] != width:
        raise InvalidInput(field, f"array of shape {str(shape)[:80]}", f"(frames, {width}): {rules.spec}")
    rules.check_length(field, shape[0])
    if len(content) - start != shape[0] * shape[1]:
        raise InvalidInput(field, f"{len(content) - start} bytes of data", f"{shape[0] * shape[1]} for shape {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape, order="F" if fortran else "C")


def _members(body: bytes, rules: Rules) -> dict[str, bytes]:
    """The contents of an archive's members by name, each no longer than its array may be."""
    names = {f"{name}.npy" for name in (_WHOLE, *(stream.name for stream in rules.spec.streams))}
    _check_end(body)
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            for member in archive.infolist():
                if member.filename not in names or member.filename.removesuffix(".npy") in found:
                    raise InvalidInput(
                        "body", f"member {member.filename[:80]!r}", f"each of {sorted(names)} at most once"
                    )
                found[member.filename.removesuffix(".npy")] = _content(archive, member, rules)
    except _DAMAGE as error:
        raise InvalidInput("body", f"not an .npz archive ({str(error)[:80]})", _NPZ_WANTED) from None
    return found


def _check_end(body: bytes) -> None:
    """An archive that ends as numpy ends it, and whose list of members is short."""
    if len(body) < _END.size:
        raise InvalidInput("body", f"not an .npz archive ({len(body)} bytes)", _NPZ_WANTED)
    signature, here, count, list_bytes, _, comment = _END.unpack_from(body, len(body) - _END.size)
    if signature != b"PK\5\6" or comment or here != count:
        raise InvalidInput("body", "not an .npz archive (it does not end as one)", _NPZ_WANTED)
    # 2**32 - 1 would send zipfile to a second record of the kind, for archives beyond 4 GB, with sizes of its own.
    if list_bytes > _LIST_LIMIT_BYTES or body[-_END.size - 20 :].startswith(b"PK\6\7"):
        raise InputTooLarge("body", f"{count} members", "no more than there are streams")


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, rules: Rules) -> bytes:
    """One member, inflated as far as an array of the longest video goes; the size it claims is not believed."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
        raise InvalidInput("body", f"member {member.filename!r} in a form of its own", "it stored or deflated")
    limit = rules.frame_limit * rules.spec.size + HEADER_LIMIT_BYTES
    with archive.open(member) as file:
        content = file.read(limit + 1)
        if len(content) > limit:
            raise InputTooLarge(
                f"body.{member.filename}", f"more than {limit} bytes", f"at most {rules.frame_limit} frames"
            )
        return content
