"""Claim: streaming selection of each class's best K costs little beside scoring, and far less than sorting everything.

Both sides take the same score codes: ours in blocks of 32 segments, as micro-batches come, the other all at once by a
stable sort. The other yardstick is one pass that only reads the codes.

    python benchmarks/selection.py [--segments 200000] [--classes 100] [--keep 10000] [--json PATH]
"""

import numpy as np
from report import Measure, arguments, cpu_times, report

from segsearch.service.index.selection import Selection, select_plain

BLOCK_SEGMENTS = 32


def streaming(codes: np.ndarray, keep: int) -> list[tuple[np.ndarray, np.ndarray]]:
    selection = Selection(codes.shape[1], keep)
    for first in range(0, len(codes), BLOCK_SEGMENTS):
        selection.add(codes[first : first + BLOCK_SEGMENTS])
    return list(selection.ranked())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--segments", type=int, default=200_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--keep", type=int, default=10_000)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    # Logits around -8 with a deviation of 2, as a trained model gives them for rare classes.
    codes = random.normal(24_576, 2_048, (options.segments, options.classes)).astype(np.uint16)
    ours, sorting = cpu_times(
        lambda: streaming(codes, options.keep), lambda: select_plain(codes, options.keep), rounds=3
    )
    _, reading = cpu_times(lambda: None, lambda: codes.max(), rounds=3)
    measures = [
        Measure("streaming / stable sort of everything, CPU time", ours / sorting, at_most=0.5),
        Measure("streaming, a thousand classes", ours / options.segments / options.classes * 1e9, "µs CPU a segment",
                at_most=60),
        Measure("streaming / one pass that reads", ours / reading),
    ]  # fmt: skip
    report(
        f"Best {options.keep:,} of {options.segments:,} segments in {options.classes} classes", measures, options.json
    )


if __name__ == "__main__":
    main()
