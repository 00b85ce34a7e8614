"""Every error segsearch raises on purpose, in one tree.

Who catches them: `core.cli` turns one into a line on stderr and exit code 1; `service.rest.problems`
turns one into an RFC 9457 document. Each says what was found and what was wanted, and carries the facts
as attributes. `code` is the error's stable public name.
"""

from pathlib import Path
from typing import Any


class SegsearchError(Exception):
    """Base of everything segsearch raises on purpose."""

    code = "internal"

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross from workers to who waits for them, and constructors take facts, not the message that is kept.
        return restored, (type(self), self.args, self.__dict__)


def restored(kind: type[SegsearchError], arguments: tuple[object, ...], facts: dict[str, object]) -> SegsearchError:
    """An error as it was elsewhere, from its message and its facts."""
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(facts)
    return error


class ConfigError(SegsearchError):
    """A setting that cannot work: names the field, what came and what was wanted."""

    code = "bad-config"

    def __init__(self, field: str, found: object, wanted: str):
        super().__init__(f"{field} is {found!r}, wanted {wanted}")
        self.field, self.found, self.wanted = field, found, wanted

    @classmethod
    def check_range(cls, field: str, value: int, lowest: int, highest: int) -> None:
        """Raises unless `value` lies between the two, both included."""
        if not lowest <= value <= highest:
            raise cls(field, value, f"{lowest} to {highest}")


class InvalidInput(SegsearchError):
    """A field of a request that cannot be used."""

    code = "invalid-input"

    def __init__(self, field: str, found: str, wanted: str):
        super().__init__(f"{field}: {found}; wanted {wanted}")
        self.field, self.found, self.wanted = field, found, wanted


class InputTooLarge(InvalidInput):
    """A request beyond a limit that the operator set."""

    code = "too-large"


class UnsupportedContent(InvalidInput):
    """A request body of a kind or encoding that is not read here."""

    code = "unsupported-content"


class NotAcceptable(InvalidInput):
    """A request for an answer in a form that is not written here."""

    code = "not-acceptable"


class InvalidPageToken(InvalidInput):
    """A page token that this server did not give out, or not for this query."""

    code = "invalid-page-token"

    def __init__(self, field: str):
        super().__init__(field, "no token of ours for this query", "`next_page_token` as the page before had it")


class PageTokenExpired(SegsearchError):
    """A page token of a list that is there no longer: another generation answers now."""

    code = "page-token-expired"

    def __init__(self, generation: int, sequence: int, serving: int, known: int):
        super().__init__(
            f"the pages before are of generation {generation} at change {sequence}, and generation {serving} at change "
            f"{known} answers; wanted the same generation: begin again at the first page"
        )
        self.generation, self.sequence, self.serving, self.known = generation, sequence, serving, known


class IdempotencyKeyReused(InvalidInput):
    """An idempotency key that came before, with another request."""

    code = "idempotency-key-reused"

    def __init__(self, field: str):
        super().__init__(field, "it came before with another request", "one key a request, kept when it is repeated")


class IdempotencyKeyBusy(SegsearchError):
    """An idempotency key whose first request is still being answered."""

    code = "idempotency-key-busy"

    def __init__(self, retry_after_s: int):
        super().__init__(f"the first request with this idempotency key is not done; wanted {retry_after_s} s of pause")
        self.retry_after_s = retry_after_s


class TooSlow(SegsearchError):
    """A request body that did not arrive within the time that the operator set."""

    code = "too-slow"

    def __init__(self, field: str, limit_s: float):
        super().__init__(f"{field}: not whole after {limit_s:g} s; wanted all of it by then")
        self.field, self.limit_s = field, limit_s


class Unauthorised(SegsearchError):
    """A request without a key, or with one that is not known."""

    code = "unauthorised"

    def __init__(self, found: str):
        super().__init__(f"{found}; wanted `Authorization: Bearer <key>` or `X-API-Key: <key>`")


class Forbidden(SegsearchError):
    """A key that may not do what was asked."""

    code = "forbidden"

    def __init__(self, found: str, wanted: str):
        super().__init__(f"this key has scope {found}, wanted {wanted}")
        self.found, self.wanted = found, wanted


