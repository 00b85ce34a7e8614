"""An ONNX Runtime session with its bundle at hand, so that what goes wrong can be said.

Where it stands: `model` asks for outputs by name; this file opens the model file, on the provider that can be had, and
looks at what comes out.

S segments, C classes, H embedding size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from threading import Timer
from typing import Any

import numpy as np

from segsearch.core.bundle import Bundle, Graph
from segsearch.core.errors import BundleRefused, MissingExtra, OutputNotFinite, ScoringFailed
from segsearch.core.progress import say
from segsearch.service.scoring.device_runs import DeviceRuns
from segsearch.service.scoring.model_file import check_model_file
from segsearch.service.scoring.provider import (
    ProviderChoice,
    device_of,
    load_libraries,
    running_provider,
    wanted_providers,
    with_options,
)
from segsearch.service.scoring.runs import PlainRuns, Runs, is_failure
from segsearch.service.scoring.signature import CLASS_CODES, EMBEDDING, SCORES, SOUND, Signature

_ROUNDING = 1e-6  # onnxruntime's sigmoid has given 1.0000001, and mixtures add up with rounding


class Session:
    """A model that runs. With several sessions inside, runs go to them in turn; safe from several threads."""

    def __init__(self, bundle: Bundle, graph: Graph, provider: ProviderChoice, threads: int = 1, sessions: int = 1):
        """Raises BundleRefused for a file that is unsafe, damaged, or has another signature.

        threads: inside one run. sessions: how often the model is loaded.
        """
        check_model_file(bundle.path_of(graph))
        try:
            import onnxruntime as runtime
        except ImportError:
            raise MissingExtra("serve", "cpu", "onnxruntime") from None
        self._directory = bundle.directory
        self.signature = Signature.of(bundle, graph)
        opened = [_open(runtime, bundle, graph, provider, threads) for _ in range(sessions)]
        self.signature.check(bundle, graph, opened[0])
        self.provider = running_provider(opened[0], provider)
        self._options = runtime.RunOptions()
        self._options.only_execute_path_to_fetches = True
        self._runs = [runs_of(runtime, session, self._options, self.signature, self.provider) for session in opened]
        self._turn = count()

    @contextmanager
    def limited(self, limit_s: float) -> Iterator[None]:
        """Ends runs that are under way after so many seconds: they raise, and so do all that come later."""
        timer = Timer(limit_s, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self) -> None:
        self._options.terminate = True

    def run(self, names: Sequence[str], batch: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Outputs by name; `batch` holds the inputs in the signature's order.

        Raises ScoringFailed where it fails and may go well another time.
        """
        runs = self._runs[next(self._turn) % len(self._runs)]
        try:
            return runs(names, dict(zip(self.signature.inputs, batch, strict=True)))
        except Exception as error:  # onnxruntime has a dozen exception types without a common base
            if not is_failure(error):
                raise
            raise ScoringFailed(f"{type(error).__name__} {error}") from error

    def scores(self, batch: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (S, C) and embeddings (S, H) float32; raises OutputNotFinite for what is none."""
        scores, embedding = self.run((SCORES, EMBEDDING), batch)
        if not ((scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING)).all():  # NaN fails both comparisons
            raise OutputNotFinite(self._directory, "the model gave a score that is NaN or outside 0 to 1")
        if not np.isfinite(embedding).all():
            raise OutputNotFinite(self._directory, "the model gave an embedding that is NaN or infinite")
        return np.clip(scores, 0, 1, out=scores), embedding

    def codes(self, name: str, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Score codes as the graph makes them; raises OutputNotFinite where they stand for no score."""
        codes, sound = self.run((name, SOUND), batch)
        self._check_sound(sound)
        return codes

    def codes_and_embeddings(self, batch: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The same by class (C, S), with embeddings (S, H) float32."""
        codes, sound, embeddings = self.run((CLASS_CODES, SOUND, EMBEDDING), batch)
        self._check_sound(sound)
        return codes, embeddings

    def _check_sound(self, sound: np.ndarray) -> None:
        if not sound.all():  # a code cannot say that it was NaN
            raise OutputNotFinite(self._directory, "the model gave a score or an embedding that is NaN or infinite")


def runs_of(runtime: Any, session: Any, options: Any, signature: Signature, provider: str) -> Runs:
    """How arrays come to a session's model: by way of a device's memory where it runs on one."""
    device = device_of(provider)
    return DeviceRuns(runtime, session, options, signature, device) if device else PlainRuns(session, options)


def _open(runtime: Any, bundle: Bundle, graph: Graph, choice: ProviderChoice, threads: int) -> Any:
    """A session on the first of the wanted providers that starts."""
    lists = wanted_providers(runtime, choice)
    for place, providers in enumerate(lists):
        load_libraries(runtime, providers)
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors; its warnings speak of optimisations
        try:
            return runtime.InferenceSession(str(bundle.path_of(graph)), options, providers=with_options(providers))
        except Exception as error:  # onnxruntime has a dozen exception types without a common base
            reason = f"onnxruntime cannot load {graph.file}: {type(error).__name__} {error}"
        if place + 1 < len(lists):
            say(f"{providers[0]} does not start, trying {lists[place + 1][0]}: {reason}")
    raise BundleRefused(bundle.directory, reason)
