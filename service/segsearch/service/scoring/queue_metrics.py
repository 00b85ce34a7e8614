"""What is counted of the queue before the model. It outlives the scorers that one queue after another stands before.

Where it stands: `batching_scorer` counts, `rest.metrics` shows.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_WAITS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class QueueMetrics:
    """Belongs to no registry until somebody puts it into one."""

    def __init__(self) -> None:
        self.frames = Gauge("segsearch_queue_frames", "Frames that wait or are being scored.", registry=None)
        self.videos = Gauge("segsearch_queue_videos", "Videos that wait or are being scored.", registry=None)
        self.wait = Histogram(
            "segsearch_queue_wait_seconds", "From a video's arrival to the run that takes its first segments.",
            buckets=_WAITS_S, registry=None,
        )  # fmt: skip
        self.batch = Histogram(
            "segsearch_batch_segments", "Segments that go through the model together.", buckets=_SIZES, registry=None
        )
        self.device = Counter("segsearch_device_seconds", "What runs of the model took, side by side.", registry=None)
        self.dropped = Counter(
            "segsearch_queue_dropped", "Videos that were not scored: `full`, `left` by their caller, `late`, `failed`.",
            ("reason",), registry=None,
        )  # fmt: skip
        self.all: Final = (self.frames, self.videos, self.wait, self.batch, self.device, self.dropped)
