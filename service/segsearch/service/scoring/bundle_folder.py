"""The folder of bundles that a server may load while it runs: opened, proved and warm before anything uses them.

Where it stands: `library` puts what comes from here in the place of the scorer in use. Whatever is wrong with a bundle
is said in one error, with paths as the request gave them; the scorer in use is not touched.
"""

import os
from collections.abc import Callable
from pathlib import Path

from segsearch.core.bundle import Bundle
from segsearch.core.errors import BundleRefused, ConfigError, ModelNotLoaded, ModelUnfit
from segsearch.service.confined import below, is_below
from segsearch.service.scoring.batching_scorer import BatchingScorer
from segsearch.service.scoring.scorer import Scorer
from segsearch.service.scoring.signed import open_signed
from segsearch.service.scoring.tuning import Tuning

OpenScorer = Callable[[Bundle, Tuning | None], BatchingScorer]


class BundleFolder:
    """Bundles below `root`."""

    def __init__(self, root: Path, open_scorer: OpenScorer, public_key: Path | None = None):
        """open_scorer: as the server opened its first one; a tuning, where one is given, is not searched for again.
        public_key: that all must be signed with.

        Raises ConfigError where there is no such folder.
        """
        if not root.is_dir():
            raise ConfigError("bundles", str(root), "a folder")
        self._root, self._open_scorer, self._public_key = root, open_scorer, public_key

    def fitting(self, path: str, other: Bundle) -> Bundle:
        """A bundle by its path below the folder, files checked, of the same classes and features as another.

        Raises InvalidInput, ModelNotLoaded or ModelUnfit.
        """
        bundle = self._opened(path)
        found, wanted = bundle.manifest.features.space, other.manifest.features.space
        if found != wanted:
            raise ModelUnfit(path, f"feature space {found}, wanted {wanted} as the index has")
        found, wanted = bundle.vocabulary.digest, other.vocabulary.digest
        if found != wanted:
            raise ModelUnfit(path, f"vocabulary {found[:12]}, wanted {wanted[:12]} as the index has")
        return bundle

    def scorer(self, path: str, in_use: Scorer) -> BatchingScorer:
        """A scorer of a bundle that may take the place of the one in use: of the same classes and features.

        Raises InvalidInput, ModelUnfit, or ModelNotLoaded for a bundle that is damaged or does not prove itself.
        """
        bundle = self.fitting(path, in_use.bundle)
        tuning = in_use.tuning if isinstance(in_use, BatchingScorer) else None
        try:
            return self._open_scorer(bundle, tuning)
        except (BundleRefused, ConfigError, OSError) as error:
            raise ModelNotLoaded(path, self._told(error)) from None

    def _opened(self, path: str) -> Bundle:
        found = below(self._root, path, "path")
        try:
            bundle = open_signed(found, self._public_key)
        except (BundleRefused, OSError) as error:
            raise ModelNotLoaded(path, self._told(error)) from None
        if not is_below(self._root, bundle.directory):  # the version may be a link
            raise ModelNotLoaded(path, "its files lie elsewhere, wanted them in the folder of bundles")
        return bundle

    def _told(self, error: Exception) -> str:
        """What went wrong, without where the folder is."""
        text = str(error)
        for root in (self._root, self._root.resolve()):
            text = text.replace(f"{root}{os.sep}", "")
        return text
