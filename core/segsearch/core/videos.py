"""Videos as YouTube-8M writes them: (Sequence)Examples to and from numpy, for all four kinds of file.

Where it stands: `records` frames the bytes, `features` says which streams a frame has, `vocabulary` which labels
exist. The formats are the ones of research.google.com/youtube8m/download.html and google/youtube-8m readers.py.

T frames, F codes a frame, R ratings, L labels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segsearch.core.errors import BadRecord, BadShard, ConfigError, InputTooLarge, InvalidInput
from segsearch.core.example_fields import bytes_feature, decoded, floats, ints, stream_codes, streams_in, values_of
from segsearch.core.example_pb2 import Example, FeatureLists, Features, SequenceExample
from segsearch.core.features import FeatureSpec
from segsearch.core.records import RecordFile, read_records
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.core.vocabulary import Vocabulary

FRAME_CAP = 300  # google/youtube-8m reads no frame behind this one
VIDEO_ID_LIMIT = 256  # characters


@dataclass(frozen=True, slots=True, eq=False)
class Ratings:
    """People's yes or no for (segment, class) pairs of one video; rows need not be in time order."""

    starts: np.ndarray  # (R,) int64, first frame of the rated segment
    labels: np.ndarray  # (R,) int64, label index
    scores: np.ndarray  # (R,) float32, 1 shows the class, 0 does not

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def none(cls) -> "Ratings":
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """What people said of one video, without its frames."""

    id: str
    labels: np.ndarray | None  # (L,) int64 label indices; None where the record has no labels
    ratings: Ratings = field(default_factory=Ratings.none)


@dataclass(frozen=True, slots=True, eq=False)
class Video(Annotations):
    """One video: its frames as byte codes, one a second, and what is known of it."""

    frames: np.ndarray = field(kw_only=True)  # (T, F) uint8, streams side by side in the spec's order


@dataclass(frozen=True, slots=True, eq=False)
class VideoMeans:
    """A video-level record: the mean of the dequantised frames."""

    id: str
    labels: np.ndarray | None  # (L,) int64
    means: np.ndarray  # (F,) float32


@dataclass(slots=True)
class Skips:
    """Records that a reader passed over, each with its reason; never silent: whoever reads reports them."""

    errors: list[BadRecord | BadShard] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def broken(self) -> list[BadShard]:
        """Files that were read only in part; how many records the rest of one held, nobody can know."""
        return [error for error in self.errors if isinstance(error, BadShard)]

    @property
    def unread_bytes(self) -> int:
        """The rest of the broken files."""
        return sum(error.unread_bytes for error in self.broken)

    def summary(self) -> str:
        """One line for people: how many, the first reason, and what is lost of each broken file."""
        if not self.errors:
            return "none skipped"
        lost = [
            f"the rest of {error.path} from record {error.record} on, {error.unread_bytes} bytes, is lost"
            for error in self.broken
        ]
        return "; ".join([f"{len(self)} skipped", f"the first: {self.errors[0]}", *lost])


def read_videos(
    files: Iterable[RecordFile],
    spec: FeatureSpec,
    *,
    vocabulary: Vocabulary | None = None,
    cap: int | None = None,
    limit: int | None = None,
    skips: Skips | None = None,
) -> Iterator[Video]:
    """The videos of frame-level or segment-rated shards, in file order.

    cap: frames behind this one are dropped (the references' 300). limit: a longer video is an error.
    vocabulary: a label outside it is an error. With `skips`, a bad record (or the rest of a broken file) is
    noted there and passed over; without, it raises BadRecord or BadShard.
    """
    for path in files:
        for number, payload in _payloads(path, skips):
            try:
                video = parse_video(payload, spec, cap=cap, limit=limit)
                if vocabulary is not None:
                    _check_labels(video, vocabulary)
            except InvalidInput as error:
                _raise_or_note(BadRecord(path, number, error.field, error.found, error.wanted), skips)
            else:
                yield video


def read_annotations(files: Iterable[Path], *, skips: Skips | None = None) -> Iterator[Annotations]:
    """Ids, labels and ratings of shards, leaving the frames alone; records without frames will do."""
    for path in files:
        for number, payload in _payloads(path, skips):
            try:
                yield parse_annotations(payload)
            except InvalidInput as error:
                _raise_or_note(BadRecord(path, number, error.field, error.found, error.wanted), skips)


