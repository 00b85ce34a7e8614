"""Uploads and deletions, where they are kept."""

from pathlib import Path

from segsearch.core.errors.base import SegsearchError


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


class StorageFailed(SegsearchError):
    """A live store or an index directory that could not be read or written; nothing of the change is stored."""

    code = "storage-failed"

    def __init__(self, path: Path, reason: str):
        super().__init__(f"storage {path}: {reason}")
        self.path, self.reason = path, reason


class StorageFull(StorageFailed):
    """No room for a change to a live store or an index; nothing of it is stored, and reading goes on."""

    code = "storage-full"


class LiveStoreCorrupt(SegsearchError):
    """A live store that is damaged, or written by a later release; nothing of the damaged place is served."""

    code = "live-store-corrupt"

    def __init__(self, path: Path, place: str, reason: str):
        super().__init__(f"live store {path}, {place}: {reason}")
        self.path, self.place, self.reason = path, place, reason
