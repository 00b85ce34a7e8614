"""What the tests of both fast paths stand on: a library that changes, and the application with them and without."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from segsearch.service.index.format import LIVE
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.live.store import LiveStore
from segsearch.service.jobs.reindex import reindex
from segsearch.service.library import SegmentLibrary
from segsearch.service.rest.app import build, build_api
from segsearch.service.rest.exchange import Exchanges
from segsearch.service.rest.metrics import Metrics
from segsearch.service.scoring.scorer import Scorer
from segsearch.service.settings import Settings


@contextmanager
def changing_library(root: Path, scorer: Scorer, shards: Sequence[str]) -> Iterator[SegmentLibrary]:
    """One with a generation of these shards and room for uploads."""
    directory = IndexDirectory(root / "index")
    reindex(scorer, shards, directory, keep=100)
    with LiveStore.open(directory.root / LIVE, scorer.bundle.manifest.features.space) as store:
        yield SegmentLibrary(scorer, directory, store)


def both(library: SegmentLibrary, **changes) -> tuple:
    """The application, and the same without the fast paths."""
    metrics, of = Metrics(library), Settings(port=0, **changes)
    return build(library, of), Exchanges(build_api(library, of, metrics), metrics, log_requests=False)
