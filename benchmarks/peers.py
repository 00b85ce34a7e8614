"""Claim: `search(tag, k)` is ten times as fast as the fastest of four databases that hold the same postings.

`SegmentLibrary.search` in this process, video ids in the answer, against PostgreSQL (an index-only scan), Redis (a
sorted set a class), SQLite and DuckDB, each as it does this best (`databases/`); the servers are started here, behind
sockets of this machine. Each gives video ids, start frames and scores as its client gives them to Python. A database is
handed the class's number, where `search` looks up the tag's name. Our side stands in the table twice: asked for the
first time, by a library that remembers no pages, and asked again, by one that does (`page_memory`).

All answers are compared first. Then everybody answers the same questions, round after round, each in turn; a figure is
the median of the rounds. What is not installed is named in the table, with the command that installs it.

    python benchmarks/peers.py [--classes 20] [--postings 100000] [--segments 1000000] [--rounds 7] [--json PATH]

With 1,000 classes, as large as the paper's, loading takes an hour and Redis 12 GB.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from databases.duck import DuckDb
from databases.peer import Peer, Postings, Row, Search
from databases.postgresql import PostgreSql
from databases.redis_server import Redis
from databases.sqlite import Sqlite
from random_library import search_of, searching, write_index
from report import Measure, arguments, report

from segsearch.service.index.index_directory import IndexDirectory

PEERS: Sequence[Peer] = (PostgreSql(), Redis(), Sqlite(), DuckDb())
OURS = {"again": True, "first": False}  # asked again of the same moment, as popular tags are, and for the first time
QUESTIONS = {100: 1_000, 10_000: 200}  # by k: how many a round
SHARES = {"median": 50, "99th percentile": 99}


@dataclass(frozen=True, slots=True)
class Times:
    """One side's rounds at one k, in microseconds."""

    wall: np.ndarray  # (rounds, questions)
    cpu: np.ndarray  # (rounds,), of this process, each question's share

    def percentile(self, share: int) -> float:
        return float(np.median(np.percentile(self.wall, share, axis=1)))


def our_rows(search: Search, tag: int, k: int) -> list[Row]:
    page = search(tag, k)
    return list(zip(page.video_ids, page.starts.tolist(), page.codes.tolist(), strict=True))


def check_same(ours: Sequence[Row], theirs: Sequence[Row], name: str) -> None:
    """Raises unless both say the same, but for the order among equal scores, and which of these are the last ones."""
    last = ours[-1][2]
    assert [code for *_, code in ours] == [code for *_, code in theirs], name
    assert {row for row in ours if row[2] > last} == {row for row in theirs if row[2] > last}, name


def ask(search: Search, tags: Sequence[int], k: int) -> tuple[np.ndarray, float]:
    """Microseconds of each question, and what one cost this process in CPU time."""
    wall = np.empty(len(tags))
    began = time.process_time()
    for place, tag in enumerate(tags):
        started = time.perf_counter()
        search(tag, k)
        wall[place] = time.perf_counter() - started
    return wall * 1e6, (time.process_time() - began) / len(tags) * 1e6


def in_turn(searches: dict[str, Search], class_count: int, k: int, rounds: int) -> dict[str, Times]:
    """Everybody's times; a first round is thrown away, and each round begins with another side."""
    random = np.random.default_rng(k)
    found = {name: ([], []) for name in searches}
    names = list(searches)
    for number in range(rounds + 1):
        tags = random.integers(class_count, size=QUESTIONS[k]).tolist()
        for name in names[number % len(names) :] + names[: number % len(names)]:
            wall, cpu = ask(searches[name], tags, k)
            if number:
                found[name][0].append(wall)
                found[name][1].append(cpu)
    return {name: Times(np.array(wall), np.array(cpu)) for name, (wall, cpu) in found.items()}


def measures_of(k: int, times: dict[str, Times]) -> list[Measure]:
    theirs = {name: side for name, side in times.items() if name not in OURS}
    measures = []
    for ours, (what, share) in product(OURS, SHARES.items()):
        own = times[ours].percentile(share)
        ratios = {name: side.percentile(share) / own for name, side in theirs.items()}
        fastest = min(ratios, key=ratios.__getitem__)
        measures += [
            Measure(f"k = {k:,}, {ours}, {what}", own, "µs"),
            Measure(f"k = {k:,}, {ours}, {what}, fastest ({fastest}) / ours", ratios[fastest], at_least=10),
            *(Measure(f"k = {k:,}, {ours}, {what}, {name} / ours", ratio) for name, ratio in ratios.items()),
        ]
    for ours in OURS:
        measures.append(Measure(f"k = {k:,}, {ours}, CPU time", float(np.median(times[ours].cpu)), "µs"))
    return measures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--postings", type=int, default=100_000, help="of each class, 10,000 or more")
    parser.add_argument("--segments", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    missing = {peer.name: command for peer in PEERS if (command := peer.missing())}
    measures = [Measure(f"{name} is missing: {command}", 0, "found", at_least=1) for name, command in missing.items()]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        root = Path(scratch, "index")
        root.mkdir()
        write_index(root, options.classes, options.segments, options.postings)
        searches = {name: search_of(searching(root, remembers=remembers)) for name, remembers in OURS.items()}
        postings = Postings(IndexDirectory(root).open_current())
        for peer in PEERS:
            if peer.name not in missing:
                folder = Path(scratch, peer.name)
                folder.mkdir()
                search = stack.enter_context(peer.loaded(folder, postings))
                for tag in range(min(options.classes, 5)):
                    for ours in OURS:
                        check_same(our_rows(searches[ours], tag, 1_000), peer.rows(search(tag, 1_000)), peer.name)
                searches[peer.name] = search
        for k in QUESTIONS:
            measures += measures_of(k, in_turn(searches, options.classes, k, options.rounds))
    report(f"search in process, {options.classes:,} lists of {options.postings:,}", measures, options.json)


if __name__ == "__main__":
    main()