class RateLimited(SegsearchError):
    """A key that asks more often than the operator allows."""

    code = "rate-limited"

    def __init__(self, rate_per_s: float, retry_after_s: int):
        super().__init__(f"more than {rate_per_s:g} requests a second; wanted {retry_after_s} s without one")
        self.rate_per_s, self.retry_after_s = rate_per_s, retry_after_s


class QueueFull(SegsearchError):
    """A video to score that found no room: more wait than the operator lets wait."""

    code = "queue-full"

    def __init__(self, waiting: int, limit: int, retry_after_s: int):
        super().__init__(f"{waiting} frames wait to be scored, of at most {limit}; wanted room for these: try again in "
                         f"{retry_after_s} s")  # fmt: skip
        self.waiting, self.limit, self.retry_after_s = waiting, limit, retry_after_s


class TooManyCalls(SegsearchError):
    """A call beyond what the server takes on at once of its kind."""

    code = "too-many-calls"

    def __init__(self, limit: int, retry_after_s: int = 1):
        super().__init__(f"{limit} calls like this one are under way; wanted fewer: try again in {retry_after_s} s")
        self.limit, self.retry_after_s = limit, retry_after_s


class DeadlinePassed(SegsearchError):
    """Work that was not done by the time its caller had named; nothing of it is done."""

    code = "deadline-passed"

    def __init__(self) -> None:
        super().__init__("the caller's deadline has passed; wanted it later, or fewer callers")


class Draining(SegsearchError):
    """A server that was told to end: it finishes what it has begun, and should be sent nothing new."""

    code = "draining"

    def __init__(self) -> None:
        super().__init__("this server is about to end; wanted another one")


class NotConfigured(SegsearchError):
    """A request for what the operator has not switched on."""

    code = "not-configured"

    def __init__(self, option: str):
        super().__init__(f"this server was started without --{option}; wanted it to do this")
        self.option = option


class KeyFileRefused(SegsearchError):
    """A file of API keys that cannot be used: names line and field."""

    code = "key-file-refused"

    def __init__(self, path: Path, line: int | None, found: str, wanted: str):
        place = str(path) if line is None else f"{path}, line {line}"
        super().__init__(f"{place}: {found}; wanted {wanted}")
        self.path, self.line, self.found, self.wanted = path, line, found, wanted


class NoFiles(SegsearchError):
    """A pattern that matches no file."""

    code = "no-files"

    def __init__(self, pattern: str):
        super().__init__(f"{pattern}: no file matches; wanted at least one")
        self.pattern = pattern


class DataError(SegsearchError):
    """Damaged or unusable input data; names file, record and field."""

    code = "bad-data"

    def __init__(self, path: object, record: int | None, field: str, found: str, wanted: str):
        """path: what was read; by its `str` people find it."""
        place = str(path) if record is None else f"{path}, record {record}"
        super().__init__(f"{place}, {field}: {found}; wanted {wanted}")
        self.path, self.record, self.field, self.found, self.wanted = path, record, field, found, wanted


class BadRecord(DataError):
    """One record cannot be used; the file goes on behind it, so a reader may skip it and count."""

    code = "bad-record"


class BadShard(DataError):
    """The framing of a file is broken from `record` on; what follows cannot be found."""

    code = "bad-shard"

    def __init__(self, path: object, record: int, field: str, found: str, wanted: str, unread_bytes: int = 0):
        """unread_bytes: from the beginning of `record` to the file's end."""
        super().__init__(path, record, field, found, wanted)
        self.unread_bytes = unread_bytes


class MatrixRefused(SegsearchError):
    """A score matrix that is damaged, or does not go with the others that it is put beside."""

    code = "matrix-refused"

    def __init__(self, path: Path, found: str, wanted: str):
        super().__init__(f"score matrix {path}: {found}; wanted {wanted}")
        self.path, self.found, self.wanted = path, found, wanted


class UnknownTag(SegsearchError):
    """A tag the vocabulary does not hold."""

    code = "unknown-tag"

    def __init__(self, tag: str, nearest: list[str]):
        super().__init__(f"no tag {tag!r}; nearest: {', '.join(nearest) or 'none'}")
        self.tag, self.nearest = tag, nearest


