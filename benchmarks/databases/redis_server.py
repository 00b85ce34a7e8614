"""Redis, in a process of its own behind a Unix socket: a sorted set for each class, whose members are segment ids.

A member is `<video id>:<start frame>` and is left so, which spares Redis' side the time to take it apart.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

from databases.peer import INSTALL_CLIENTS, Postings, Row, Search, wait_for

MEMBERS_A_COMMAND = 10_000


class Redis:
    name = "Redis"

    def missing(self) -> str | None:
        if which("redis-server") is None:
            return "apt-get install redis-server"
        return None if find_spec("redis") else INSTALL_CLIENTS

    @contextmanager
    def loaded(self, folder: Path, postings: Postings) -> Iterator[Search]:  # noqa: ARG002 - it keeps all in memory
        with server() as client:
            for tag in range(postings.class_count):
                members = ((f"{video}:{start}", code) for _, code, _, video, start in postings.rows(tag))
                while part := dict(islice(members, MEMBERS_A_COMMAND)):
                    client.zadd(str(tag), part)
            yield lambda tag, k: client.zrange(str(tag), 0, k - 1, desc=True, withscores=True)

    def rows(self, answer: list[tuple[str, float]]) -> list[Row]:
        found = [(*member.rsplit(":", 1), code) for member, code in answer]
        return [(video, int(start), int(code)) for video, start, code in found]


@contextmanager
def server() -> Iterator[Any]:
    """A client of a server that listens to nobody else, and ends with the block."""
    import redis

    with TemporaryDirectory(prefix="redis-") as folder:
        line = ["redis-server", "--port", "0", "--unixsocket", f"{folder}/socket", "--dir", folder]
        process = subprocess.Popen([*line, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
        try:
            wait_for(Path(folder, "socket").exists, "redis-server")
            how = {"single_connection_client": True, "decode_responses": True}
            with redis.Redis(unix_socket_path=f"{folder}/socket", **how) as client:
                yield client
        finally:
            process.terminate()
            process.wait()
