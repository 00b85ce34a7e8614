"""What is wrong with files of videos: none there, a damaged one, a record that cannot be used."""

from segsearch.core.errors.base import SegsearchError


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
