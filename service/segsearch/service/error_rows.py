"""How each of our errors is answered: with which status of HTTP, and what of it a caller may see at either edge.

Only an error whose text speaks of the caller's own request is shown; what names files and directories of this machine
goes to the log under an incident id, and the answer carries the id and the table's sentence instead.

Where it stands: `rest.problems` answers by it; `rpc.status` has the codes of gRPC beside it.
"""

from http import HTTPStatus
from typing import Final, NamedTuple

from segsearch.core import errors
from segsearch.core.errors import SegsearchError


class Row(NamedTuple):
    """How one error answers.

    detail: the sentence that stands for it; None shows the error's own words. incident: whether the operator must hear
    of it, as what the error says is hidden from the caller.
    """

    status: HTTPStatus
    detail: str | None = None
    incident: bool = False


_DAMAGED_INDEX = "The index cannot be served; the operator finds the reason in the log."
_BAD_MODEL = "The model cannot be used; the operator finds the reason in the log."
_NOT_SCORING = "The model does not score at present; the operator finds the reason in the log."
_NOT_INSTALLED = "A package that this needs is not installed here; the operator finds its name in the log."
_NOT_HERE = "This cannot happen while serving; the operator finds the reason in the log."

TABLE: Final[dict[type[SegsearchError], Row]] = {
    errors.InvalidInput: Row(HTTPStatus.UNPROCESSABLE_ENTITY),
    errors.InputTooLarge: Row(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    errors.UnsupportedContent: Row(HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    errors.NotAcceptable: Row(HTTPStatus.NOT_ACCEPTABLE),
    errors.InvalidPageToken: Row(HTTPStatus.BAD_REQUEST),
    errors.PageTokenExpired: Row(HTTPStatus.GONE),
    errors.IdempotencyKeyReused: Row(HTTPStatus.UNPROCESSABLE_ENTITY),
    errors.IdempotencyKeyBusy: Row(HTTPStatus.CONFLICT),
    errors.TooSlow: Row(HTTPStatus.REQUEST_TIMEOUT),
    errors.Unauthorised: Row(HTTPStatus.UNAUTHORIZED),
    errors.Forbidden: Row(HTTPStatus.FORBIDDEN),
    errors.CrossSite: Row(HTTPStatus.FORBIDDEN),
    errors.RateLimited: Row(HTTPStatus.TOO_MANY_REQUESTS),
    errors.QueueFull: Row(HTTPStatus.SERVICE_UNAVAILABLE),
    errors.TooManyCalls: Row(HTTPStatus.SERVICE_UNAVAILABLE),
    errors.DeadlinePassed: Row(HTTPStatus.GATEWAY_TIMEOUT),
    errors.Draining: Row(HTTPStatus.SERVICE_UNAVAILABLE),
    errors.NotConfigured: Row(HTTPStatus.CONFLICT),
    errors.KeyFileRefused: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.UnknownTag: Row(HTTPStatus.NOT_FOUND),
    errors.UnknownVideo: Row(HTTPStatus.NOT_FOUND),
    errors.UnknownModel: Row(HTTPStatus.NOT_FOUND),
    errors.NoEmbeddings: Row(HTTPStatus.CONFLICT),
    errors.NoTagInCommon: Row(HTTPStatus.CONFLICT),
    errors.NotIndexing: Row(HTTPStatus.CONFLICT, "This server only searches: nothing can be added or deleted here."),
    errors.NoGeneration: Row(HTTPStatus.SERVICE_UNAVAILABLE, "No generation is published yet; run a reindex first."),
    errors.GenerationCorrupt: Row(HTTPStatus.SERVICE_UNAVAILABLE, _DAMAGED_INDEX, True),
    errors.VocabularyMismatch: Row(HTTPStatus.SERVICE_UNAVAILABLE, _DAMAGED_INDEX, True),
    errors.FeatureSpaceMismatch: Row(HTTPStatus.SERVICE_UNAVAILABLE, _DAMAGED_INDEX, True),
    errors.UnknownGeneration: Row(HTTPStatus.NOT_FOUND, "No such generation; `/generations` lists those there are."),
    errors.LiveStoreMissing: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.LackingScores: Row(HTTPStatus.CONFLICT, "Live videos were scored by another model only; reindex first."),
    errors.IndexBusy: Row(HTTPStatus.CONFLICT, "Another reindex is running."),
    errors.ModelNotLoaded: Row(HTTPStatus.UNPROCESSABLE_ENTITY),
    errors.ModelUnfit: Row(HTTPStatus.CONFLICT),
    errors.UnknownJob: Row(HTTPStatus.NOT_FOUND),
    errors.StorageFailed: Row(HTTPStatus.SERVICE_UNAVAILABLE, "Nothing was stored; try again later.", True),
    errors.StorageFull: Row(HTTPStatus.INSUFFICIENT_STORAGE, "There is no room: nothing was stored.", True),
    errors.LiveStoreCorrupt: Row(HTTPStatus.SERVICE_UNAVAILABLE, _DAMAGED_INDEX, True),
    errors.BundleRefused: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.BundleSpaceMismatch: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.BundleVocabularyMismatch: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.SignatureMismatch: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.SignatureRefused: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.OutputNotFinite: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.GoldenMismatch: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.ScoringFailed: Row(HTTPStatus.SERVICE_UNAVAILABLE, _NOT_SCORING, True),
    errors.CheckpointMismatch: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _BAD_MODEL, True),
    errors.ExportFailed: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.ConfigError: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.NoFiles: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.DataError: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.BadRecord: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.BadShard: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.MatrixRefused: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.MissingExtra: Row(HTTPStatus.NOT_IMPLEMENTED, _NOT_INSTALLED, True),
    errors.ServiceUnreachable: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.ServiceTooSlow: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    errors.ServiceRefused: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
    SegsearchError: Row(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_HERE, True),
}


def row_of(error: SegsearchError) -> Row:
    """The table's row for an error, or for the nearest kind above it."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
