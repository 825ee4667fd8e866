"""Networks on arrays of a device whose calls are replays of a CUDA graph, at addresses that stay.

See ``duoview.backends.cuda_graph``. While onnxruntime captures, no other thread may take memory of the device, and so
there are no forks of such networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnxruntime

from duoview.backends.cuda_graph import MOST_SHAPES, CapturedNetwork, run_options
from duoview.device.lane import Lane
from duoview.device.network import DeviceNetwork, Runs, kind
from duoview.kernels.cuda_array import DeviceArray

Shapes = tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class DeviceCapture:
    """Buffers and options of the calls with one combination of shapes."""

    inputs: dict[str, DeviceArray]
    outputs: list[DeviceArray]
    binding: onnxruntime.IOBinding
    options: onnxruntime.RunOptions


class CapturedDeviceNetwork(DeviceNetwork):
    """A session that was made with graphs enabled, on arrays of its device.

    The first call of a combination of shapes is launched as any other, and tells the shapes of its outputs; from the
    second on it is a graph. What a call is given is copied into the graph's buffers, and what it gives out of them.
    """

    def __init__(self, network: CapturedNetwork, lane: Lane, device: str, index: int, runs: Runs) -> None:
        super().__init__(network, lane, device, index, runs)
        self._captured, self._captures = network, dict[Shapes, DeviceCapture]()
        self._options = run_options(-1)

    def __call__(self, **inputs: Any) -> list[Any]:
        """See DeviceNetwork."""
        arrays = self.arrays(inputs)
        key = tuple((name, array.dtype.str, array.shape) for name, array in sorted(arrays.items()))
        with self._captured.lock:
            capture = self._captures.get(key)
            if capture is None:
                values = self.run(arrays)
                if len(self._captures) < MOST_SHAPES:
                    self._captures[key] = self._capture(arrays, values, self._captured.take_graph())
                return [self.own(value) for value in values]
            for name, array in arrays.items():
                self._copy(array, capture.inputs[name])
            self.lane.wait()
            self._bound(capture.binding, capture.options, arrays)
        made = [self.lane.empty(one.shape, one.dtype.type) for one in capture.outputs]
        for source, target in zip(capture.outputs, made, strict=True):
            self._copy(source, self.driver.array("output", target))
        return made

    def _capture(self, arrays: Mapping[str, DeviceArray], values: list[onnxruntime.OrtValue], graph: int
                 ) -> DeviceCapture:
        """Buffers for calls like one with these inputs and outputs."""
        inputs = {name: self._buffer(array.shape, array.dtype.type) for name, array in arrays.items()}
        outputs = [self._buffer(tuple(value.shape()), kind(value)) for value in values]
        binding = self.session.io_binding()
        for name, one in inputs.items():
            binding.bind_input(name, self.device, self.index, one.dtype.type, list(one.shape), one.pointer)
        for name, one in zip(self._outputs, outputs, strict=True):
            binding.bind_output(name, self.device, self.index, one.dtype.type, list(one.shape), one.pointer)
        return DeviceCapture(inputs, outputs, binding, run_options(graph))

    def _buffer(self, shape: tuple[int, ...], dtype: type) -> DeviceArray:
        return self.driver.array("buffer", self.lane.empty(shape, dtype))

    def _copy(self, source: DeviceArray, target: DeviceArray) -> None:
        self.driver.copy(source.pointer, target.pointer, source.nbytes, self.lane.stream)
