"""PostgreSQL, in processes of its own behind a Unix socket: a covering index, read alone, by a statement prepared once.

Its server does not run as root: where the benchmark does, it belongs to the user `postgres` or `nobody`.
"""

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import chown, which
from tempfile import TemporaryDirectory
from typing import Any

from databases.peer import INSTALL_CLIENTS, Postings, Row, Search, wait_for

BEST = "SELECT video, start, code FROM posting WHERE class = {} ORDER BY code DESC, ordinal LIMIT {}"
SETTINGS = ("listen_addresses=", "fsync=off", "jit=off", "shared_buffers=1GB", "max_wal_size=8GB")
ROLE = "bench"


class PostgreSql:
    name = "PostgreSQL"

    def missing(self) -> str | None:
        if _programs() is None:
            return "apt-get install postgresql-15"
        return None if find_spec("psycopg") else INSTALL_CLIENTS

    @contextmanager
    def loaded(self, folder: Path, postings: Postings) -> Iterator[Search]:  # noqa: ARG002 - its folder is its user's
        import psycopg

        with (
            server() as sockets,
            psycopg.connect(host=sockets, user=ROLE, dbname="postgres", autocommit=True) as connection,
            connection.cursor(binary=True) as cursor,
        ):
            load(cursor, postings)
            check_plan(cursor)
            query = BEST.format("%s::int2", "%s::int8")
            yield lambda tag, k: cursor.execute(query, (tag, k), prepare=True).fetchall()

    def rows(self, answer: list[Row]) -> list[Row]:
        return answer


def load(cursor: Any, postings: Postings) -> None:
    cursor.execute("CREATE TABLE posting (class int2, code int4, ordinal int8, video text, start int4)")
    with cursor.copy("COPY posting FROM STDIN") as copy:
        for tag in range(postings.class_count):
            copy.write(postings.text(tag))
    cursor.execute("CREATE INDEX ON posting (class, code DESC, ordinal) INCLUDE (video, start)")
    cursor.execute("VACUUM (FREEZE, ANALYZE) posting")


def check_plan(cursor: Any) -> None:
    """The plan of every search, made once: the index alone."""
    cursor.execute("SET plan_cache_mode = force_generic_plan")
    cursor.execute(f"PREPARE best (int2, int8) AS {BEST.format('$1', '$2')}")
    plan = "\n".join(line for (line,) in cursor.execute("EXPLAIN (ANALYZE) EXECUTE best (0, 100)").fetchall())
    assert "Index Only Scan" in plan, plan
    assert "Heap Fetches: 0" in plan, plan


@contextmanager
def server() -> Iterator[str]:
    """The folder with the socket of a server that listens to nobody else, and ends with the block."""
    programs = _programs()
    assert programs is not None
    with TemporaryDirectory(prefix="postgres-") as folder:
        owner = _owner()
        if owner:
            chown(folder, **owner)
        how = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if owner:
            how |= {**owner, "extra_groups": ()}
        made = [
            "--pgdata",
            f"{folder}/data",
            "--username",
            ROLE,
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
        ]
        subprocess.run([programs / "initdb", *made, "--no-sync"], check=True, **how)
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        process = subprocess.Popen([programs / "postgres", "-D", f"{folder}/data", "-k", folder, *settings], **how)
        try:
            wait_for(lambda: _answers(programs, folder), "postgres")
            yield folder
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def _answers(programs: Path, folder: str) -> bool:
    asked = subprocess.run([programs / "pg_isready", "--quiet", "--host", folder], check=False)
    return asked.returncode == 0


def _programs() -> Path | None:
    """Where the server's programs lie: Debian keeps them off the path."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = versions[-1] if versions else which("initdb")
    return Path(found).parent if found else None


def _owner() -> Mapping[str, str]:
    """The user and group that the server runs as, where not as who started the benchmark."""
    if os.geteuid():
        return {}
    names = {user.pw_name for user in pwd.getpwall()}
    name = "postgres" if "postgres" in names else "nobody"
    return {"user": name, "group": pwd.getpwnam(name).pw_gid}
