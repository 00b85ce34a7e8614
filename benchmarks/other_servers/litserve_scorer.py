"""A bundle's `model.onnx` behind LitServe, as somebody would write it who wants the most of it; run as a program.

    python benchmarks/other_servers/litserve_scorer.py BUNDLE PORT [--workers 1] [--threads 1]

Where it stands: `serving_peers` runs it. LitServe has processes of its own for HTTP, for a queue between, and for the
model; a batch is what waits in the queue, 8 videos at most. It would stack them, which videos of different lengths do
not: `batch` puts them one behind the other, as the graph takes them and `segsearch serve` does it, too. Batches of 2 to
16, waits of 0.5 to 20 ms, its other queue and a second process for HTTP took 6 % less of CPU time at best.

A body is the frames' bytes, which spares LitServe JSON: it asks FastAPI for them by its annotation, as LitServe itself
knows JSON and forms. It looks at neither lengths nor limits.
"""

import argparse
import json
from pathlib import Path
from typing import Annotated, Any

import litserve
import numpy as np
import onnxruntime
from fastapi import Body, Response

from segsearch.core.blocks import BlockBatch, Piece, lay_out
from segsearch.core.bundle import MODEL, Bundle
from segsearch.core.features import YOUTUBE8M
from segsearch.core.segments import SEGMENT_FRAMES, segment_count

TOP = 20  # tags of a segment, as many as ours gives
BATCH, WAIT_S = 8, 0.002  # videos

Frames = Annotated[bytes, Body(media_type="application/octet-stream")]
Counts = list[int]  # segments of each video


class Scorer(litserve.LitAPI):
    """Frames (T, F) in, each segment's best tags out."""

    def __init__(self, bundle: Path, threads: int, **how: Any):
        super().__init__(**how)
        self._bundle, self._threads = bundle, threads

    def setup(self, device: str) -> None:  # noqa: ARG002 - the processor
        bundle, options = Bundle.open(self._bundle), onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        model = str(bundle.directory / MODEL)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._context = bundle.manifest.context_frames
        self._tags = [entry.name for entry in bundle.vocabulary.entries]

    def decode_request(self, request: Frames) -> np.ndarray:
        return np.frombuffer(request, np.uint8).reshape(-1, YOUTUBE8M.size)

    def batch(self, inputs: list[np.ndarray]) -> tuple[BlockBatch, Counts]:
        counts = [segment_count(len(frames)) for frames in inputs]
        pieces = [Piece(frames, 0, count) for frames, count in zip(inputs, counts, strict=True)]
        return lay_out(pieces, self._context), counts

    def predict(self, x: tuple[BlockBatch, Counts]) -> tuple[np.ndarray, Counts]:
        laid_out, counts = x
        return self._session.run(["scores"], dict(zip(self._inputs, laid_out, strict=True)))[0], counts

    def unbatch(self, output: tuple[np.ndarray, Counts]) -> list[np.ndarray]:
        scores, counts = output
        return np.split(scores, np.cumsum(counts)[:-1])

    def encode_response(self, output: np.ndarray) -> Response:
        """output: (S, C) probabilities of one video."""
        best = np.argpartition(output, -TOP, axis=1)[:, -TOP:]
        scores = np.take_along_axis(output, best, axis=1)
        order = np.argsort(-scores, axis=1)
        best, scores = (np.take_along_axis(part, order, axis=1).tolist() for part in (best, scores))
        segments = [
            {
                "start_s": place * SEGMENT_FRAMES,
                "tags": [{"tag": self._tags[row], "score": score} for row, score in zip(rows, given, strict=True)],
            }
            for place, (rows, given) in enumerate(zip(best, scores, strict=True))
        ]
        return Response(json.dumps({"segments": segments}), media_type="application/json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int, default=1, help="processes with the model")
    parser.add_argument("--threads", type=int, default=1, help="of a run of it")
    options = parser.parse_args()
    scorer = Scorer(options.bundle, options.threads, max_batch_size=BATCH, batch_timeout=WAIT_S)
    server = litserve.LitServer(scorer, accelerator="cpu", workers_per_device=options.workers, timeout=False)
    server.run(
        host="127.0.0.1", port=options.port, log_level="warning", generate_client_file=False, num_api_servers=1
    )  # fmt: skip


if __name__ == "__main__":
    main()
