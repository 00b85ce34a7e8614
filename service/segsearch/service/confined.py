"""Paths in requests: whoever may send them names what lies below one folder of the operator's, and nothing else."""

from pathlib import Path, PurePosixPath

from segsearch.core.errors import InvalidInput


def below(root: Path, path: str, field: str) -> Path:
    """Where `path` leads from `root`, links followed; raises InvalidInput unless that is below `root`."""
    named = PurePosixPath(path)
    plain = bool(named.parts) and not named.is_absolute() and ".." not in named.parts and path.isprintable()
    if plain and "\\" not in path:
        found = (root / named).resolve()
        if is_below(root, found):
            return found
    raise InvalidInput(field, repr(path[:80]), "a path relative to the folder of the server's, that stays within it")


def is_below(root: Path, path: Path) -> bool:
    """Whether a file or folder, links followed, lies below `root`."""
    return path.resolve().is_relative_to(root.resolve()) and path.resolve() != root.resolve()
