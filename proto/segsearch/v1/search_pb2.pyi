from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tag(_message.Message):
    __slots__ = ("name", "label_index", "knowledge_graph_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABEL_INDEX_FIELD_NUMBER: _ClassVar[int]
    KNOWLEDGE_GRAPH_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    label_index: int
    knowledge_graph_id: str
    def __init__(self, name: _Optional[str] = ..., label_index: _Optional[int] = ..., knowledge_graph_id: _Optional[str] = ...) -> None: ...

class Bundle(_message.Message):
    __slots__ = ("name", "version", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    digest: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class Generation(_message.Message):
    __slots__ = ("number", "created_at", "segments", "videos", "kept_per_tag", "bundle")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    VIDEOS_FIELD_NUMBER: _ClassVar[int]
    KEPT_PER_TAG_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    number: int
    created_at: str
    segments: int
    videos: int
    kept_per_tag: int
    bundle: Bundle
    def __init__(self, number: _Optional[int] = ..., created_at: _Optional[str] = ..., segments: _Optional[int] = ..., videos: _Optional[int] = ..., kept_per_tag: _Optional[int] = ..., bundle: _Optional[_Union[Bundle, _Mapping]] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("tag", "k", "min_score", "per_video", "merge", "page_token")
    TAG_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    PER_VIDEO_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tag: str
    k: int
    min_score: float
    per_video: int
    merge: bool
    page_token: str
    def __init__(self, tag: _Optional[str] = ..., k: _Optional[int] = ..., min_score: _Optional[float] = ..., per_video: _Optional[int] = ..., merge: _Optional[bool] = ..., page_token: _Optional[str] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("tags", "generation", "sequence", "complete", "segments", "moments", "next_page_token")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    MOMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    generation: Generation
    sequence: int
    complete: bool
    segments: _containers.RepeatedCompositeFieldContainer[Hit]
    moments: _containers.RepeatedCompositeFieldContainer[Moment]
    next_page_token: str
    def __init__(self, tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ..., generation: _Optional[_Union[Generation, _Mapping]] = ..., sequence: _Optional[int] = ..., complete: _Optional[bool] = ..., segments: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ..., moments: _Optional[_Iterable[_Union[Moment, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("video", "start_s", "score")
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    START_S_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    video: str
    start_s: int
    score: float
    def __init__(self, video: _Optional[str] = ..., start_s: _Optional[int] = ..., score: _Optional[float] = ...) -> None: ...

class Moment(_message.Message):
    __slots__ = ("video", "start_s", "end_s", "peak_s", "score")
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    START_S_FIELD_NUMBER: _ClassVar[int]
    END_S_FIELD_NUMBER: _ClassVar[int]
    PEAK_S_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    video: str
    start_s: int
    end_s: int
    peak_s: int
    score: float
    def __init__(self, video: _Optional[str] = ..., start_s: _Optional[int] = ..., end_s: _Optional[int] = ..., peak_s: _Optional[int] = ..., score: _Optional[float] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("video", "top", "index", "frames")
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    video: str
    top: int
    index: bool
    frames: bytes
    def __init__(self, video: _Optional[str] = ..., top: _Optional[int] = ..., index: _Optional[bool] = ..., frames: _Optional[bytes] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("video", "frames", "bundle", "stored", "segments")
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    video: str
    frames: int
    bundle: Bundle
    stored: Stored
    segments: _containers.RepeatedCompositeFieldContainer[ScoredSegment]
    def __init__(self, video: _Optional[str] = ..., frames: _Optional[int] = ..., bundle: _Optional[_Union[Bundle, _Mapping]] = ..., stored: _Optional[_Union[Stored, _Mapping]] = ..., segments: _Optional[_Iterable[_Union[ScoredSegment, _Mapping]]] = ...) -> None: ...

class ScoredSegment(_message.Message):
    __slots__ = ("start_s", "tags")
    START_S_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    start_s: int
    tags: _containers.RepeatedCompositeFieldContainer[TagScore]
    def __init__(self, start_s: _Optional[int] = ..., tags: _Optional[_Iterable[_Union[TagScore, _Mapping]]] = ...) -> None: ...

class TagScore(_message.Message):
    __slots__ = ("tag", "label_index", "score")
    TAG_FIELD_NUMBER: _ClassVar[int]
    LABEL_INDEX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    tag: str
    label_index: int
    score: float
    def __init__(self, tag: _Optional[str] = ..., label_index: _Optional[int] = ..., score: _Optional[float] = ...) -> None: ...

class Stored(_message.Message):
    __slots__ = ("sequence", "unchanged")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    unchanged: bool
    def __init__(self, sequence: _Optional[int] = ..., unchanged: _Optional[bool] = ...) -> None: ...

class SimilarRequest(_message.Message):
    __slots__ = ("segment", "frames", "start_s", "k")
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    START_S_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    segment: Segment
    frames: bytes
    start_s: int
    k: int
    def __init__(self, segment: _Optional[_Union[Segment, _Mapping]] = ..., frames: _Optional[bytes] = ..., start_s: _Optional[int] = ..., k: _Optional[int] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("video", "start_s")
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    START_S_FIELD_NUMBER: _ClassVar[int]
    video: str
    start_s: int
    def __init__(self, video: _Optional[str] = ..., start_s: _Optional[int] = ...) -> None: ...

class SimilarResponse(_message.Message):
    __slots__ = ("generation", "sequence", "recall", "segments")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    generation: Generation
    sequence: int
    recall: float
    segments: _containers.RepeatedCompositeFieldContainer[Neighbour]
    def __init__(self, generation: _Optional[_Union[Generation, _Mapping]] = ..., sequence: _Optional[int] = ..., recall: _Optional[float] = ..., segments: _Optional[_Iterable[_Union[Neighbour, _Mapping]]] = ...) -> None: ...

class Neighbour(_message.Message):
    __slots__ = ("video", "start_s", "similarity")
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    START_S_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    video: str
    start_s: int
    similarity: float
    def __init__(self, video: _Optional[str] = ..., start_s: _Optional[int] = ..., similarity: _Optional[float] = ...) -> None: ...

class ListTagsRequest(_message.Message):
    __slots__ = ("prefix", "limit")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    limit: int
    def __init__(self, prefix: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListTagsResponse(_message.Message):
    __slots__ = ("generation", "tags")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    generation: int
    tags: _containers.RepeatedCompositeFieldContainer[TagListing]
    def __init__(self, generation: _Optional[int] = ..., tags: _Optional[_Iterable[_Union[TagListing, _Mapping]]] = ...) -> None: ...

class TagListing(_message.Message):
    __slots__ = ("tag", "segments")
    TAG_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    tag: Tag
    segments: int
    def __init__(self, tag: _Optional[_Union[Tag, _Mapping]] = ..., segments: _Optional[int] = ...) -> None: ...

class GetVideoRequest(_message.Message):
    __slots__ = ("video", "tags")
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    video: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, video: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ...) -> None: ...

class GetVideoResponse(_message.Message):
    __slots__ = ("video", "generation", "sequence", "starts_s", "tags")
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STARTS_S_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    video: str
    generation: Generation
    sequence: int
    starts_s: _containers.RepeatedScalarFieldContainer[int]
    tags: _containers.RepeatedCompositeFieldContainer[TagStrip]
    def __init__(self, video: _Optional[str] = ..., generation: _Optional[_Union[Generation, _Mapping]] = ..., sequence: _Optional[int] = ..., starts_s: _Optional[_Iterable[int]] = ..., tags: _Optional[_Iterable[_Union[TagStrip, _Mapping]]] = ...) -> None: ...

class TagStrip(_message.Message):
    __slots__ = ("tag", "scores")
    TAG_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    tag: Tag
    scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, tag: _Optional[_Union[Tag, _Mapping]] = ..., scores: _Optional[_Iterable[float]] = ...) -> None: ...

class DeleteVideoRequest(_message.Message):
    __slots__ = ("video",)
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    video: str
    def __init__(self, video: _Optional[str] = ...) -> None: ...

class ListGenerationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListGenerationsResponse(_message.Message):
    __slots__ = ("serving", "numbers")
    SERVING_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    serving: int
    numbers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, serving: _Optional[int] = ..., numbers: _Optional[_Iterable[int]] = ...) -> None: ...

class CompareGenerationsRequest(_message.Message):
    __slots__ = ("a", "b", "k", "limit")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    a: int
    b: int
    k: int
    limit: int
    def __init__(self, a: _Optional[int] = ..., b: _Optional[int] = ..., k: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class CompareGenerationsResponse(_message.Message):
    __slots__ = ("a", "b", "k", "compared", "only_a", "only_b", "mean_overlap", "tags")
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    ONLY_A_FIELD_NUMBER: _ClassVar[int]
    ONLY_B_FIELD_NUMBER: _ClassVar[int]
    MEAN_OVERLAP_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    a: Generation
    b: Generation
    k: int
    compared: int
    only_a: int
    only_b: int
    mean_overlap: float
    tags: _containers.RepeatedCompositeFieldContainer[TagChange]
    def __init__(self, a: _Optional[_Union[Generation, _Mapping]] = ..., b: _Optional[_Union[Generation, _Mapping]] = ..., k: _Optional[int] = ..., compared: _Optional[int] = ..., only_a: _Optional[int] = ..., only_b: _Optional[int] = ..., mean_overlap: _Optional[float] = ..., tags: _Optional[_Iterable[_Union[TagChange, _Mapping]]] = ...) -> None: ...

class TagChange(_message.Message):
    __slots__ = ("tag", "overlap", "gone", "come", "median_move", "largest_move")
    TAG_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    COME_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_MOVE_FIELD_NUMBER: _ClassVar[int]
    LARGEST_MOVE_FIELD_NUMBER: _ClassVar[int]
    tag: Tag
    overlap: float
    gone: int
    come: int
    median_move: float
    largest_move: int
    def __init__(self, tag: _Optional[_Union[Tag, _Mapping]] = ..., overlap: _Optional[float] = ..., gone: _Optional[int] = ..., come: _Optional[int] = ..., median_move: _Optional[float] = ..., largest_move: _Optional[int] = ...) -> None: ...

class ActivateGenerationRequest(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Model(_message.Message):
    __slots__ = ("bundle", "provider", "precision", "refused_load")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    REFUSED_LOAD_FIELD_NUMBER: _ClassVar[int]
    bundle: Bundle
    provider: str
    precision: str
    refused_load: RefusedLoad
    def __init__(self, bundle: _Optional[_Union[Bundle, _Mapping]] = ..., provider: _Optional[str] = ..., precision: _Optional[str] = ..., refused_load: _Optional[_Union[RefusedLoad, _Mapping]] = ...) -> None: ...

class RefusedLoad(_message.Message):
    __slots__ = ("path", "reason", "at")
    PATH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    path: str
    reason: str
    at: str
    def __init__(self, path: _Optional[str] = ..., reason: _Optional[str] = ..., at: _Optional[str] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class StartReindexRequest(_message.Message):
    __slots__ = ("shards", "bundle", "skip_bad")
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    SKIP_BAD_FIELD_NUMBER: _ClassVar[int]
    shards: _containers.RepeatedScalarFieldContainer[str]
    bundle: str
    skip_bad: bool
    def __init__(self, shards: _Optional[_Iterable[str]] = ..., bundle: _Optional[str] = ..., skip_bad: _Optional[bool] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "state", "created_at", "shards", "bundle", "progress", "result", "error")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Job.State]
        RUNNING: _ClassVar[Job.State]
        DONE: _ClassVar[Job.State]
        FAILED: _ClassVar[Job.State]
        CANCELLED: _ClassVar[Job.State]
    STATE_UNSPECIFIED: Job.State
    RUNNING: Job.State
    DONE: Job.State
    FAILED: Job.State
    CANCELLED: Job.State
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: Job.State
    created_at: str
    shards: _containers.RepeatedScalarFieldContainer[str]
    bundle: str
    progress: Progress
    result: Reindexed
    error: str
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[Job.State, str]] = ..., created_at: _Optional[str] = ..., shards: _Optional[_Iterable[str]] = ..., bundle: _Optional[str] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., result: _Optional[_Union[Reindexed, _Mapping]] = ..., error: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("doing", "done", "total", "unit", "left_s")
    DOING_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    LEFT_S_FIELD_NUMBER: _ClassVar[int]
    doing: str
    done: int
    total: int
    unit: str
    left_s: int
    def __init__(self, doing: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., unit: _Optional[str] = ..., left_s: _Optional[int] = ...) -> None: ...

class Reindexed(_message.Message):
    __slots__ = ("generation", "videos", "segments", "skipped", "resumed_shards", "seconds")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    VIDEOS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    RESUMED_SHARDS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    generation: int
    videos: int
    segments: int
    skipped: int
    resumed_shards: int
    seconds: float
    def __init__(self, generation: _Optional[int] = ..., videos: _Optional[int] = ..., segments: _Optional[int] = ..., skipped: _Optional[int] = ..., resumed_shards: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...
