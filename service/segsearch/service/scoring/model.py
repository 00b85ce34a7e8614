"""One model of a bundle, opened: how videos are cut for it, what goes in, what comes out.

Where it stands: `onnx_scorer` decides how many run at a time; `golden_check` lets a model prove itself. There are two
layouts: a graph of windows takes each segment's window by itself, a graph of blocks takes whole videos and works on
each frame once.

S segments of a batch, C classes, H embedding size.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

import numpy as np

from segsearch.core.blocks import batches_of_pieces, lay_out, reach
from segsearch.core.bundle import Bundle, Graph
from segsearch.core.errors import BundleRefused, MissingExtra
from segsearch.core.score_codes import encode_probabilities
from segsearch.core.segments import SEGMENT_FRAMES
from segsearch.service.scoring.micro_batches import micro_batches
from segsearch.service.scoring.model_file import check_model_file
from segsearch.service.scoring.provider import ProviderChoice, running_provider, wanted_providers

_ROUNDING = 1e-6  # onnxruntime's sigmoid has given 1.0000001, and mixtures add up with rounding
_SCORES, _EMBEDDING, _CODES, _CLASS_CODES = "scores", "embedding", "codes", "class_codes"

Batch = Sequence[np.ndarray]  # the model's inputs, in order


class Model(Protocol):
    """Safe to run from several threads at a time."""

    @property
    def provider(self) -> str:
        """What really runs the model, as ONNX Runtime names it."""

    def batches(self, videos: Iterable[np.ndarray], size: int, piece: int) -> Iterator[Batch]:
        """The segments of videos (T, F) uint8, in order, about `size` in a batch.

        piece: a video of more segments than this is cut, which bounds memory and lets several runs share it.
        """

    def scores(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (S, C) and embeddings (S, H), float32."""

    def codes(self, batch: Batch, *, by_class: bool) -> np.ndarray:
        """Score codes (S, C) uint16, or (C, S)."""


def open_model(bundle: Bundle, graph: Graph, provider: ProviderChoice) -> Model:
    """Loads the graph's file; raises BundleRefused for one that is unsafe, damaged, or has another signature."""
    return (BlockModel if graph.layout == "blocks" else WindowModel)(bundle, graph, provider)


