"""A billion segments, reckoned from what was measured: bytes, hours, machines, money.

Where it stands: `performance_page` puts the table into the page, whose words say what each row means. Everything that
is not measured is an assumption and stands in `Assumed`.

N segments, C classes, K postings a class.
"""

import math
import re
import textwrap
from dataclasses import dataclass

from page.blocks import WIDTH, Row, number, table
from report import Document
from whole_job.extrapolation import POSTING_BYTES, ROOM
from whole_job.library import FULL_SEGMENTS, FULL_VIDEOS, SHARD_VIDEOS, Size

CLASSES = (1000, 3862)
SELECTED_BYTES = POSTING_BYTES * ROOM  # of a posting while lists fill
HOURS_A_MONTH = 730


@dataclass(frozen=True, slots=True)
class Assumed:
    """The size, the machines, and prices in dollars as clouds have asked for ordinary ones."""

    segments: float = 1e9
    kept: int = 100_000
    machines: int = 10
    cores: int = 16  # of a machine
    network_bits: float = 10e9  # a second
    file_bytes: float = 64e6  # of a large shard
    core_hour: float = 0.04
    thousand_reads: float = 0.0004
    object_tb_month: float = 23.0
    disk_tb_month: float = 80.0
    searches_a_second: float = 1000.0
    replica_cores: int = 4  # for their 16 GB; what two answer was measured


