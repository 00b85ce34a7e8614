"""What the documents tell people to type."""

import re
import shlex
from collections.abc import Iterator

from tests.conftest import ROOT


def shell_lines(document: str) -> Iterator[list[str]]:
    """Commands in the document's ```sh blocks, continuation lines joined, comments left out."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words
