"""What training and export write, and do not find as it should be."""

from pathlib import Path

from segsearch.core.errors.base import SegsearchError


class CheckpointMismatch(SegsearchError):
    """A checkpoint that does not fit the model it is loaded into."""

    code = "checkpoint-mismatch"

    def __init__(self, path: Path, found: str, wanted: str):
        super().__init__(f"{path}: {found}; wanted {wanted}")
        self.path, self.found, self.wanted = path, found, wanted


class MatrixRefused(SegsearchError):
    """A score matrix that is damaged, or does not go with the others that it is put beside."""

    code = "matrix-refused"

    def __init__(self, path: Path, found: str, wanted: str):
        super().__init__(f"score matrix {path}: {found}; wanted {wanted}")
        self.path, self.found, self.wanted = path, found, wanted


class ExportFailed(SegsearchError):
    """An exported model that is not the network it was made from; nothing is written."""

    code = "export-failed"
