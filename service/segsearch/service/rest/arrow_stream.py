"""Writes pages of a search as Arrow IPC streams: columns that a client reads without parsing.

pyarrow is an extra of its own (`arrow`), as it weighs as much as all the rest of a serving machine.
"""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

from segsearch.core.score_codes import PROBABILITIES
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.service.pages import MomentPage, Page

EXTRA: Final = "arrow"
HEAD: Final = b"segsearch"  # in the schema's metadata: the answer without its hits, as JSON


@cache
def is_installed() -> bool:
    """Whether `arrow_stream` can be called here."""
    return find_spec("pyarrow") is not None


def arrow_stream(page: Page | MomentPage, head: bytes) -> bytes:
    """The page as one record batch; head: what goes into the schema's metadata."""
    import pyarrow

    columns = _columns(page)
    kinds = {"video": pyarrow.string(), "score": pyarrow.float32()}
    arrays = [pyarrow.array(values, kinds.get(name, pyarrow.int32())) for name, values in columns.items()]
    batch = pyarrow.record_batch(arrays, names=list(columns)).replace_schema_metadata({HEAD: head})
    out = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(out, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = out.getvalue().to_pybytes()
    return content


def _columns(page: Page | MomentPage) -> Mapping[str, Any]:
    """What a hit of the JSON answer has, but for the ids that are made of other columns."""
    scores = PROBABILITIES[page.codes]
    starts = page.starts.astype("int32")
    if isinstance(page, MomentPage):
        ends, peaks = page.ends.astype("int32"), page.peaks.astype("int32")
        return {"video": page.video_ids, "start_s": starts, "end_s": ends, "peak_s": peaks, "score": scores}
    return {"video": page.video_ids, "start_s": starts, "end_s": starts + SEGMENT_FRAMES, "score": scores}
