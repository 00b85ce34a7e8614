"""Runs whose inputs and outputs lie on a device: batches are copied there, only what is asked for comes back.

Buffers are made once, as large as the largest batch so far, and used again; each run under way has its own set. With
device `cpu` the same code runs without an accelerator, which is how it is held equal to its plain twin, `runs`.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segsearch.service.scoring.signature import SEGMENTS, Signature

GROWTH = 1.25  # a buffer that is too small grows by more than is needed now


class DeviceRuns:
    """A `Runs` on `device`, a name that ONNX Runtime knows: cuda or cpu."""

    def __init__(self, runtime: Any, session: Any, options: Any, signature: Signature, device: str):
        self._runtime, self._session, self._options = runtime, session, options
        self._signature, self._device = signature, device
        self._idle: deque[_Buffers] = deque()

    def __call__(self, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        buffers = self._taken()
        try:
            binding = self._session.io_binding()
            for name, array in feed.items():
                at = buffers.filled(name, array)
                binding.bind_input(name, self._device, 0, array.dtype, array.shape, at)
            for name in names:
                value, shape = self._signature.outputs[name], self._output_shape(name, feed)
                at = buffers.room(name, int(np.prod(shape)) * value.dtype.itemsize)
                binding.bind_output(name, self._device, 0, value.dtype, shape, at)
            self._session.run_with_iobinding(binding, self._options)
            # Copied: the buffers are another run's next.
            return [np.array(array) for array in binding.copy_outputs_to_cpu()]
        finally:
            self._idle.append(buffers)

    def _taken(self) -> "_Buffers":
        try:
            return self._idle.pop()
        except IndexError:
            return _Buffers(self._runtime, self._device)

    def _output_shape(self, name: str, feed: Mapping[str, np.ndarray]) -> tuple[int, ...]:
        inputs = self._signature.inputs
        batch = next(len(feed[key]) for key, value in inputs.items() if value.shape[0] == SEGMENTS)
        return self._signature.outputs[name].shape_for(batch)


class _Buffers:
    """One run's memory on the device, by the name of the value that lies there."""

    def __init__(self, runtime: Any, device: str):
        self._runtime, self._device = runtime, device
        self._on_device: dict[str, Any] = {}
        self._here: dict[str, np.ndarray] = {}  # bytes on their way: a buffer is only ever filled whole

    def room(self, name: str, size_bytes: int) -> int:
        """The address of at least so many bytes."""
        value = self._on_device.get(name)
        if value is None or value.shape()[0] < size_bytes:
            capacity = max(1, int(size_bytes * GROWTH))
            value = self._runtime.OrtValue.ortvalue_from_shape_and_type([capacity], np.uint8, self._device, 0)
            self._on_device[name] = value
        return int(value.data_ptr())

    def filled(self, name: str, array: np.ndarray) -> int:
        """The address at which the array's bytes now lie."""
        at, content = self.room(name, array.nbytes), np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        value = self._on_device[name]
        here = self._here.get(name)
        if here is None or len(here) != value.shape()[0]:
            here = self._here[name] = np.zeros(value.shape()[0], np.uint8)
        here[: len(content)] = content
        value.update_inplace(here)
        return at
