"""Scores with ONNX Runtime: opens a bundle's model, lets it prove itself on the golden segments, then runs it.

Where it stands: `core.bundle` has checked the files, `model_file` what the model may reach. One session, one thread
inside it, and as many runs at a time as `threads` says: measured, that beats threads inside one run.

B windows of a batch, W frames of a window, F codes a frame, S segments, C classes, H embedding size.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from segsearch.core.bundle import Bundle
from segsearch.core.errors import BundleRefused, ConfigError, MissingExtra
from segsearch.core.score_codes import encode_probabilities
from segsearch.core.segments import SEGMENT_FRAMES, segment_starts
from segsearch.service.scoring.micro_batches import MicroBatch, micro_batches
from segsearch.service.scoring.model_file import check_model_file
from segsearch.service.scoring.provider import ProviderChoice, running_provider, wanted_providers
from segsearch.service.scoring.scorer import Scores

Result = TypeVar("Result")

_ROUNDING = 1e-6  # onnxruntime's sigmoid has given 1.0000001, and mixtures add up with rounding
_INPUTS, _OUTPUTS = ("frames", "frame_count"), ("scores", "embedding")


class OnnxScorer:
    """A `Scorer` that runs a bundle's `model.onnx`. Use it as a context manager or `close` it."""

    def __init__(self, bundle: Bundle, *, batch: int = 32, threads: int = 0, provider: ProviderChoice = "auto"):
        """Loads the model; raises BundleRefused unless it reproduces the bundle's golden segments.

        batch: windows in one run of the model. threads: runs at a time; 0 takes one for each core.
        """
        if not 1 <= batch <= 4096:
            raise ConfigError("batch", batch, "1 to 4096 windows")
        if not 0 <= threads <= 1024:
            raise ConfigError("threads", threads, "0 (one a core) to 1024")
        check_model_file(bundle.model_path)
        self._bundle, self._batch = bundle, batch
        self._session = _open_session(bundle, provider)
        self._provider = running_provider(self._session, provider)
        self._threads = threads or _cores()
        _check_signature(bundle, self._session)
        _check_golden(bundle, self._run)
        self._workers = ThreadPoolExecutor(self._threads, thread_name_prefix="scorer")

    def __enter__(self) -> "OnnxScorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Waits for runs under way; nothing can be scored afterwards."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    @property
    def bundle(self) -> Bundle:
        return self._bundle

    @property
    def provider(self) -> str:
        return self._provider

    def score(self, frames: np.ndarray) -> Scores:
        """Scores of one video: frames (T, F) uint8, T at least 1."""
        results = list(self._map(self._run, [frames]))
        probabilities, embeddings = (np.concatenate(parts) for parts in zip(*results, strict=True))
        return Scores(segment_starts(len(frames)), probabilities, embeddings)

    def codes(self, videos: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Score codes of many videos: blocks (S, C) uint16 whose rows are the segments in order."""
        return self._map(self._run_codes, videos)

    def _map(self, work: Callable[[MicroBatch], Result], videos: Iterable[np.ndarray]) -> Iterator[Result]:
        """Works on micro-batches side by side and gives the results in order; only a few wait in memory."""
        waiting: deque[Future[Result]] = deque()
        try:
            for batch in micro_batches(videos, self._bundle.manifest.context_frames, self._batch):
                waiting.append(self._workers.submit(work, batch))
                if len(waiting) > 2 * self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _run_codes(self, batch: MicroBatch) -> np.ndarray:
        return encode_probabilities(self._run(batch)[0])

    def _run(self, batch: MicroBatch) -> tuple[np.ndarray, np.ndarray]:
        """One run of the model: probabilities (B, C) and embeddings (B, H), float32."""
        feed = dict(zip(_INPUTS, batch, strict=True))
        scores, embedding = self._session.run(_OUTPUTS, feed)
        # NaN fails both comparisons.
        if not ((scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING)).all() or not np.isfinite(embedding).all():
            reason = "the model gave a score that is NaN or outside 0 to 1, or an embedding that is not finite"
            raise BundleRefused(self._bundle.directory, reason)
        return np.clip(scores, 0, 1, out=scores), embedding


def _open_session(bundle: Bundle, choice: ProviderChoice) -> Any:
    try:
        import onnxruntime as runtime
    except ImportError:
        raise MissingExtra("serve", "cpu", "onnxruntime") from None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; its warnings speak of optimisations
    providers = wanted_providers(runtime, choice)
    try:
        return runtime.InferenceSession(str(bundle.model_path), options, providers=providers)
    except Exception as error:  # onnxruntime has a dozen exception types without a common base
        reason = f"onnxruntime cannot load {bundle.model_path.name}: {type(error).__name__} {error}"
        raise BundleRefused(bundle.directory, reason) from None


def _check_signature(bundle: Bundle, session: Any) -> None:
    """The model has exactly the inputs and outputs that `core.bundle.Manifest` promises; free axes are allowed."""
    manifest = bundle.manifest
    window = SEGMENT_FRAMES + 2 * manifest.context_frames
    wanted = {
        "frames": ("tensor(uint8)", (None, window, manifest.features.size)),
        "frame_count": ("tensor(int32)", (None,)),
        "scores": ("tensor(float)", (None, manifest.class_count)),
        "embedding": ("tensor(float)", (None, manifest.embedding_size)),
    }
    for kind, names, found in (
        ("inputs", _INPUTS, session.get_inputs()),
        ("outputs", _OUTPUTS, session.get_outputs()),
    ):
        if sorted(value.name for value in found) != sorted(names):
            reason = f"{kind} of the model are {[value.name for value in found]}, wanted {list(names)}"
            raise BundleRefused(bundle.directory, reason)
        for value in found:
            dtype, shape = wanted[value.name]
            if value.type != dtype or not _fits(value.shape, shape):
                reason = f"{value.name} is {value.type}{value.shape}, wanted {dtype}{list(shape)}"
                raise BundleRefused(bundle.directory, reason)


def _fits(found: list[Any], wanted: tuple[int | None, ...]) -> bool:
    """A named or free axis fits any size; a free axis that is wanted must not be fixed."""
    return len(found) == len(wanted) and all(
        not isinstance(axis, int) or axis == size for axis, size in zip(found, wanted, strict=True)
    )


def _check_golden(bundle: Bundle, run: Callable[[MicroBatch], tuple[np.ndarray, np.ndarray]]) -> None:
    """Runs the golden segments, together and each alone, and holds the scores against the bundle's."""
    manifest, golden = bundle.manifest, bundle.manifest.golden
    rows = [slice(None), *(slice(row, row + 1) for row in range(len(golden.windows)))]
    for part in rows:
        try:
            scores, embedding = run(MicroBatch(golden.windows[part], golden.frame_counts[part]))
        except BundleRefused:
            raise
        except Exception as error:  # see _open_session
            reason = f"the model fails on the golden segments: {type(error).__name__} {error}"
            raise BundleRefused(bundle.directory, reason) from None
        wanted = golden.scores[part]
        if scores.shape != wanted.shape or embedding.shape != (len(wanted), manifest.embedding_size):
            reason = f"golden segments gave scores {scores.shape} and embeddings {embedding.shape}"
            raise BundleRefused(bundle.directory, f"{reason}, wanted {wanted.shape} and H {manifest.embedding_size}")
        differences = np.abs(scores - wanted).max(axis=1)
        if not differences.max() <= golden.tolerance:
            segment = (part.start or 0) + int(differences.argmax())
            reason = f"golden segment {segment} differs by {differences.max():.3g}, wanted at most {golden.tolerance:g}"
            raise BundleRefused(bundle.directory, reason)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
