"""Our errors as `google.rpc.Status`: the twin of `rest.problems`; `error_rows` says what of one a caller may see."""

from typing import Final

from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from segsearch.core import errors
from segsearch.core.errors import SegsearchError

DOMAIN: Final = "segsearch"
# All of a status travels in trailers, of which clients take 8 kB, and twice: as text, and as this message.
_DETAIL_LIMIT_BYTES: Final = 700
_FACT_LIMIT_BYTES: Final = 160
_LIST_LIMIT: Final = 5

STATUS: Final[dict[type[SegsearchError], StatusCode]] = {
    errors.InvalidInput: StatusCode.INVALID_ARGUMENT,
    errors.InputTooLarge: StatusCode.RESOURCE_EXHAUSTED,  # as gRPC itself answers a message that is too long
    errors.UnsupportedContent: StatusCode.INVALID_ARGUMENT,
    errors.NotAcceptable: StatusCode.INVALID_ARGUMENT,
    errors.InvalidPageToken: StatusCode.INVALID_ARGUMENT,
    errors.PageTokenExpired: StatusCode.ABORTED,
    errors.IdempotencyKeyReused: StatusCode.INVALID_ARGUMENT,
    errors.IdempotencyKeyBusy: StatusCode.ABORTED,
    errors.TooSlow: StatusCode.DEADLINE_EXCEEDED,
    errors.Unauthorised: StatusCode.UNAUTHENTICATED,
    errors.Forbidden: StatusCode.PERMISSION_DENIED,
    errors.CrossSite: StatusCode.PERMISSION_DENIED,
    errors.RateLimited: StatusCode.RESOURCE_EXHAUSTED,
    errors.QueueFull: StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyCalls: StatusCode.UNAVAILABLE,
    errors.DeadlinePassed: StatusCode.DEADLINE_EXCEEDED,
    errors.Draining: StatusCode.UNAVAILABLE,
    errors.NotConfigured: StatusCode.FAILED_PRECONDITION,
    errors.KeyFileRefused: StatusCode.INTERNAL,
    errors.UnknownTag: StatusCode.NOT_FOUND,
    errors.UnknownVideo: StatusCode.NOT_FOUND,
    errors.UnknownModel: StatusCode.NOT_FOUND,
    errors.NoEmbeddings: StatusCode.FAILED_PRECONDITION,
    errors.NoTagInCommon: StatusCode.FAILED_PRECONDITION,
    errors.NotIndexing: StatusCode.FAILED_PRECONDITION,
    errors.NoGeneration: StatusCode.UNAVAILABLE,
    errors.GenerationCorrupt: StatusCode.UNAVAILABLE,
    errors.VocabularyMismatch: StatusCode.UNAVAILABLE,
    errors.FeatureSpaceMismatch: StatusCode.UNAVAILABLE,
    errors.UnknownGeneration: StatusCode.NOT_FOUND,
    errors.LiveStoreMissing: StatusCode.INTERNAL,
    errors.LackingScores: StatusCode.FAILED_PRECONDITION,
    errors.IndexBusy: StatusCode.ABORTED,
    errors.ModelNotLoaded: StatusCode.INVALID_ARGUMENT,
    errors.ModelUnfit: StatusCode.FAILED_PRECONDITION,
    errors.UnknownJob: StatusCode.NOT_FOUND,
    errors.StorageFailed: StatusCode.UNAVAILABLE,
    errors.StorageFull: StatusCode.RESOURCE_EXHAUSTED,
    errors.LiveStoreCorrupt: StatusCode.UNAVAILABLE,
    errors.BundleRefused: StatusCode.INTERNAL,
    errors.BundleSpaceMismatch: StatusCode.INTERNAL,
    errors.BundleVocabularyMismatch: StatusCode.INTERNAL,
    errors.SignatureMismatch: StatusCode.INTERNAL,
    errors.SignatureRefused: StatusCode.INTERNAL,
    errors.OutputNotFinite: StatusCode.INTERNAL,
    errors.GoldenMismatch: StatusCode.INTERNAL,
    errors.ScoringFailed: StatusCode.UNAVAILABLE,
    errors.CheckpointMismatch: StatusCode.INTERNAL,
    errors.ExportFailed: StatusCode.INTERNAL,
    errors.ConfigError: StatusCode.INTERNAL,
    errors.NoFiles: StatusCode.INTERNAL,
    errors.DataError: StatusCode.INTERNAL,
    errors.BadRecord: StatusCode.INTERNAL,
    errors.BadShard: StatusCode.INTERNAL,
    errors.MatrixRefused: StatusCode.INTERNAL,
    errors.MissingExtra: StatusCode.UNIMPLEMENTED,
    errors.ServiceUnreachable: StatusCode.INTERNAL,
    errors.ServiceTooSlow: StatusCode.INTERNAL,
    errors.ServiceRefused: StatusCode.INTERNAL,
    SegsearchError: StatusCode.INTERNAL,
}


def code_of(error: SegsearchError) -> StatusCode:
    """The table's code for an error, or for the nearest kind above it."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def rich_status(error: SegsearchError, detail: str | None, incident: str | None) -> Status:
    """What a caller is told of an error.

    detail: the sentence that stands for it; None shows its own words and facts. incident: where the log has the rest.
    """
    facts = _facts(error) if detail is None else {}
    status = _status(code_of(error), error.code, detail or str(error), facts, incident)
    if isinstance(error, errors.InvalidInput):
        fault = BadRequest.FieldViolation(
            field=_cut(error.field, _FACT_LIMIT_BYTES), description=_cut(str(error), _DETAIL_LIMIT_BYTES)
        )
        status.details.add().Pack(BadRequest(field_violations=[fault]))
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        status.details.add().Pack(RetryInfo(retry_delay={"seconds": retry_after_s}))
    return status


def bug_status(incident: str) -> Status:
    """What a caller is told of an error that nobody foresaw."""
    return _status(StatusCode.INTERNAL, SegsearchError.code, "An unforeseen error.", {}, incident)


def _status(code: StatusCode, reason: str, detail: str, facts: dict[str, str], incident: str | None) -> Status:
    told = facts if incident is None else {**facts, "incident": incident}
    status = Status(code=code.value[0], message=_cut(detail, _DETAIL_LIMIT_BYTES))
    status.details.add().Pack(ErrorInfo(reason=reason, domain=DOMAIN, metadata=told))
    return status


def _facts(error: SegsearchError) -> dict[str, str]:
    """What an error is about, for clients that raise it again: `field`, `nearest` (a line each), and the like."""
    facts = {}
    for name, fact in vars(error).items():
        if isinstance(fact, list):
            facts[name] = "\n".join(_cut(str(each), _FACT_LIMIT_BYTES) for each in fact[:_LIST_LIMIT])
        elif isinstance(fact, str | int | float):
            facts[name] = _cut(str(fact), _FACT_LIMIT_BYTES)
    return facts


def _cut(text: str, limit_bytes: int) -> str:
    """As much of a text as fits; half a surrogate pair, which UTF-8 has no bytes for, is left out."""
    return text.encode(errors="ignore")[:limit_bytes].decode(errors="ignore")