class WindowModel:
    """A graph of windows: each segment's window is worked on by itself."""

    INPUTS: Final = ("frames", "frame_count")
    OUTPUTS: Final = (_SCORES, _EMBEDDING)

    def __init__(self, bundle: Bundle, graph: Graph, provider: ProviderChoice):
        manifest = bundle.manifest
        self._context = manifest.context_frames
        window = SEGMENT_FRAMES + 2 * self._context
        signature = {
            "frames": ("tensor(uint8)", (None, window, manifest.features.size)),
            "frame_count": ("tensor(int32)", (None,)),
            **_scores_signature(bundle),
        }
        self._session = _Session(bundle, graph, provider, self.INPUTS, self.OUTPUTS, signature)

    @property
    def provider(self) -> str:
        return self._session.provider

    def batches(self, videos: Iterable[np.ndarray], size: int, piece: int) -> Iterator[Batch]:  # noqa: ARG002
        return micro_batches(videos, self._context, size)

    def scores(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        return self._session.scores(batch)

    def codes(self, batch: Batch, *, by_class: bool) -> np.ndarray:
        codes = encode_probabilities(self.scores(batch)[0])
        return np.ascontiguousarray(codes.T) if by_class else codes


class BlockModel:
    """A graph of blocks: whole videos, each frame worked on once, score codes made inside."""

    INPUTS: Final = ("frames", "block_frames", "windows")
    OUTPUTS: Final = (_SCORES, _CODES, _CLASS_CODES, _EMBEDDING)

    def __init__(self, bundle: Bundle, graph: Graph, provider: ProviderChoice):
        manifest = bundle.manifest
        self._context = manifest.context_frames
        signature = {
            "frames": ("tensor(uint8)", (None, manifest.features.size)),
            "block_frames": ("tensor(int32)", (None,)),
            "windows": ("tensor(int32)", (None, 2 * reach(self._context) + 1)),
            _CODES: ("tensor(uint16)", (None, manifest.class_count)),
            _CLASS_CODES: ("tensor(uint16)", (manifest.class_count, None)),
            **_scores_signature(bundle),
        }
        self._session = _Session(bundle, graph, provider, self.INPUTS, self.OUTPUTS, signature)

    @property
    def provider(self) -> str:
        return self._session.provider

    def batches(self, videos: Iterable[np.ndarray], size: int, piece: int) -> Iterator[Batch]:
        for pieces in batches_of_pieces(videos, self._context, size, piece):
            yield lay_out(pieces, self._context)

    def scores(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        return self._session.scores(batch)

    def codes(self, batch: Batch, *, by_class: bool) -> np.ndarray:
        codes, embedding = self._session.run((_CLASS_CODES if by_class else _CODES, _EMBEDDING), batch)
        self._session.check_finite(embedding)  # a code cannot say that it was NaN
        return codes


class _Session:
    """An ONNX Runtime session with its bundle at hand, so that what goes wrong can be said."""

    def __init__(
        self,
        bundle: Bundle,
        graph: Graph,
        provider: ProviderChoice,
        inputs: Sequence[str],
        outputs: Sequence[str],
        signature: dict[str, tuple[str, tuple[int | None, ...]]],
    ):
        check_model_file(bundle.path_of(graph))
        try:
            import onnxruntime as runtime
        except ImportError:
            raise MissingExtra("serve", "cpu", "onnxruntime") from None
        self._directory, self._inputs = bundle.directory, inputs
        self._session = _open_session(runtime, bundle, graph, provider)
        self.provider = running_provider(self._session, provider)
        self._options = runtime.RunOptions()
        self._options.only_execute_path_to_fetches = True
        _check_signature(bundle, graph, self._session, inputs, outputs, signature)

    def run(self, names: Sequence[str], batch: Batch) -> list[np.ndarray]:
        feed = dict(zip(self._inputs, batch, strict=True))
        found: list[np.ndarray] = self._session.run(list(names), feed, self._options)
        return found

    def scores(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        scores, embedding = self.run((_SCORES, _EMBEDDING), batch)
        if not ((scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING)).all():  # NaN fails both comparisons
            raise BundleRefused(self._directory, "the model gave a score that is NaN or outside 0 to 1")
        self.check_finite(embedding)
        return np.clip(scores, 0, 1, out=scores), embedding

    def check_finite(self, embedding: np.ndarray) -> None:
        if not np.isfinite(embedding).all():
            raise BundleRefused(self._directory, "the model gave an embedding that is NaN or infinite")


def _open_session(runtime: Any, bundle: Bundle, graph: Graph, choice: ProviderChoice) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; its warnings speak of optimisations
    providers = wanted_providers(runtime, choice)
    try:
        return runtime.InferenceSession(str(bundle.path_of(graph)), options, providers=providers)
    except Exception as error:  # onnxruntime has a dozen exception types without a common base
        reason = f"onnxruntime cannot load {graph.file}: {type(error).__name__} {error}"
        raise BundleRefused(bundle.directory, reason) from None


def _scores_signature(bundle: Bundle) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    return {
        _SCORES: ("tensor(float)", (None, bundle.manifest.class_count)),
        _EMBEDDING: ("tensor(float)", (None, bundle.manifest.embedding_size)),
    }


def _check_signature(
    bundle: Bundle,
    graph: Graph,
    session: Any,
    inputs: Sequence[str],
    outputs: Sequence[str],
    wanted: dict[str, tuple[str, tuple[int | None, ...]]],
) -> None:
    """The model has exactly the inputs and outputs that `core.bundle.Graph` promises; free axes are allowed."""
    for kind, names, found in (("inputs", inputs, session.get_inputs()), ("outputs", outputs, session.get_outputs())):
        if sorted(value.name for value in found) != sorted(names):
            reason = f"{kind} of the model are {[value.name for value in found]}, wanted {list(names)}"
            raise BundleRefused(bundle.directory, f"{graph.file}: {reason}")
        for value in found:
            dtype, shape = wanted[value.name]
            if value.type != dtype or not _fits(value.shape, shape):
                reason = f"{value.name} is {value.type}{value.shape}, wanted {dtype}{list(shape)}"
                raise BundleRefused(bundle.directory, f"{graph.file}: {reason}")


def _fits(found: list[Any], wanted: tuple[int | None, ...]) -> bool:
    """A named or free axis fits any size; a free axis that is wanted must not be fixed."""
    return len(found) == len(wanted) and all(
        not isinstance(axis, int) or axis == size for axis, size in zip(found, wanted, strict=True)
    )
