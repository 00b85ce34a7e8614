"""What a server does not do now, because too much is asked of it, or too late, or it is about to end."""

from segsearch.core.errors.base import SegsearchError


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


class TooSlow(SegsearchError):
    """A request body that did not arrive within the time that the operator set."""

    code = "too-slow"

    def __init__(self, field: str, limit_s: float):
        super().__init__(f"{field}: not whole after {limit_s:g} s; wanted all of it by then")
        self.field, self.limit_s = field, limit_s


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
