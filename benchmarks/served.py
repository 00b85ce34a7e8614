"""A `segsearch serve` of its own process, for the benchmarks that load one from outside."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit


@contextmanager
def server(index: Path, bundle: Path, **options: int) -> Iterator[tuple[int, int]]:
    """Its port and process. It keeps no answers, so that each search is one. options: of `segsearch serve`."""
    given = {"index": index, "bundle": bundle, "port": 0, "answer-cache-bytes": 0, **options}
    words = [str(word) for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
    command = [sys.executable, "-c", "from segsearch.core.cli import main; main()", "serve", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield urlsplit(json.loads(process.stdout.readline())["url"]).port or 0, process.pid
        finally:
            process.terminate()
