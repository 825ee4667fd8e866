"""A network of onnxruntime on arrays of a device."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from duoview.backends.batching import batched_inputs
from duoview.backends.cuda_graph import CapturedNetwork, failure
from duoview.backends.engine import KINDS
from duoview.backends.onnxruntime_cpu import CpuNetwork
from duoview.backends.onnxruntime_cuda import BoundNetwork
from duoview.device.lane import Dropped, Lane
from duoview.errors import LimitError
from duoview.kernels.cuda_array import DeviceArray

#: More runs at once than this help no device, and take memory.
MOST_RUNS = 64


class Runs:
    """How many networks of all streams may run at the same moment. Raises LimitError for a number that cannot be."""

    def __init__(self, runs: int) -> None:
        if not 1 <= runs <= MOST_RUNS:
            raise LimitError(f"runs={runs}: expected 1 to {MOST_RUNS} networks")
        self._free = threading.BoundedSemaphore(runs)

    def __enter__(self) -> None:
        self._free.acquire()

    def __exit__(self, *error: object) -> None:
        self._free.release()


class DeviceNetwork:
    """A session on arrays of its device: nothing goes through the host, and outputs are memory of their own.

    onnxruntime works on CUDA streams of its own: what was queued on the lane's is waited for before a call, and the
    call itself ends when its outputs are there.

    device: onnxruntime's name of where arrays are. joined: names of inputs along which calls may be put together.
    """

    def __init__(self, network: CpuNetwork | BoundNetwork | CapturedNetwork, lane: Lane, device: str, index: int,
                 runs: Runs) -> None:
        #: What the session stands for is held too: the process shares it for as long as somebody has it.
        self._network = network
        self.session, self.path, self.joined = network.session, network.path, batched_inputs(network.signature)
        self.lane, self.driver, self.device, self.index, self._runs = lane, lane.driver, device, index, runs
        self._outputs = [output.name for output in self.session.get_outputs()]
        self._options: onnxruntime.RunOptions | None = None

    def __call__(self, **inputs: Any) -> list[Any]:
        """Outputs as arrays of the device, in the order of the graph; inputs are such arrays, contiguous.

        Raises TypeError or ValueError for what is no such array, ProfileError for a file with other inputs, and
        BackendUnavailableError or DeviceError where the device fails.
        """
        arrays = self.arrays(inputs)
        return [self.own(value) for value in self.run(arrays)]

    def arrays(self, inputs: Mapping[str, Any]) -> dict[str, DeviceArray]:
        """The memory behind inputs, with what was queued for them done."""
        found = {name: self.driver.array(name, value) for name, value in inputs.items()}
        self.lane.wait()
        return found

    def run(self, arrays: Mapping[str, DeviceArray]) -> list[onnxruntime.OrtValue]:
        """Outputs of inputs that are there."""
        binding = self.session.io_binding()
        for name, array in arrays.items():
            binding.bind_input(name, self.device, self.index, array.dtype.type, list(array.shape), array.pointer)
        for name in self._outputs:
            binding.bind_output(name, self.device, self.index)
        self._bound(binding, self._options, arrays)
        found: list[onnxruntime.OrtValue] = binding.get_outputs()
        return found

    def _bound(self, binding: onnxruntime.IOBinding, options: onnxruntime.RunOptions | None,
               arrays: Mapping[str, DeviceArray]) -> None:
        """A run of what is bound, for inputs of the shapes of these."""
        try:
            with self._runs:
                self.session.run_with_iobinding(binding, *(() if options is None else (options,)))
        except Exception as error:
            shapes: dict[str, Any] = {name: np.empty(array.shape, array.dtype) for name, array in arrays.items()}
            raise failure(self.session, shapes, self.path, error, self.device) from error

    def own(self, value: onnxruntime.OrtValue) -> Any:
        """An output as an array."""
        return self.driver.at(value.data_ptr(), tuple(value.shape()), kind(value), Dropped(value, self.lane))


def kind(value: onnxruntime.OrtValue) -> type[np.generic]:
    """numpy's type of a tensor, which onnxruntime calls ``tensor(float)``."""
    return KINDS[value.data_type().removeprefix("tensor(").removesuffix(")")]
