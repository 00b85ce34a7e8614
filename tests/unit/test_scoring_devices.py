"""Where a model runs: which providers are asked for, and that arrays come to a device and back unchanged.

The machine that runs these tests need not have an accelerator: a device of the name `cpu` takes the same way.
"""

import ctypes
import threading
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from segsearch.core.bundle import Bundle
from segsearch.core.errors import BundleRefused, ConfigError
from segsearch.service.scoring.device_runs import DeviceRuns
from segsearch.service.scoring.model import open_model
from segsearch.service.scoring.provider import CPU, CUDA, TENSORRT, device_of, running_provider, wanted_providers
from segsearch.service.scoring.runs import PlainRuns
from segsearch.service.scoring.session import Session
from segsearch.service.scoring.signature import Signature
from tests.library_fixtures import make_videos
from tests.tiny_blocks import tiny_line, write_block_bundle

GPU_WHEEL = SimpleNamespace(get_available_providers=lambda: [TENSORRT, CUDA, CPU])
OUTPUTS = {"windows": ["scores", "embedding"], "blocks": ["scores", "embedding", "codes", "class_codes", "sound"]}


class CountingRuntime:
    """ONNX Runtime, with its allocations on a device counted."""

    def __init__(self):
        self.allocated = 0
        self.OrtValue = SimpleNamespace(ortvalue_from_shape_and_type=self._allocate)

    def _allocate(self, *arguments):
        self.allocated += 1
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(*arguments)


@pytest.fixture(scope="module", params=["windows", "blocks"])
def bundle(request, tiny_bundle, tmp_path_factory):
    if request.param == "windows":
        return tiny_bundle
    return Bundle.open(write_block_bundle(tmp_path_factory.mktemp("blocks"), tiny_line(context=7)))


@pytest.fixture(scope="module")
def both(bundle):
    """The plain runs of a bundle's model, those by way of a device, and the runtime that counts."""
    session = onnxruntime.InferenceSession(str(bundle.model_path), providers=[CPU])
    options, runtime = onnxruntime.RunOptions(), CountingRuntime()
    options.only_execute_path_to_fetches = True
    signature = Signature.of(bundle, bundle.graph())
    return PlainRuns(session, options), DeviceRuns(runtime, session, options, signature, "cpu"), runtime


@pytest.fixture(scope="module")
def feeds(bundle):
    """Inputs of batches of very different sizes."""
    model, names = open_model(bundle, bundle.graph(), "cpu"), Signature.of(bundle, bundle.graph()).inputs
    videos = [video.frames for video in make_videos(30, seed=6)]
    sizes = (3, 40, 1, 17)
    return [dict(zip(names, next(iter(model.batches(videos, size, size))), strict=True)) for size in sizes]


def test_runs_by_way_of_a_device_give_what_plain_runs_give(bundle, both, feeds):
    plain, by_device, _ = both
    names = OUTPUTS[bundle.graph().layout]
    found = [by_device(names, feed) for feed in feeds]  # all before any is looked at: buffers are used again
    for feed, arrays in zip(feeds, found, strict=True):
        for name, array, wanted in zip(names, arrays, plain(names, feed), strict=True):
            assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape), name
            np.testing.assert_array_equal(array, wanted, err_msg=name)


def test_only_the_outputs_asked_for_come_back(both, feeds):
    plain, by_device, _ = both
    (scores,) = by_device(["scores"], feeds[0])
    np.testing.assert_array_equal(scores, plain(["scores"], feeds[0])[0])


def test_buffers_are_made_for_the_largest_batch_and_used_again(bundle, both, feeds):
    _, by_device, runtime = both
    names, largest = OUTPUTS[bundle.graph().layout], max(feeds, key=lambda feed: feed["frames"].size)
    by_device(names, largest)
    before = runtime.allocated
    for feed in [*feeds, *feeds]:
        by_device(names, feed)
    assert runtime.allocated == before


def test_runs_at_the_same_time_do_not_meet(both, feeds):
    plain, by_device, _ = both
    wanted = [plain(["scores"], feed)[0] for feed in feeds]
    faults = []

    def work(first):
        for turn in range(40):
            at = (first + turn) % len(feeds)
            if not np.array_equal(by_device(["scores"], feeds[at])[0], wanted[at]):
                faults.append(at)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_several_sessions_take_turns_and_score_alike(bundle, feeds):
    one, three = (Session(bundle, bundle.graph(), "cpu", sessions=count) for count in (1, 3))
    for feed in feeds:
        np.testing.assert_array_equal(one.scores([*feed.values()])[0], three.scores([*feed.values()])[0])