def read_video_means(files: Iterable[Path], spec: FeatureSpec, *, skips: Skips | None = None) -> Iterator[VideoMeans]:
    """The records of video-level shards."""
    for path in files:
        for number, payload in _payloads(path, skips):
            try:
                yield parse_video_means(payload, spec)
            except InvalidInput as error:
                _raise_or_note(BadRecord(path, number, error.field, error.found, error.wanted), skips)


def parse_video(payload: bytes, spec: FeatureSpec, *, cap: int | None = None, limit: int | None = None) -> Video:
    """One frame-level SequenceExample; raises InvalidInput naming the field that cannot be used."""
    record = decoded(SequenceExample, payload)
    annotations = _annotations(record.context)
    streams = [stream_codes(record.feature_lists.feature_list, stream) for stream in spec.streams]
    lengths = {stream.name: len(codes) for stream, codes in zip(spec.streams, streams, strict=True)}
    frame_count = len(streams[0])
    if len(set(lengths.values())) > 1:
        raise InvalidInput("feature_lists", f"streams of unequal length {lengths}", "one entry a second in each")
    if frame_count == 0:
        raise InvalidInput(spec.streams[0].key, "0 frames", "at least 1")
    if limit is not None and frame_count > limit:
        raise InputTooLarge(spec.streams[0].key, f"{frame_count} frames", f"at most {limit}")
    if (late := annotations.ratings.starts >= frame_count).any():
        found = f"{annotations.ratings.starts[late][0]} in a video of {frame_count} frames"
        raise InvalidInput("segment_start_times", found, "starts before the video's end")
    frames = np.concatenate([codes[:cap] for codes in streams], axis=1) if len(streams) > 1 else streams[0][:cap]
    return Video(annotations.id, annotations.labels, annotations.ratings, frames=frames)


def parse_annotations(payload: bytes) -> Annotations:
    """Id, labels and ratings of one SequenceExample; raises InvalidInput naming the field."""
    return _annotations(decoded(SequenceExample, payload).context)


def parse_video_means(payload: bytes, spec: FeatureSpec) -> VideoMeans:
    """One video-level Example; raises InvalidInput naming the field."""
    features = decoded(Example, payload).features
    means = [floats(features, f"mean_{stream.key}", stream.size) for stream in spec.streams]
    return VideoMeans(_video_id(features), ints(features, "labels"), np.concatenate(means))


def serialise_video(video: Video, spec: FeatureSpec) -> bytes:
    """The SequenceExample of a video; the inverse of `parse_video`. Key order is fixed: same video, same bytes."""
    lists, column = FeatureLists(), 0
    for stream in spec.streams:
        codes = np.ascontiguousarray(video.frames[:, column : column + stream.size])
        lists.feature_list[stream.key].feature.extend(bytes_feature(row.tobytes()) for row in codes)
        column += stream.size
    record = SequenceExample(context=_context(video), feature_lists=lists)
    return bytes(record.SerializeToString(deterministic=True))


def serialise_annotations(annotations: Annotations) -> bytes:
    """A SequenceExample without frames; the inverse of `parse_annotations`."""
    return bytes(SequenceExample(context=_context(annotations)).SerializeToString(deterministic=True))


def serialise_video_means(video: VideoMeans, spec: FeatureSpec) -> bytes:
    """The video-level Example; the inverse of `parse_video_means`."""
    features, column = _context(Annotations(video.id, video.labels)), 0
    for stream in spec.streams:
        features.feature[f"mean_{stream.key}"].float_list.value.extend(video.means[column : column + stream.size])
        column += stream.size
    return bytes(Example(features=features).SerializeToString(deterministic=True))


def streams_of(path: RecordFile, extractor: str = "youtube8m") -> FeatureSpec:
    """The feature streams that a shard's first record holds: `rgb` first, the rest by name.

    Raises BadRecord or BadShard.
    """
    for number, payload in _payloads(path, None):
        try:
            return FeatureSpec(streams_in(payload), extractor)
        except (InvalidInput, ConfigError) as error:
            raise BadRecord(path, number, error.field, str(error.found), error.wanted) from None
    raise BadShard(path, 0, "header", "empty file", "at least one record")


