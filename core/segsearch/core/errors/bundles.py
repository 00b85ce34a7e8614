"""Models as they are packed, checked, loaded and run."""

from pathlib import Path

from segsearch.core.errors.base import SegsearchError


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


class ScoringFailed(SegsearchError):
    """A model that could not be run for no fault of what it was given: memory, a device or its driver; it may pass."""

    code = "scoring-failed"

    def __init__(self, reason: str, retry_after_s: int = 5):
        super().__init__(f"the model does not score ({reason}); wanted scores: try again in {retry_after_s} s")
        self.reason, self.retry_after_s = reason, retry_after_s
