"""Claim: the 100 nearest of 200,000 segments are found, but for one in twenty, in a tenth of the time of comparing all.

Embeddings of 256 in clusters, as those of a library are: centres, what varies within them along 24 directions, and a
little noise. Queries come from the same clusters and are not in the library. One side is the index that a generation of
this size gets, asked as `/similar` asks it, one query at a time: FAISS for candidates, their embeddings read from the
mapped file and compared. The other is FAISS's flat index of float32, one query at a time. One thread each.

    python benchmarks/similar.py [--segments 200000] [--size 256] [--queries 200] [--kind ivf-pq] [--json PATH]
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from report import Measure, arguments, cpu_times, report

from segsearch.service.index.format import NEIGHBOURS
from segsearch.service.index.neighbour_building import build
from segsearch.service.index.neighbours import CandidatesCompared, import_faiss, nearest
from segsearch.service.index.vectors import packed, unit

NEAREST = 100
CLUSTERS, DIRECTIONS = 500, 24


def made_up(count: int, size: int) -> np.ndarray:
    """(count, size) float32."""
    random = np.random.default_rng(0)
    centres = random.normal(0, 1, (CLUSTERS, size)).astype(np.float32)
    directions = random.normal(0, 1, (DIRECTIONS, size)).astype(np.float32)
    within = random.normal(0, 0.3, (count, DIRECTIONS)).astype(np.float32) @ directions
    noise = random.normal(0, 0.2, (count, size)).astype(np.float32)
    return centres[random.integers(0, CLUSTERS, count)] + within + noise


def everybody(ordinals: np.ndarray) -> np.ndarray:
    return np.ones(len(ordinals), bool)


def flat_of(faiss: Any, embeddings: np.ndarray) -> Any:
    """FAISS's flat index of the embeddings as they are kept."""
    flat = faiss.IndexFlatIP(embeddings.shape[1])
    flat.add(unit(embeddings))
    return flat


def measure(options: Any, folder: Path) -> list[Measure]:
    faiss = import_faiss("benchmark")
    vectors = made_up(options.segments + options.queries, options.size)
    np.save(folder / "embeddings.npy", packed(vectors[: options.segments]))
    embeddings, queries = np.load(folder / "embeddings.npy", mmap_mode="r"), unit(vectors[options.segments :])
    started = time.process_time()
    about = build(folder, embeddings, options.kind)
    building_s = time.process_time() - started
    assert about.parameters is not None, "so few are all compared: nothing to measure"

    faiss.omp_set_num_threads(1)
    comparison = CandidatesCompared(faiss.read_index(str(folder / NEIGHBOURS)), about.parameters, embeddings)
    flat = flat_of(faiss, embeddings)

    def ours() -> list[np.ndarray]:
        return [nearest(comparison, query, NEAREST, everybody).ordinals for query in queries]

    def theirs() -> list[np.ndarray]:
        return [flat.search(query[None], NEAREST)[1][0] for query in queries]

    shared = [len(np.intersect1d(*pair)) for pair in zip(ours(), theirs(), strict=True)]
    ours_s, theirs_s = cpu_times(ours, theirs, rounds=options.rounds)
    probing = about.parameters
    return [
        Measure(f"recall of the {NEAREST} nearest", sum(shared) / (NEAREST * len(queries)), at_least=0.95),
        Measure("the worst query's recall", min(shared) / NEAREST),
        Measure("index / flat, CPU time", ours_s / theirs_s, at_most=0.1),
        Measure("recall that the manifest tells", about.recall),
        Measure("index, a query", ours_s / len(queries) * 1e3, "ms CPU"),
        Measure("flat, a query", theirs_s / len(queries) * 1e3, "ms CPU"),
        Measure("building, tuning and measuring", building_s, "s CPU"),
        Measure("index in memory", (folder / NEIGHBOURS).stat().st_size / 1e6, "MB"),
        Measure("cells", probing.cells),
        Measure("cells looked into, at least", probing.probes),
        Measure("candidates compared for each one wanted", probing.candidates),
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--segments", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument(
        "--kind", choices=("ivf-sq8", "ivf-pq", "pq-scan"), help="by the number of segments unless told"
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measures = measure(options, Path(folder))
    kind = options.kind or "the kind of this size"
    report(f"Neighbours among {options.segments:,} embeddings of {options.size}, {kind}", measures, options.json)


if __name__ == "__main__":
    main()
