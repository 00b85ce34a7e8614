"""The facts for the student's model card: what `export.model_card` needs and the bundle does not know of itself."""

import json
from pathlib import Path

from segsearch.core.files import write_atomically
from segsearch.training.student.findings import Findings, cost_of


def write_facts(findings: Findings, path: Path) -> None:
    """Writes them as JSON; figures stand beside their split."""
    levels = findings.levels
    seeds = f", mean over {len(findings.lines)} seeds" if len(findings.lines) > 1 else ""
    quality = [
        {"model": level.name, "value": value, "metric": f"{metric}{seeds}", "split": "validate, five folds by file"}
        for level in (levels[name] for name in ("student", "twin", "ensemble"))
        for metric, value in (
            ("rated MAP@100k, mean of folds", level.mean),
            ("rated MAP@100k, pooled", float(level.pooled.mean())),
            ("dense MAP@100k, mean of folds", float(level.dense.mean())),
        )
    ]
    words = (
        f"{cost_of(levels['student']).cpu_us:.0f} µs of one core a segment in float32, as TensorFlow computes it in "
        "batches of 512 on the machine that trained it. What a whole library takes, `segsearch reindex` tells."
    )
    write_atomically(path, json.dumps({**CARD, "cost": words, "quality": quality}, indent=1) + "\n")


CARD = {
    "use": "Ranking five-second segments of videos by sound, for search by tag. The score of a segment is comparable "
    "with that of other segments of the same class.",
    "limits": "100 classes of sound; no picture is seen. Scores are no calibrated probabilities, and scores of "
    "different classes are not comparable. Segments that people never rated were labelled by an ensemble, so what the "
    "ensemble gets wrong everywhere, the student has learned. Classes with a dozen ratings (bicycle, sirens, electric "
    "toothbrush) are judged by chance as much as by skill. Not for surveillance, nor for decisions about persons.",
    "data": "AudioSet-Segments: AudioSet clips joined into videos, as VGGish features; 1,600 videos with video labels, "
    "709 with rated segments, 659 without labels. Ratings of the DCASE 2017 and 2018 tasks. The teachers' scores of "
    "the unlabelled videos were learned from as well, so that these are not unseen.",
    "licence": "AudioSet (Gemmeke et al., 2017), Google: CC BY 4.0; its ontology CC BY-SA 4.0; ratings as kept in "
    "DESED (MIT) and DCASE 2017 task 4 (Apache-2.0). Keep this attribution with the model.",
    "protocol": "Two stages: video labels, then every segment with the scores of an ensemble and people's ratings "
    "where there are any. Judged in five folds by file: a fold's student and all of its teachers knew nothing of the "
    "fold's ratings, and the student none of its videos. It took one epoch; of the models compared with it the best "
    "of ten on the fold counts. Dense: rated positives against rated negatives and all segments of videos that do not "
    "carry the class. The exported model, from seed 0, learned from all five folds and was not judged by itself.",
}
