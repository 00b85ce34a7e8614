"""What a program that asks a service may meet on the way."""

from segsearch.core.errors.base import SegsearchError


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
