"""The networks of a profile on arrays that lie on a device, and what runs between them there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime

from duoview.backends import Backend, CpuBackend
from duoview.backends.cuda_graph import failure
from duoview.backends.engine import KINDS
from duoview.backends.onnxruntime_cpu import CpuNetwork
from duoview.backends.onnxruntime_cuda import BoundNetwork, CudaBackend
from duoview.errors import BackendUnavailableError, ProfileError
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_array import DeviceArray
from duoview.kernels.cuda_driver import Driver
from duoview.kernels.errors import DeviceError
from duoview.profile import Profile

DEVICES = ("cuda", "cpu")
#: Named arrays of the device in, a list of them out, in the order of the graph's outputs.
ArrayNetwork: TypeAlias = Callable[..., list[Any]]


class DeviceNetwork:
    """A session on arrays of its device: nothing goes through the host, and outputs are memory of their own.

    onnxruntime works on a CUDA stream of its own: what was queued on `stream` is waited for before a call, and the call
    itself ends when its outputs are there.
    """

    def __init__(self, session: onnxruntime.InferenceSession, driver: Driver, device: str, index: int, stream: int,
                 path: Path) -> None:
        self.session, self.driver, self.device, self.index, self.path = session, driver, device, index, path
        self.stream = stream
        self._outputs = [output.name for output in session.get_outputs()]

    def __call__(self, **inputs: Any) -> list[Any]:
        """Outputs as arrays of the device, in the order of the graph; inputs are such arrays, contiguous.

        Raises TypeError or ValueError for what is no such array, ProfileError for a file with other inputs, and
        BackendUnavailableError or DeviceError where the device fails.
        """
        arrays = {name: self.driver.array(name, value) for name, value in inputs.items()}
        binding = self.session.io_binding()
        for name, array in arrays.items():
            binding.bind_input(name, self.device, self.index, array.dtype.type, list(array.shape), array.pointer)
        for name in self._outputs:
            binding.bind_output(name, self.device, self.index)
        self.driver.wait(self.stream)
        try:
            self.session.run_with_iobinding(binding)
        except Exception as error:
            shapes: dict[str, Any] = {name: np.empty(array.shape, array.dtype) for name, array in arrays.items()}
            raise failure(self.session, shapes, self.path, error, self.device) from error
        return [self.driver.at(value.data_ptr(), tuple(value.shape()), _kind(value), value)
                for value in binding.get_outputs()]


def _kind(value: onnxruntime.OrtValue) -> type[np.generic]:
    """numpy's type of a tensor, which onnxruntime calls ``tensor(float)``."""
    return KINDS[value.data_type().removeprefix("tensor(").removesuffix(")")]


class DeviceNetworks:
    """What encoders and decoders of device pictures share: networks, kernels and one CUDA stream of a device.

    Args:
        profile: bundled name, folder, or Profile.
        device: ``cuda``; or ``cpu``, where networks run on numpy arrays and the kernels' programs lane by lane: to test
            with, not for speed.
        index: the GPU, counted as the CUDA driver does. threads: of networks on the CPU, 0 for all cores.
        stream: handle of the CUDA stream that kernels are queued on; 0 is the default stream.

    Raises BackendUnavailableError naming what is missing: driver, GPU, onnxruntime's provider, pycuda or the kernels.
    """

    def __init__(self, profile: str | Path | Profile = "s", device: str = "cuda", *, index: int = 0, threads: int = 0,
                 stream: int = 0) -> None:
        if device not in DEVICES:
            raise ValueError(f"device={device!r}: expected one of {', '.join(DEVICES)}")
        backend = CudaBackend(index) if device == "cuda" else CpuBackend(threads)
        try:
            kernels = Device(index) if device == "cuda" else Device.on_cpu()
        except DeviceError as error:
            raise BackendUnavailableError(f"device '{device}': {error}") from error
        self._start(profile, backend, kernels, device, index, stream)

    def _start(self, profile: str | Path | Profile, backend: Backend, kernels: Device, device: str, index: int = 0,
               stream: int = 0) -> None:
        self.profile = profile if isinstance(profile, Profile) else Profile(profile)
        self.backend, self.kernels, self.driver = backend, kernels, kernels.driver
        self.device, self.index, self.stream = device, index, stream
        self._networks: dict[str, ArrayNetwork] = {}

    def __getitem__(self, name: str) -> ArrayNetwork:
        """A network of the profile, loaded when it is first asked for. Raises ProfileError."""
        if name not in self._networks:
            self._networks[name] = self._load(name)
        return self._networks[name]

    def _load(self, name: str) -> ArrayNetwork:
        network = self.profile.load(name, self.backend)
        if not isinstance(network, CpuNetwork | BoundNetwork):
            raise ProfileError(f"{name}: backend {self.backend.name!r} gives a {type(network).__name__}; expected a "
                               "session whose inputs and outputs can be bound")
        return DeviceNetwork(network.session, self.driver, self.device, self.index, self.stream, network.path)

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Any:
        """An array of the device that holds anything; its memory is a multiple of 16 bytes."""
        size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
        return self.view(self.driver.allocate(-(-size // 16) * 16), shape, dtype)

    def view(self, array: Any, shape: tuple[int, ...], dtype: type[np.generic], offset: int = 0) -> Any:
        """An array of another one's memory, from `offset` bytes on; both have it."""
        found = array if isinstance(array, DeviceArray) else self.driver.array("array", array)
        return self.driver.at(found.pointer + offset, shape, dtype, array)

    def array(self, values: np.ndarray[Any, Any]) -> Any:
        """A copy of an array of the host on the device."""
        made = self.empty(values.shape, values.dtype.type)
        self.put(np.ascontiguousarray(values), made)
        return made

    def put(self, values: np.ndarray[Any, Any], array: Any) -> None:
        """Copy values of the host into an array of the device."""
        found = self.driver.array("array", array)
        if (found.dtype, found.shape) != (values.dtype, values.shape):
            raise ValueError(f"array is {found.dtype} {found.shape}; the values are {values.dtype} {values.shape}")
        self.driver.write(found.pointer, values.tobytes(), self.stream)

    def get(self, array: Any) -> np.ndarray[Any, Any]:
        """A copy of an array on the host."""
        found = self.driver.array("array", array)
        data = self.driver.read(found.pointer, found.nbytes, self.stream) if found.size else b""
        return np.frombuffer(data, found.dtype).reshape(found.shape)
