"""What can go wrong in training and nowhere else."""

from pathlib import Path

from segsearch.core.errors import SegsearchError


class TrainingDiverged(SegsearchError):
    """The loss is no longer a number; the last saved state and checkpoint are from before."""

    code = "training-diverged"

    def __init__(self, stage: str, step: int, loss: float):
        super().__init__(
            f"{stage}, step {step}: loss is {loss}; wanted a finite number (a lower learning rate may help)"
        )
        self.stage, self.step, self.loss = stage, step, loss


class OtherRun(SegsearchError):
    """An output folder that holds a run with other settings or data."""

    code = "other-run"

    def __init__(self, folder: Path, field: str, found: object, wanted: object):
        super().__init__(
            f"{folder} holds another run: its {field} is {found!r}, wanted {wanted!r}; "
            "give the same settings, or another folder"
        )
        self.folder, self.field, self.found, self.wanted = folder, field, found, wanted


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
