"""What is asked of a library of videos, and is not in it or does not go with it."""

from pathlib import Path

from segsearch.core.errors.base import SegsearchError


class UnknownTag(SegsearchError):
    """A tag the vocabulary does not hold."""

    code = "unknown-tag"

    def __init__(self, tag: str, nearest: list[str]):
        super().__init__(f"no tag {tag!r}; nearest: {', '.join(nearest) or 'none'}")
        self.tag, self.nearest = tag, nearest


class UnknownVideo(SegsearchError):
    """A video that the library does not hold, or no longer."""

    code = "unknown-video"

    def __init__(self, video_id: str):
        super().__init__(f"no video {video_id[:80]!r} in the library")
        self.video_id = video_id


class UnknownModel(SegsearchError):
    """A model, or a version of one, that this server does not serve."""

    code = "unknown-model"

    def __init__(self, model: str, version: str, served: str):
        of_version = f" version {version[:20]!r}" if version else ""
        super().__init__(f"no model {model[:80]!r}{of_version}; served: {served}")
        self.model, self.version, self.served = model, version, served


class NoEmbeddings(SegsearchError):
    """Neighbours were asked for where nothing is kept that they could be found by."""

    code = "no-embeddings"

    def __init__(self, found: str):
        super().__init__(f"{found}; run `segsearch reindex --embeddings`")


class NotIndexing(SegsearchError):
    """An upload or deletion, sent to a server that only searches."""

    code = "not-indexing"

    def __init__(self, directory: Path):
        super().__init__(f"index {directory}: served without its live store; wanted one to put uploads into")
        self.directory = directory


class VocabularyMismatch(SegsearchError):
    """Two things that must share a vocabulary do not."""

    code = "vocabulary-mismatch"

    def __init__(self, thing: str, found: str, other: str, wanted: str):
        super().__init__(f"{thing} has vocabulary {found[:12]}, wanted {wanted[:12]} as {other} has")
        self.thing, self.found, self.other, self.wanted = thing, found, other, wanted


class NoTagInCommon(SegsearchError):
    """Two generations to be compared that have no tag in common."""

    code = "no-tag-in-common"

    def __init__(self, older: int, newer: int):
        super().__init__(f"generations {older} and {newer} have no tag in common; wanted some to compare")
        self.older, self.newer = older, newer


class FeatureSpaceMismatch(SegsearchError):
    """Features of one extractor and shape were given to a model of another."""

    code = "feature-space-mismatch"

    def __init__(self, thing: str, found: str, wanted: str):
        super().__init__(f"{thing} has feature space {found}, wanted {wanted}")
        self.thing, self.found, self.wanted = thing, found, wanted
