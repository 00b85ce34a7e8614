"""Claim: networks, losses, gradients and optimiser step are the reference systems', to what float32 allows.

Every recording of a reference's network in a folder (`golden/README.md` of the reference data says how they are laid
out) is read by the importer and compared; a table with one row a recording.
- outputs: scores, and of a mix its weights and its towers' scores; from the bytes of the frames on.
- loss terms, where the recording is of a training step; L2 among them.
- gradients, as a share of the variable's largest where that is above 1.
- Adam: the recorded gradients through our optimiser, against the recorded weights after the step.

    python benchmarks/parity.py [--golden ../shared/golden] [--markdown] [--json PATH]
"""

import os
from pathlib import Path

import numpy as np
from report import Measure, arguments, report

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

LIMIT = 1e-5
OUTPUTS = ("predictions", "mix_weights", "aux_predictions")
SHARED = Path(os.environ.get("SEGSEARCH_SHARED") or Path(__file__).resolve().parents[2] / "shared")


def compared(path: Path) -> dict[str, float]:
    """What is compared -> its largest difference, for one recording."""
    from segsearch.training.reference.check import differences
    from segsearch.training.reference.recorded import Recorded

    case = Recorded(path)
    found = differences(case.network, case.reference, case.from_bytes, case.training)
    outputs = [value for name, value in found.items() if name.startswith(OUTPUTS)]
    terms = [value for name, value in found.items() if not name.startswith(OUTPUTS)]
    rows = {"outputs": max(outputs), **({"loss terms": max(terms)} if terms else {})}
    before = case.network.get_weights()
    if expected := case.ours("grad"):
        _, gradients = case.loss_and_gradients()
        rows["gradients"] = max(_share(gradients[path], array) for path, array in expected.items())
    if expected and (after := case.ours("after")):
        case.network.set_weights(before)
        rows["Adam"] = step_difference(case, expected, after)
    return rows


def step_difference(case, gradients: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> float:
    """The recorded gradients through our optimiser, as the recording's step was: learning rate 0.01, clipped to 1."""
    from segsearch.training.config import StageConfig
    from segsearch.training.schedule import optimiser_of

    optimiser = optimiser_of(StageConfig(learning_rate=0.01, clip_norm=1.0))
    variables = case.network.trainable_variables
    optimiser.build(variables)
    optimiser.apply([gradients[case.path_of(variable)] for variable in variables])
    moved = {case.path_of(variable): np.asarray(variable) for variable in variables}
    return max(float(np.abs(array - after[path]).max()) for path, array in moved.items())


def _share(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))


def is_recording(path: Path) -> bool:
    with np.load(path) as arrays:
        return "meta" in arrays.files and {"num_frames", "predictions"} <= set(arrays.files)


def markdown(rows: dict[str, dict[str, float]]) -> str:
    columns = ("outputs", "loss terms", "gradients", "Adam")
    lines = [("recording", *columns), ("---",) * (len(columns) + 1)]
    for name, row in rows.items():
        lines.append((f"`{name}`", *(f"{row[column]:.1e}" if column in row else "" for column in columns)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--golden", type=Path, default=SHARED / "golden", help="folder of recordings")
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/training.md has it")
    options = parser.parse_args()
    rows = {path.stem: compared(path) for path in sorted(options.golden.glob("*.npz")) if is_recording(path)}
    if options.markdown:
        print(markdown(rows))
        return
    measures = [
        Measure(f"{name}, {kind}", value, at_most=LIMIT) for name, row in rows.items() for kind, value in row.items()
    ]
    report("Largest difference from the reference systems", measures, options.json)


if __name__ == "__main__":
    main()
