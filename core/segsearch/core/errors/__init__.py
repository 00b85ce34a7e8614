"""Every error segsearch raises on purpose, in one tree; one file for what each group speaks of.

Who catches them: `core.cli` turns one into a line on stderr and exit code 1; `service.rest.problems`
turns one into an RFC 9457 document, `service.rpc.status` into gRPC's status. Each says what was found and what was
wanted, and carries the facts as attributes. `code` is the error's stable public name. A new error stands in the file
of its group, in the lists below, and in the tables of `service.error_rows` and `service.rpc.status`.
"""

from segsearch.core.errors.access import CrossSite, Forbidden, KeyFileRefused, Unauthorised
from segsearch.core.errors.base import SegsearchError, restored
from segsearch.core.errors.bundles import (
    BundleRefused,
    BundleSpaceMismatch,
    BundleVocabularyMismatch,
    GoldenMismatch,
    ModelNotLoaded,
    ModelUnfit,
    OutputNotFinite,
    ScoringFailed,
    SignatureMismatch,
    SignatureRefused,
)
from segsearch.core.errors.client import ServiceRefused, ServiceTooSlow, ServiceUnreachable
from segsearch.core.errors.index import GenerationCorrupt, IndexBusy, NoGeneration, UnknownGeneration, UnknownJob
from segsearch.core.errors.library import (
    FeatureSpaceMismatch,
    NoEmbeddings,
    NoTagInCommon,
    NotIndexing,
    UnknownModel,
    UnknownTag,
    UnknownVideo,
    VocabularyMismatch,
)
from segsearch.core.errors.limits import DeadlinePassed, Draining, QueueFull, RateLimited, TooManyCalls, TooSlow
from segsearch.core.errors.live_store import (
    LackingScores,
    LiveStoreCorrupt,
    LiveStoreMissing,
    StorageFailed,
    StorageFull,
)
from segsearch.core.errors.records import BadRecord, BadShard, DataError, NoFiles
from segsearch.core.errors.requests import (
    IdempotencyKeyBusy,
    IdempotencyKeyReused,
    InputTooLarge,
    InvalidInput,
    InvalidPageToken,
    NotAcceptable,
    PageTokenExpired,
    UnsupportedContent,
)
from segsearch.core.errors.setup import ConfigError, MissingExtra, NotConfigured
from segsearch.core.errors.training import CheckpointMismatch, ExportFailed, MatrixRefused

__all__ = [
    "BadRecord", "BadShard", "BundleRefused", "BundleSpaceMismatch", "BundleVocabularyMismatch", "CheckpointMismatch",
    "ConfigError", "CrossSite", "DataError", "DeadlinePassed", "Draining", "ExportFailed", "FeatureSpaceMismatch",
    "Forbidden", "GenerationCorrupt", "GoldenMismatch", "IdempotencyKeyBusy", "IdempotencyKeyReused", "IndexBusy",
    "InputTooLarge", "InvalidInput", "InvalidPageToken", "KeyFileRefused", "LackingScores", "LiveStoreCorrupt",
    "LiveStoreMissing", "MatrixRefused", "MissingExtra", "ModelNotLoaded", "ModelUnfit", "NoEmbeddings", "NoFiles",
    "NoGeneration", "NoTagInCommon", "NotAcceptable", "NotConfigured", "NotIndexing", "OutputNotFinite",
    "PageTokenExpired", "QueueFull", "RateLimited", "ScoringFailed", "SegsearchError", "ServiceRefused",
    "ServiceTooSlow", "ServiceUnreachable", "SignatureMismatch", "SignatureRefused", "StorageFailed", "StorageFull",
    "TooManyCalls", "TooSlow", "Unauthorised", "UnknownGeneration", "UnknownJob", "UnknownModel", "UnknownTag",
    "UnknownVideo", "UnsupportedContent", "VocabularyMismatch", "restored",
]  # fmt: skip