def _payloads(path: RecordFile, skips: Skips | None) -> Iterator[tuple[int, bytes]]:
    try:
        for number, payload in enumerate(read_records(path)):
            if isinstance(payload, BadRecord):
                _raise_or_note(payload, skips)
            else:
                yield number, payload
    except BadShard as error:
        _raise_or_note(error, skips)


def _raise_or_note(error: BadRecord | BadShard, skips: Skips | None) -> None:
    if skips is None:
        raise error
    skips.errors.append(error)


def _annotations(context: Any) -> Annotations:
    ratings = _ratings(context) if "segment_start_times" in context.feature else Ratings.none()
    return Annotations(_video_id(context), ints(context, "labels"), ratings)


def _ratings(context: Any) -> Ratings:
    columns = {name: ints(context, f"segment_{name}") for name in ("start_times", "end_times", "labels")}
    scores = floats(context, "segment_scores", None)
    lengths = {name: 0 if column is None else len(column) for name, column in columns.items()}
    lengths["scores"] = len(scores)
    if len(set(lengths.values())) > 1:
        raise InvalidInput("segment_*", f"lists of unequal length {lengths}", "one entry a rating in each")
    starts, ends, labels = columns.values()
    if starts is None or ends is None or labels is None:
        return Ratings.none()
    if (starts < 0).any() or (starts % SEGMENT_FRAMES).any():
        raise InvalidInput("segment_start_times", f"{starts.tolist()}", f"multiples of {SEGMENT_FRAMES}, none negative")
    if (ends != starts + SEGMENT_FRAMES).any():
        raise InvalidInput("segment_end_times", f"{ends.tolist()}", f"each start + {SEGMENT_FRAMES}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise InvalidInput("segment_scores", f"{scores.tolist()}", "numbers from 0 to 1")
    return Ratings(starts, labels, scores)


def _video_id(context: Any) -> str:
    # Releases before 2018, and AudioSet, call it `video_id`.
    key = "id" if "id" in context.feature else "video_id"
    values = values_of(context, key, "bytes_list") or []
    if len(values) != 1:
        raise InvalidInput("id", f"{len(values)} values", "exactly one")
    try:
        video_id = str(values[0].decode())
    except UnicodeDecodeError:
        raise InvalidInput("id", f"bytes {values[0]!r}", "UTF-8 text") from None
    check_video_id(video_id)
    return video_id


def check_video_id(video_id: str, field: str = "id") -> None:
    """Raises InvalidInput, naming the field, unless the id is usable as text in segment ids and submissions."""
    # Blanks and commas would break a submission's lists; so would other white space, none of which is printable. Half a
    # surrogate pair, which JSON can spell and UTF-8 cannot, is not printable either.
    plain = video_id.isprintable() and not {" ", ","} & set(video_id)
    if not plain or not 1 <= len(video_id) <= VIDEO_ID_LIMIT:
        wanted = f"1 to {VIDEO_ID_LIMIT} printable characters without blanks or commas"
        raise InvalidInput(field, repr(video_id[:80]), wanted)


def _check_labels(video: Video, vocabulary: Vocabulary) -> None:
    for name, labels in (("labels", video.labels), ("segment_labels", video.ratings.labels)):
        outside = [int(label) for label in (labels if labels is not None else ()) if label not in vocabulary]
        if outside:
            raise InvalidInput(name, f"label {outside[0]} is outside the vocabulary", vocabulary.extent())


def _context(annotations: Annotations) -> Features:
    features = Features()
    features.feature["id"].bytes_list.value.append(annotations.id.encode())
    if annotations.labels is not None:
        features.feature["labels"].int64_list.value.extend(annotations.labels.tolist())
    ratings = annotations.ratings
    if len(ratings):
        features.feature["segment_start_times"].int64_list.value.extend(ratings.starts.tolist())
        features.feature["segment_end_times"].int64_list.value.extend((ratings.starts + SEGMENT_FRAMES).tolist())
        features.feature["segment_labels"].int64_list.value.extend(ratings.labels.tolist())
        features.feature["segment_scores"].float_list.value.extend(ratings.scores.tolist())
    return features
