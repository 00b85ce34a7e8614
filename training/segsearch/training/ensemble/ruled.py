"""Runs' matrices as the candidate rules have them: copies on disk, so that memory does not follow their size.

Where it stands: `cli` makes them before the members are opened. Rules come before votes: neighbours and videos are
compared by probability, and a rank among a fold's segments is no probability any more.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from segsearch.core.vocabulary import Vocabulary
from segsearch.training.ensemble.candidates import CandidateRules
from segsearch.training.folder import FOLDS
from segsearch.training.score_matrix import ScoreMatrix, VideoScores, write_score_matrix


def ruled_runs(
    runs: Sequence[Path], rules: CandidateRules, names: Sequence[str], vocabulary: Vocabulary, out: Path
) -> list[Path]:
    """Folders below `out`, one a run and named as it, with `fold0/<name>.npz` ... for each name.

    Raises MatrixRefused for a matrix that is missing or damaged.
    """
    copies = []
    for run in runs:
        copies.append(out / run.name)
        for place in (Path(f"fold{fold}") / f"{name}.npz" for fold in range(FOLDS) for name in names):
            (copies[-1] / place).parent.mkdir(parents=True, exist_ok=True)
            write_ruled(ScoreMatrix.open(run / place), rules, vocabulary, copies[-1] / place)
    return copies


def write_ruled(matrix: ScoreMatrix, rules: CandidateRules, vocabulary: Vocabulary, path: Path) -> None:
    """One matrix with the rules applied to every video; it says of itself that it is another than its source."""
    made_by = [matrix.about.checkpoint, dataclasses.asdict(rules)]
    about = dataclasses.replace(matrix.about, checkpoint=hashlib.sha256(json.dumps(made_by).encode()).hexdigest())
    write_score_matrix(path, about, vocabulary, _videos(matrix, rules))


def _videos(matrix: ScoreMatrix, rules: CandidateRules) -> Iterator[VideoScores]:
    ends = np.searchsorted(matrix.segment_videos, np.arange(len(matrix.video_ids)), side="right").tolist()
    for video, first, end in zip(matrix.video_ids.tolist(), [0, *ends], ends, strict=False):
        starts = matrix.segment_starts[first:end].astype(np.int64)
        yield VideoScores(video, starts, rules.of(matrix.codes[first:end], starts))
