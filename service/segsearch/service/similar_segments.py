"""Which segments are like one of the library, or like frames that were sent: neighbours of its embedding.

Where it stands: `library` asks here with a view in hand; `index.neighbours` compares. Only the generation's segments
are found, as what was uploaded since has no embedding kept.

S segments of one video, H embedding size, k hits.
"""

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.errors import InvalidInput, NoEmbeddings, UnknownVideo
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.service.index.neighbours import Neighbours
from segsearch.service.index.vectors import unit
from segsearch.service.index.view import View
from segsearch.service.pages import SimilarPage


def place_of(view: View, video_id: str, start_s: int) -> int:
    """A segment's place; raises UnknownVideo, or InvalidInput where the video has no such segment."""
    places = view.places_of(video_id)
    if not len(places):
        raise UnknownVideo(video_id)
    return int(places[_row_at(start_s, len(places))])


def kept_vector(view: View, place: int) -> np.ndarray | None:
    """(H,) of length one: a segment's embedding, where it is kept. Raises NoEmbeddings where none are."""
    vector = neighbours_of(view).vector(place) if place < view.base_count else None
    return vector if vector is not None and vector.any() else None


def vector_of(embeddings: np.ndarray, start_s: int | None) -> np.ndarray:
    """(H,) of length one: which of a video's embeddings (S, H) begins at a second, or the mean of all.

    Raises InvalidInput where there is no such segment.
    """
    vectors = unit(embeddings)
    return unit(vectors.mean(axis=0)) if start_s is None else vectors[_row_at(start_s, len(vectors))]


def nearest_page(view: View, vector: np.ndarray, k: int, but: int = -1) -> SimilarPage:
    """The k segments nearest to a vector (H,) of length one; the one at the place `but` is left out."""
    found = view.nearest(vector, k, but)
    video_ids, starts = view.segments(found.ordinals)
    recall = neighbours_of(view).about.recall
    return SimilarPage(view.manifest, view.sequence, video_ids, starts, found.similarities, recall)


def neighbours_of(view: View) -> Neighbours:
    """What the generation keeps; raises NoEmbeddings."""
    if view.generation.neighbours is None:
        raise NoEmbeddings(f"generation {view.number} keeps no embeddings")
    return view.generation.neighbours


def check_comparable(view: View, bundle: Bundle) -> None:
    """Raises NoEmbeddings unless the generation keeps embeddings, and those of this bundle."""
    neighbours_of(view)
    kept, here = view.manifest.bundle, bundle.manifest
    if kept.digest != bundle.digest:
        found = f"generation {view.number} keeps embeddings of {kept.name}/{kept.version} {kept.digest[:12]}"
        raise NoEmbeddings(f"{found}, and {here.name}/{here.version} {bundle.digest[:12]} scores here")


def _row_at(start_s: int, segment_count: int) -> int:
    """Which of a video's segments begins at a second."""
    row, rest = divmod(start_s, SEGMENT_FRAMES)
    if rest or not 0 <= row < segment_count:
        last = (segment_count - 1) * SEGMENT_FRAMES
        raise InvalidInput("start_s", str(start_s), f"a multiple of {SEGMENT_FRAMES} from 0 to {last}")
    return row
