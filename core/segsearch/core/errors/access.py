"""Who may ask what: keys, and the file that they stand in."""

from pathlib import Path

from segsearch.core.errors.base import SegsearchError


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


class CrossSite(SegsearchError):
    """A request that another web site may have had a browser send."""

    code = "cross-site"

    def __init__(self, found: str, wanted: str):
        super().__init__(f"{found}; wanted {wanted}")
        self.found, self.wanted = found, wanted


class KeyFileRefused(SegsearchError):
    """A file of API keys that cannot be used: names line and field."""

    code = "key-file-refused"

    def __init__(self, path: Path, line: int | None, found: str, wanted: str):
        place = str(path) if line is None else f"{path}, line {line}"
        super().__init__(f"{place}: {found}; wanted {wanted}")
        self.path, self.line, self.found, self.wanted = path, line, found, wanted
