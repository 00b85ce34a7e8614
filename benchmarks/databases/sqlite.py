"""SQLite, in this process: one table that is its own covering index, mapped into memory."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from databases.peer import Postings, Row, Search

BEST = "SELECT video, start, code FROM posting WHERE class = ? ORDER BY code DESC, ordinal LIMIT ?"


class Sqlite:
    name = "SQLite"

    def missing(self) -> None:
        return None

    @contextmanager
    def loaded(self, folder: Path, postings: Postings) -> Iterator[Search]:
        with closing(sqlite3.connect(folder / "postings.db")) as database:
            database.execute("PRAGMA mmap_size = 64000000000")
            database.execute(
                "CREATE TABLE posting (class INTEGER, code INTEGER, ordinal INTEGER, video TEXT, start INTEGER, "
                "PRIMARY KEY (class, code DESC, ordinal)) WITHOUT ROWID"
            )
            for tag in range(postings.class_count):
                database.executemany("INSERT INTO posting VALUES (?, ?, ?, ?, ?)", postings.rows(tag))
            database.commit()
            (plan,) = database.execute(f"EXPLAIN QUERY PLAN {BEST}", (0, 1)).fetchall()
            assert "SEARCH posting USING PRIMARY KEY" in plan[-1], plan
            yield lambda tag, k: database.execute(BEST, (tag, k)).fetchall()

    def rows(self, answer: list[Row]) -> list[Row]:
        return answer
