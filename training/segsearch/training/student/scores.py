"""`python -m segsearch.training.student.scores RUN`: everything that a run's five networks have to say to a student.

Where it stands: `segsearch score-matrix` for all folds and shards of a run at once, so that TensorFlow starts once; a
matrix that is there and of the fold's checkpoint is left alone. `line` calls it. Beside the matrices lies `cost.json`.

    fold0/matrix.npz    the fold's own videos, as `segsearch train` left them
    fold0/learned.npz   the other folds' rated shards
    fold0/train.npz     shards with video labels only
    fold0/test.npz      shards of which nothing is known
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from segsearch.core.errors import MatrixRefused, SegsearchError
from segsearch.core.files import write_atomically
from segsearch.core.progress import say
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.training.checkpoint import Checkpoint
from segsearch.training.ensemble.members import MATRIX
from segsearch.training.folder import FOLDS, DataFolder
from segsearch.training.score_matrix import ScoreMatrix

COST, COST_SEGMENTS, COST_PASSES = "cost.json", 512, 5


def score_run(run: Path, data: DataFolder, out: Path) -> None:
    """Writes what is missing below `out`, and `cost.json` last: then all is there."""
    from segsearch.training.scoring import write_matrix

    for fold in range(FOLDS):
        source, folder = run / f"fold{fold}", out / f"fold{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = Checkpoint.load(source)
        _copy(source / MATRIX, folder / MATRIX)
        missing = {name: shards for name, shards in _shards(data, fold) if not _is_of(folder / name, checkpoint)}
        network = checkpoint.build_network() if missing else None
        for name, shards in missing.items():
            count = write_matrix(folder / name, checkpoint, shards, network=network)
            say(f"{out.name}: fold {fold}, {count} segments in {name}")
    write_cost(run, out)


def write_cost(run: Path, out: Path) -> None:
    """`cost.json` of a run's networks, which are alike."""
    write_atomically(out / COST, json.dumps(cost_of(Checkpoint.load(run / "fold0"))) + "\n")


def cost_of(checkpoint: Checkpoint) -> dict[str, float]:
    """What one network costs: CPU seconds a segment and numbers it holds, in float32 as training runs it.

    The best of a few passes over windows of noise: how long a pass takes does not depend on what it sees.
    """
    from segsearch.training.scoring import scores_of

    network = checkpoint.build_network()
    width = SEGMENT_FRAMES + 2 * checkpoint.context_frames
    codes = np.random.default_rng(0).integers(0, 256, (COST_SEGMENTS, width, checkpoint.features.size), np.uint8)
    counts = np.full(COST_SEGMENTS, width, np.int32)
    seconds = []
    for _ in range(COST_PASSES + 1):  # the first one compiles
        started = time.process_time()
        scores_of(network, codes, counts).numpy()
        seconds.append(time.process_time() - started)
    parameters = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    return {"cpu_seconds_per_segment": min(seconds[1:]) / COST_SEGMENTS, "parameters": parameters}


def _shards(data: DataFolder, fold: int) -> Iterator[tuple[str, tuple[Path, ...]]]:
    yield "learned.npz", data.fold(fold)[0]
    yield "test.npz", data.unlabelled
    yield "train.npz", data.train


def _copy(source: Path, target: Path) -> None:
    """Copies a file, unless the copy is the newer one."""
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        shutil.copyfile(source, target)


def _is_of(path: Path, checkpoint: Checkpoint) -> bool:
    try:
        return ScoreMatrix.open(path).about.checkpoint == checkpoint.digest
    except MatrixRefused:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m segsearch.training.student.scores", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run trained with --fold all")
    parser.add_argument("--data", required=True, help="data folder, as of `segsearch train`")
    parser.add_argument("--out", type=Path, required=True, help="folder for the matrices")
    parser.add_argument("--cost-only", action="store_true", help="score nothing; measure what a network costs")
    options = parser.parse_args()
    try:
        if options.cost_only:
            write_cost(options.run, options.out)
            return 0
        score_run(options.run, DataFolder.open(options.data, with_unlabelled=True), options.out)
    except SegsearchError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