class VocabularyMismatch(SegsearchError):
    """Two things that must share a vocabulary do not."""

    code = "vocabulary-mismatch"

    def __init__(self, thing: str, found: str, other: str, wanted: str):
        super().__init__(f"{thing} has vocabulary {found[:12]}, wanted {wanted[:12]} as {other} has")
        self.thing, self.found, self.other, self.wanted = thing, found, other, wanted


class FeatureSpaceMismatch(SegsearchError):
    """Features of one extractor and shape were given to a model of another."""

    code = "feature-space-mismatch"

    def __init__(self, thing: str, found: str, wanted: str):
        super().__init__(f"{thing} has feature space {found}, wanted {wanted}")
        self.thing, self.found, self.wanted = thing, found, wanted


class CheckpointMismatch(SegsearchError):
    """A checkpoint that does not fit the model it is loaded into."""

    code = "checkpoint-mismatch"

    def __init__(self, path: Path, found: str, wanted: str):
        super().__init__(f"{path}: {found}; wanted {wanted}")
        self.path, self.found, self.wanted = path, found, wanted


class ExportFailed(SegsearchError):
    """An exported model that is not the network it was made from; nothing is written."""

    code = "export-failed"


class BundleRefused(SegsearchError):
    """A model bundle that is damaged, incomplete, or fails its own golden segments."""

    code = "bundle-refused"

    def __init__(self, path: Path, reason: str):
        super().__init__(f"bundle {path}: {reason}")
        self.path, self.reason = path, reason


class BundleSpaceMismatch(BundleRefused):
    """A bundle whose feature space is not the one its own streams make."""

    code = "bundle-space-mismatch"

    def __init__(self, path: Path, found: str, wanted: str):
        super().__init__(path, f"feature_space is {found!r}, wanted {wanted!r} as its streams say")
        self.found, self.wanted = found, wanted


class BundleVocabularyMismatch(BundleRefused):
    """A bundle whose vocabulary is not the one its manifest was written for."""

    code = "bundle-vocabulary-mismatch"

    def __init__(self, path: Path, found: str, wanted: str):
        super().__init__(path, f"vocabulary of {found}, wanted {wanted} by the manifest's digest and class count")
        self.found, self.wanted = found, wanted


class SignatureRefused(BundleRefused):
    """A bundle that is not signed by the key it was to be signed by, or not as it lies."""

    code = "signature-refused"


class SignatureMismatch(BundleRefused):
    """A bundle's model that takes or gives something else than the bundle promises."""

    code = "signature-mismatch"


class OutputNotFinite(BundleRefused):
    """A bundle's model that gave NaN, infinity, or a score that is no probability."""

    code = "output-not-finite"


class GoldenMismatch(BundleRefused):
    """A bundle's model that does not reproduce the golden segments."""

    code = "golden-mismatch"

    def __init__(self, path: Path, segment: int, difference: float, tolerance: float):
        super().__init__(path, f"golden segment {segment} differs by {difference:.3g}, wanted at most {tolerance:.3g}")
        self.segment, self.difference, self.tolerance = segment, difference, tolerance


class ModelNotLoaded(SegsearchError):
    """A bundle that was to replace the one in use, and cannot: the one in use stays."""

    code = "model-not-loaded"

    def __init__(self, path: str, reason: str):
        super().__init__(f"{path}: {reason}; the bundle in use stays")
        self.path, self.reason = path, reason


class ModelUnfit(ModelNotLoaded):
    """A sound bundle of other classes or other features than the index that is served."""

    code = "model-unfit"


class UnknownJob(SegsearchError):
    """A job that was never started here, or is long forgotten."""

    code = "unknown-job"

    def __init__(self, job_id: str):
        super().__init__(f"no job {job_id[:80]!r}")
        self.job_id = job_id


class GenerationCorrupt(SegsearchError):
    """An index generation whose files do not agree with its manifest."""

    code = "generation-corrupt"

    def __init__(self, directory: Path, reason: str):
        super().__init__(f"generation {directory}: {reason}")
        self.directory, self.reason = directory, reason


class NoGeneration(SegsearchError):
    """An index directory in which nothing has been published yet."""

    code = "no-generation"

    def __init__(self, directory: Path):
        super().__init__(f"index {directory}: no generation is published; run `segsearch reindex` first")
        self.directory = directory


