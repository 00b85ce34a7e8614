"""Score matrices as training uses them: the format is core's, and folds must go together.

Where it stands: `scoring` makes the rows, `stages` writes one for each fold's held-out videos, and
`segsearch score-matrix` one for any shards; ensembles and second levels read them. No TensorFlow here.
"""

from collections.abc import Sequence

from segsearch.core.errors import MatrixRefused
from segsearch.core.score_matrix import About, ScoreMatrix, VideoScores, write_score_matrix

__all__ = ["About", "ScoreMatrix", "VideoScores", "check_folds", "write_score_matrix"]


def check_folds(matrices: Sequence[ScoreMatrix]) -> None:
    """Raises MatrixRefused unless these are held-out scores of different folds, of one run and vocabulary.

    A video that two folds claim, or a shard that a network learned from, would leak its labels into what comes later.
    """
    first, seen = matrices[0], dict[str, ScoreMatrix]()
    for matrix in matrices:
        about = matrix.about
        if not about.held_out:
            learned = sorted(set(about.shards) & set(about.trained_on))
            raise MatrixRefused(matrix.path, f"its network learned from {learned[0]}", "shards that it has not seen")
        for name in ("run", "vocabulary_digest", "feature_space", "context_frames", "shift"):
            if getattr(about, name) != getattr(first.about, name):
                raise MatrixRefused(matrix.path, f"{name} {getattr(about, name)}", f"{getattr(first.about, name)}")
        for video in matrix.video_ids.tolist():
            if video in seen:
                raise MatrixRefused(matrix.path, f"video {video}, as {seen[video].path} has", "each video in one fold")
            seen[video] = matrix
