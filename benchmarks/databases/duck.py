"""DuckDB, in this process: postings in order, in row groups so small that a search reads one or two.

Each row knows its place in its class's list, so that the smallest and largest of a row group tell whether it is wanted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from databases.peer import INSTALL_CLIENTS, Postings, Row, Search

ROW_GROUP = 2048  # the least there is
COLUMNS = "{'class': 'SMALLINT', 'code': 'INTEGER', 'ordinal': 'INTEGER', 'video': 'VARCHAR', 'start': 'INTEGER'}"


class DuckDb:
    name = "DuckDB"

    def missing(self) -> str | None:
        return None if find_spec("duckdb") else INSTALL_CLIENTS

    @contextmanager
    def loaded(self, folder: Path, postings: Postings) -> Iterator[Search]:
        import duckdb

        text = folder / "postings.tsv"
        with text.open("w") as file:
            file.writelines(map(postings.text, range(postings.class_count)))
        with duckdb.connect() as database:
            database.execute(f"ATTACH '{folder / 'postings.duckdb'}' AS stored (ROW_GROUP_SIZE {ROW_GROUP})")
            database.execute("USE stored")
            database.execute(
                "CREATE TABLE posting AS SELECT class, "
                "row_number() OVER (PARTITION BY class ORDER BY code DESC, ordinal) AS place, code, video, start "
                f"FROM read_csv('{text}', delim = '\t', header = false, columns = {COLUMNS}) ORDER BY class, place"
            )
            database.execute("CHECKPOINT stored")
            query = "SELECT video, start, code FROM posting WHERE class = ? AND place <= ? ORDER BY place"
            yield lambda tag, k: database.execute(query, (tag, k)).fetchall()

    def rows(self, answer: list[Row]) -> list[Row]:
        return answer
