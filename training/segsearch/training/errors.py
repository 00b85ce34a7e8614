"""What can go wrong in training and nowhere else."""

from pathlib import Path

from segsearch.core.errors import MatrixRefused as MatrixRefused  # where it was before the format moved to core
from segsearch.core.errors import SegsearchError


class TrainingDiverged(SegsearchError):
    """The loss or a weight is no longer a number; the last saved state and checkpoint are from before."""

    code = "training-diverged"

    def __init__(self, stage: str, step: int, what: str, value: float):
        super().__init__(
            f"{stage}, step {step}: {what} is {value}; wanted a finite number (a lower learning rate may help)"
        )
        self.stage, self.step, self.what, self.value = stage, step, what, value


class UnreadableExamples(SegsearchError):
    """Examples that TensorFlow cannot read though the plain reader finds no fault in their shards."""

    code = "unreadable-examples"

    def __init__(self, stage: str, reason: str):
        super().__init__(f"{stage}: {reason}; wanted records that the plain reader and TensorFlow read alike")
        self.stage, self.reason = stage, reason


class NotSaved(SegsearchError):
    """A state or checkpoint that could not be written; the one before it is whole."""

    code = "not-saved"

    def __init__(self, path: Path, reason: str):
        super().__init__(
            f"{path} could not be written: {reason}; what was saved before is whole: "
            "make room and give the same command again"
        )
        self.path, self.reason = path, reason


class OtherRun(SegsearchError):
    """An output folder that holds a run with other settings or data."""

    code = "other-run"

    def __init__(self, folder: Path, field: str, found: object, wanted: object):
        super().__init__(
            f"{folder} holds another run: its {field} is {found!r}, wanted {wanted!r}; "
            "give the same settings, or another folder"
        )
        self.folder, self.field, self.found, self.wanted = folder, field, found, wanted


class ImportDiffers(SegsearchError):
    """A network read from a reference that does not give the reference's recorded outputs; nothing is written."""

    code = "import-differs"

    def __init__(self, source: Path, output: str, difference: float, wanted: float):
        super().__init__(f"{source}: {output} differs by up to {difference:.3g}; wanted {wanted:g} at most")
        self.source, self.output, self.difference, self.wanted = source, output, difference, wanted


class DownloadFailed(SegsearchError):
    """Something on the net that could not be fetched: nobody answers, or the answer breaks off or makes no sense."""

    code = "download-failed"

    def __init__(self, url: str, found: str, wanted: str):
        super().__init__(f"{url}: {found}; wanted {wanted}")
        self.url, self.found, self.wanted = url, found, wanted


class DownloadRefused(DownloadFailed):
    """The server answers that it will not give this file; asking again changes nothing."""

    code = "download-refused"


class DownloadDamaged(DownloadFailed):
    """A file came whole, and it is not the one that was promised."""

    code = "download-damaged"
