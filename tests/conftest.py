"""What every test may ask for: the reference data, and the repository's root.

The reference data (golden outputs of the reference systems, AudioSet-Segments) lie in `SEGSEARCH_SHARED`, else in
`shared` beside the repository. The product runs without them; a test that needs them says so when they are missing.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.library_fixtures"]

# Time decides no test. The rest is as Hypothesis has it: at random here, the same examples every time where CI is set.
settings.register_profile("untimed", parent=settings.default, deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data; missing data skip a test at home and fail it in CI."""
    folder = Path(os.environ.get("SEGSEARCH_SHARED") or ROOT.parent / "shared")
    if not (folder / "golden").is_dir():
        missing = f"no reference data in {folder}: set SEGSEARCH_SHARED"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Inputs, weights and outputs of the reference implementations."""
    return shared / "golden"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Commands that tests run remember things in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
