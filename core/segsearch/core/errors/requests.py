"""What somebody sent that cannot be used as it is."""

from segsearch.core.errors.base import SegsearchError


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