class UnknownGeneration(SegsearchError):
    """A generation that is not in the index directory."""

    code = "unknown-generation"

    def __init__(self, directory: Path, number: int, there: list[int]):
        wanted = f"one of {', '.join(map(str, there))}" if there else "none is there"
        super().__init__(f"index {directory}: no generation {number}; {wanted}")
        self.directory, self.number, self.there = directory, number, there


class UnknownVideo(SegsearchError):
    """A video that the library does not hold, or no longer."""

    code = "unknown-video"

    def __init__(self, video_id: str):
        super().__init__(f"no video {video_id[:80]!r} in the library")
        self.video_id = video_id


class NoEmbeddings(SegsearchError):
    """Neighbours were asked for where nothing is kept that they could be found by."""

    code = "no-embeddings"

    def __init__(self, found: str):
        super().__init__(f"{found}; run `segsearch reindex --embeddings`")


class NotIndexing(SegsearchError):
    """An upload or deletion, sent to a server that only searches."""

    code = "not-indexing"

    def __init__(self, directory: Path):
        super().__init__(f"index {directory}: served without its live store; wanted one to put uploads into")
        self.directory = directory


class LiveStoreMissing(SegsearchError):
    """An index directory without a live store: nothing was ever uploaded to it."""

    code = "live-store-missing"

    def __init__(self, directory: Path):
        super().__init__(f"index {directory}: no live store; wanted one that `segsearch serve --live` made")
        self.directory = directory


class LackingScores(SegsearchError):
    """Live videos that no model but another one has scored."""

    code = "lacking-scores"

    def __init__(self, directory: Path, count: int, bundle: str):
        super().__init__(f"index {directory}: {count} live videos without scores of {bundle}; run `segsearch reindex`")
        self.directory, self.count, self.bundle = directory, count, bundle


class IndexBusy(SegsearchError):
    """An index directory that another reindex is writing to."""

    code = "index-busy"

    def __init__(self, directory: Path):
        super().__init__(f"index {directory}: another reindex is running here; wanted to be the only one")
        self.directory = directory


class StorageFailed(SegsearchError):
    """A live store that could not be read or written; nothing of the change is stored."""

    code = "storage-failed"

    def __init__(self, path: Path, reason: str):
        super().__init__(f"live store {path}: {reason}")
        self.path, self.reason = path, reason


class StorageFull(StorageFailed):
    """A live store without room for a change; nothing of the change is stored, and reading goes on."""

    code = "storage-full"


class LiveStoreCorrupt(SegsearchError):
    """A live store that is damaged, or written by a later release; nothing of the damaged place is served."""

    code = "live-store-corrupt"

    def __init__(self, path: Path, place: str, reason: str):
        super().__init__(f"live store {path}, {place}: {reason}")
        self.path, self.place, self.reason = path, place, reason


class MissingExtra(SegsearchError):
    """A command whose packages are not installed."""

    code = "missing-extra"

    def __init__(self, command: str, extra: str, module: str):
        super().__init__(f"`segsearch {command}` needs {module}: pip install 'segsearch[{extra}]'")
        self.command, self.extra, self.module = command, extra, module


class ServiceUnreachable(SegsearchError):
    """A service that could not be connected to, or hung up before it answered."""

    code = "service-unreachable"

    def __init__(self, url: str, reason: str):
        super().__init__(f"service {url}: {reason}; wanted an answer")
        self.url, self.reason = url, reason


class ServiceTooSlow(SegsearchError):
    """A service that did not answer within the time that its caller had for it."""

    code = "service-too-slow"

    def __init__(self, url: str, limit_s: float):
        super().__init__(f"service {url}: no whole answer; wanted one within {limit_s:g} s")
        self.url, self.limit_s = url, limit_s


class ServiceRefused(SegsearchError):
    """A service's answer that is none to what was asked: what it says, where that is no other error of this tree."""

    code = "service-refused"

    def __init__(self, status: int | str, code: str, detail: str, request_id: str | None):
        """status: HTTP's, or the name of gRPC's. code: the service's own; the error has it, too."""
        super().__init__(f"the service answers {status} {code} to request {request_id or 'without an id'}: {detail}")
        self.status, self.code, self.detail, self.request_id = status, code, detail, request_id