@dataclass(frozen=True, slots=True)
class Measured:
    """What one segment takes, in 1,000 classes."""

    held_ms: float  # a core, by the clock, the whole job long
    head_ms: float  # CPU time of reading pieces and selecting, which one thread does
    shard_bytes: float
    searches_a_second: float | None  # of 100 segments, written anew

    @classmethod
    def of(cls, headline: Document, serving: Document | None) -> "Measured":
        cores = re.search(r"(\d+) cores", headline.machine)
        assert cores, f"{headline.machine}: no count of cores"
        wall_ms = headline.value("whole job at full size, wall") * 60e3
        return cls(
            wall_ms * int(cores[1]) / FULL_SEGMENTS,
            headline.value("ours, pieces") + headline.value("ours, select"),
            headline.value("this run, shards") * 1e9 / headline.value("segments of this run"),
            serving.value("k = 100, ours, anew") if serving else None,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """For so many classes. more: what a segment takes there, as a multiple of 1,000 classes."""

    measured: Measured
    assumed: Assumed
    classes: int
    more: float

    @property
    def frame_tb(self) -> float:
        return self.assumed.segments * self.measured.shard_bytes / 1e12

    @property
    def code_tb(self) -> float:
        return 2 * self.assumed.segments * self.classes / 1e12

    @property
    def list_gb(self) -> float:
        return POSTING_BYTES * self.assumed.kept * self.classes / 1e9

    @property
    def kept_gb(self) -> float:
        """What selection holds of the lists while they fill."""
        return SELECTED_BYTES * self.assumed.kept * self.classes / 1e9

    @property
    def table_gb(self) -> float:
        """Eight bytes a segment, twelve a video."""
        return (8 * self.assumed.segments + 12 * self.videos) / 1e9

    @property
    def videos(self) -> float:
        return self.assumed.segments * FULL_VIDEOS / FULL_SEGMENTS

    @property
    def core_hours(self) -> float:
        return self.assumed.segments * self.measured.held_ms * self.more / 3.6e6

    def hours(self, machines: int) -> float:
        return self.core_hours / (machines * self.assumed.cores)

    @property
    def read_mb_a_second(self) -> float:
        """By each machine."""
        machines = self.assumed.machines
        return self.frame_tb * 1e6 / machines / (3600 * self.hours(machines))

    @property
    def selecting_hours(self) -> float:
        """Of one thread, as it is built."""
        return self.assumed.segments * self.measured.head_ms * self.classes / 1000 / 3.6e6

    @property
    def piece_hours(self) -> float:
        """Of all pieces through one network card, once."""
        return self.code_tb * 8e12 / self.assumed.network_bits / 3600

    @property
    def all_hours(self) -> float:
        return max(self.hours(self.assumed.machines), self.selecting_hours, self.piece_hours)

    @property
    def reads(self) -> float:
        return self.videos / SHARD_VIDEOS

    @property
    def machine_dollars(self) -> float:
        """Those that score, until they have; one that selects, until all is done."""
        return (self.core_hours + self.all_hours * self.assumed.cores) * self.assumed.core_hour

    @property
    def dollars(self) -> float:
        pieces = self.code_tb * self.assumed.disk_tb_month * self.all_hours / HOURS_A_MONTH
        return self.machine_dollars + self.reads / 1000 * self.assumed.thousand_reads + pieces

    @property
    def replica_gb(self) -> float:
        return self.list_gb + self.table_gb

    @property
    def replicas(self) -> int:
        """One to spare."""
        assert self.measured.searches_a_second is not None
        return math.ceil(self.assumed.searches_a_second / self.measured.searches_a_second) + 1

    @property
    def serving_dollars(self) -> float:
        """A month."""
        return self.replicas * self.assumed.replica_cores * self.assumed.core_hour * HOURS_A_MONTH


def block(headline: Document, scaling: Document | None, serving: Document | None) -> str:
    measured, assumed = Measured.of(headline, serving), Assumed()
    plans = [Plan(measured, assumed, classes, more(classes, scaling)) for classes in CLASSES]
    source = "as measured" if scaling else "reckoned by operations, not measured yet"
    words = (
        f"A segment holds a core for {number(measured.held_ms)} ms by the clock; in 3,862 classes "
        f"{number(plans[1].more)} times as long, {source}. {ray_words(scaling)}"
    )
    head = ("what", *(f"{plan.classes:,} classes" for plan in plans))
    return f"{textwrap.fill(words, WIDTH)}\n\n{table(head, rows(plans, assumed))}"


def ray_words(scaling: Document | None) -> str:
    if scaling is None:
        return "What Ray adds is not measured here yet, and not in the table."
    times = scaling.value("two Ray actors / this process, wall")
    return (
        f"Two Ray actors took {number(times)} times as long as one process, starting them included: not in the table."
    )


def more(classes: int, scaling: Document | None) -> float:
    if scaling:
        return scaling.value(f"{classes:,} classes / 1,000, CPU")
    return Size(classes=classes).operations / Size().operations


def rows(plans: list[Plan], assumed: Assumed) -> list[Row]:
    machines, gbit = assumed.machines, f"{assumed.network_bits / 1e9:g} Gbit/s"
    told = {
        "frames, in shards": lambda p: f"{number(p.frame_tb)} TB",
        "videos": lambda p: f"{number(p.videos / 1e6)} million",
        "score codes of everything, as pieces": lambda p: f"{number(p.code_tb)} TB",
        "posting lists": lambda p: f"{number(p.list_gb)} GB",
        "segment table": lambda p: f"{number(p.table_gb)} GB",
        "core hours": lambda p: number(p.core_hours),
        f"scoring, one machine of {assumed.cores} cores": lambda p: f"{number(p.hours(1))} h",
        f"scoring, {machines} of them": lambda p: f"{number(p.hours(machines))} h",
        f"each of the {machines} reads": lambda p: f"{number(p.read_mb_a_second)} MB/s",
        f"all pieces through one card of {gbit}": lambda p: f"{number(p.piece_hours)} h",
        "reading pieces and selecting, one thread": lambda p: f"{number(p.selecting_hours)} h",
        f"the whole reindex, {machines} machines that score and one that selects": lambda p: f"{number(p.all_hours)} h",
        "requests, 12 videos a file": lambda p: f"{number(p.reads / 1e6)} million",
        f"requests, files of {assumed.file_bytes / 1e6:g} MB": lambda p: number(p.frame_tb * 1e12 / assumed.file_bytes),
        "one reindex, machines": lambda p: f"{number(p.machine_dollars)} dollars",
        "one reindex, with requests and room for pieces": lambda p: f"{number(p.dollars)} dollars",
        "keeping frames, a month": lambda p: f"{number(p.frame_tb * assumed.object_tb_month)} dollars",
        "keeping every score code, too, a month": lambda p: f"{number(p.code_tb * assumed.object_tb_month)} dollars",
        "memory of who selects: lists that fill": lambda p: f"{number(p.kept_gb)} GB",
        "a replica's files": lambda p: f"{number(p.replica_gb)} GB",
        f"fetching them at {gbit}": lambda p: f"{number(p.replica_gb * 8e9 / assumed.network_bits)} s",
    }
    if plans[0].measured.searches_a_second is None:
        told["searches a second that one replica answers"] = lambda _: "*not measured yet*"
    else:
        told |= {
            "searches a second that one replica answers": lambda p: number(p.measured.searches_a_second),
            f"replicas for {number(assumed.searches_a_second)} a second, one to spare": lambda p: str(p.replicas),
            "these replicas, a month": lambda p: f"{number(p.serving_dollars)} dollars",
        }
    return [(what, *map(tell, plans)) for what, tell in told.items()]