def libraries(monkeypatch, *loading):
    """A machine on which these shared libraries load and no others."""

    def load(name):
        if name not in loading:
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", load)


CUDA_LIBRARIES = ("libcuda.so.1",)
TENSORRT_LIBRARIES = (*CUDA_LIBRARIES, "libnvinfer.so.10", "libnvonnxparser.so.10")


@pytest.mark.parametrize(
    ("there", "choice", "wanted"),
    [
        ((), "auto", [[CPU]]),
        ((), "cpu", [[CPU]]),
        (CUDA_LIBRARIES, "auto", [[CUDA, CPU], [CPU]]),
        (CUDA_LIBRARIES, "cpu", [[CPU]]),
        (CUDA_LIBRARIES, "cuda", [[CUDA, CPU]]),
        (TENSORRT_LIBRARIES, "auto", [[CUDA, CPU], [CPU]]),
        (TENSORRT_LIBRARIES, "tensorrt", [[TENSORRT, CUDA, CPU]]),
    ],
)
def test_providers_are_asked_for_where_their_libraries_load(monkeypatch, there, choice, wanted):
    libraries(monkeypatch, *there)
    assert wanted_providers(GPU_WHEEL, choice) == wanted


@pytest.mark.parametrize(
    ("there", "choice", "missing"),
    [
        ((), "cuda", "libcuda.so.1 does not load"),
        (CUDA_LIBRARIES, "tensorrt", "libnvinfer.so.10 does not load"),
        (TENSORRT_LIBRARIES[:2], "tensorrt", "libnvonnxparser.so.10 does not load"),
    ],
)
def test_a_provider_that_is_demanded_and_cannot_be_had_is_an_error_that_says_what_is_missing(
    monkeypatch, there, choice, missing
):
    libraries(monkeypatch, *there)
    with pytest.raises(ConfigError, match=missing):
        wanted_providers(GPU_WHEEL, choice)


def test_a_wheel_without_cuda_is_never_asked_for_it(monkeypatch):
    libraries(monkeypatch, *TENSORRT_LIBRARIES)
    wheel = SimpleNamespace(get_available_providers=lambda: [CPU])
    assert wanted_providers(wheel, "auto") == [[CPU]]
    with pytest.raises(ConfigError, match="TensorrtExecutionProvider comes with onnxruntime-gpu"):
        wanted_providers(wheel, "tensorrt")


@pytest.mark.parametrize("choice", ["cuda", "tensorrt"])
def test_a_session_that_fell_back_is_no_accelerator(choice):
    session = SimpleNamespace(get_providers=lambda: [CPU])
    assert running_provider(session, "auto") == CPU
    with pytest.raises(ConfigError, match="fell back to CPUExecutionProvider"):
        running_provider(session, choice)


def test_tensorrt_that_fell_back_to_cuda_is_not_tensorrt():
    session = SimpleNamespace(get_providers=lambda: [CUDA, CPU])
    assert running_provider(session, "cuda") == CUDA
    with pytest.raises(ConfigError, match="fell back to CUDAExecutionProvider"):
        running_provider(session, "tensorrt")


def test_accelerators_work_in_memory_of_their_own():
    assert [device_of(provider) for provider in (CPU, CUDA, TENSORRT)] == [None, "cuda", "cuda"]


class Failing:
    """The GPU wheel on a machine whose CUDA loads but does not start."""

    def __init__(self, starts: bool):
        self.starts = starts

    def __getattr__(self, name):
        return getattr(onnxruntime, name)

    def get_available_providers(self):
        return [CUDA, CPU]

    def preload_dlls(self):
        print("cuDNN is nowhere")

    def InferenceSession(self, path, options, providers):  # noqa: N802 - its name in ONNX Runtime
        if providers[0][0] == CUDA or not self.starts:
            raise RuntimeError("no device")
        return onnxruntime.InferenceSession(path, options, providers=providers)


def test_cuda_that_does_not_start_gives_way_to_the_processor_and_says_so(monkeypatch, tiny_bundle, capsys):
    libraries(monkeypatch, *CUDA_LIBRARIES)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", Failing(starts=True))
    assert Session(tiny_bundle, tiny_bundle.graph(), "auto").provider == CPU
    told = capsys.readouterr()
    assert "CUDAExecutionProvider does not start, trying CPUExecutionProvider" in told.err
    assert told.out == ""  # what the runtime prints is no answer


def test_a_demanded_provider_that_does_not_start_is_no_reason_to_take_another(monkeypatch, tiny_bundle):
    libraries(monkeypatch, *CUDA_LIBRARIES)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", Failing(starts=True))
    with pytest.raises(BundleRefused, match="no device"):
        Session(tiny_bundle, tiny_bundle.graph(), "cuda")
