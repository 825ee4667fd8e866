"""The networks of a profile on arrays that lie on a device, and what runs between them there."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np

from duoview.backends import Backend, CpuBackend
from duoview.backends.batching import DEFAULT_WINDOW
from duoview.backends.cuda_graph import CapturedNetwork
from duoview.backends.onnxruntime_cpu import CpuNetwork
from duoview.backends.onnxruntime_cuda import BoundNetwork, CudaBackend
from duoview.batching import check_batch
from duoview.device.batching import BatchedDeviceNetwork, DeviceBatcher
from duoview.device.captured import CapturedDeviceNetwork
from duoview.device.lane import Lane, MemoryLimit
from duoview.device.network import DeviceNetwork, Runs
from duoview.errors import BackendUnavailableError, LimitError, ProfileError
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_array import DeviceArray
from duoview.kernels.errors import DeviceError
from duoview.profile import Profile

DEVICES = ("cuda", "cpu")
#: Networks of all streams that run at the same moment, at most, where nothing else is asked for.
DEFAULT_RUNS = 4
#: Named arrays of the device in, a list of them out, in the order of the graph's outputs.
ArrayNetwork: TypeAlias = Callable[..., list[Any]]


class _Shared:
    """What all streams of a device have together."""

    def __init__(self, device: str, memory_limit: int | MemoryLimit | None, runs: int) -> None:
        self.memory = memory_limit if isinstance(memory_limit, MemoryLimit) else MemoryLimit(memory_limit, device)
        self.runs = Runs(runs)
        self.lock = threading.Lock()
        self.constants: dict[Hashable, Any] = {}
        self.batchers: weakref.WeakValueDictionary[Hashable, DeviceBatcher] = weakref.WeakValueDictionary()


class DeviceNetworks:
    """What encoders and decoders of device pictures share: networks, kernels and one CUDA stream of a device.

    One is used by one thread at a time. ``fork`` gives another one, with all of the same but the CUDA stream, for a
    video stream that has a thread of its own.

    Args:
        profile: bundled name, folder, or Profile.
        device: ``cuda``; or ``cpu``, where networks run on numpy arrays and the kernels' programs lane by lane: to test
            with, not for speed.
        index: the GPU, counted as the CUDA driver does. threads: of networks on the CPU, 0 for all cores.
        stream: handle of the CUDA stream that kernels are queued on; 0 is the default stream.
        memory_limit: bytes of the device that codecs of these networks and of their forks may have, what networks need
            not counted; None for as many as there are; or a MemoryLimit, in which other networks may count too.
        runs: networks of all of them that run at the same moment, at most; each takes memory for what lies between its
            layers.
        graphs: calls of networks are replays of CUDA graphs, one for each of the first combinations of shapes
            (``duoview.backends.cuda_graph``); there are no forks then.

    Raises BackendUnavailableError naming what is missing: driver, GPU, onnxruntime's provider, pycuda or the kernels;
    LimitError for a limit that cannot be.
    """

    def __init__(self, profile: str | Path | Profile = "s", device: str = "cuda", *, index: int = 0, threads: int = 0,
                 stream: int = 0, memory_limit: int | MemoryLimit | None = None, runs: int = DEFAULT_RUNS,
                 graphs: bool = False) -> None:
        if device not in DEVICES:
            raise ValueError(f"device={device!r}: expected one of {', '.join(DEVICES)}")
        if graphs and device != "cuda":
            raise BackendUnavailableError(f"device '{device}' has no CUDA graphs; expected graphs=False, or device "
                                          "'cuda'")
        backend = CudaBackend(index, graphs=graphs) if device == "cuda" else CpuBackend(threads)
        try:
            kernels = Device(index) if device == "cuda" else Device.on_cpu()
        except DeviceError as error:
            raise BackendUnavailableError(f"device '{device}': {error}") from error
        self._start(profile, backend, kernels, device, index, stream, memory_limit=memory_limit, runs=runs)

    def _start(self, profile: str | Path | Profile, backend: Backend, kernels: Device, device: str, index: int = 0,
               stream: int = 0, *, memory_limit: int | MemoryLimit | None = None, runs: int = DEFAULT_RUNS) -> None:
        self.profile = profile if isinstance(profile, Profile) else Profile(profile)
        self.backend, self.kernels, self.driver = backend, kernels, kernels.driver
        self.device, self.index, self.stream = device, index, stream
        self.graphs = bool(getattr(backend, "graphs", False))
        self._shared = _Shared(device, memory_limit, runs)
        self._lane = Lane(self.driver, stream, self._shared.memory)
        self._networks: dict[str, ArrayNetwork] = {}
        self.batch, self.window, self.patience = 1, 0.0, 0.0
        self._left = False
        #: Those that these were forked from, which are there as long as they are.
        self._origin: Self | None = None

    def fork(self, *, batch: int = 1, window: float = DEFAULT_WINDOW) -> Self:
        """The same networks, memory limit and kernels on a CUDA stream of its own.

        What is queued there waits for no other stream, the default one included: pictures that are given to codecs have
        to be there, or queued on ``stream``. The stream ends when nobody has the fork and what was made with it.

        batch: calls of one network by forks of the same batch and window that come at the same moment are one, of so
        many streams at most. window: seconds that a frame waits for the others', at most.

        Raises LimitError for values that cannot be and for networks with graphs, DeviceError where the device gives no
        stream.
        """
        check_batch(batch, window, what="networks", items="streams")
        if self.graphs:
            raise LimitError("networks with CUDA graphs have no forks: while onnxruntime captures one, no other thread "
                             "may use the device; expected graphs=False")
        made = copy.copy(self)
        made._origin = self._origin or self
        made._lane = self._open_lane()
        made.stream, made._networks, made._left = made._lane.stream, {}, False
        made.batch, made.window, made.patience = batch, window if batch > 1 else 0.0, 0.0
        return made

    def _open_lane(self) -> Lane:
        return Lane(self.driver, self.driver.open_stream(), self._shared.memory, own=True)

    def __getitem__(self, name: str) -> ArrayNetwork:
        """A network of the profile, loaded when it is first asked for. Raises ProfileError."""
        if name not in self._networks:
            self._networks[name] = self._load(name)
        return self._networks[name]

    def _load(self, name: str) -> ArrayNetwork:
        network = self.profile.load(name, self.backend)
        if isinstance(network, CapturedNetwork):
            return CapturedDeviceNetwork(network, self._lane, self.device, self.index, self._shared.runs)
        if not isinstance(network, CpuNetwork | BoundNetwork):
            raise ProfileError(f"{name}: backend {self.backend.name!r} gives a {type(network).__name__}; expected a "
                               "session whose inputs and outputs can be bound")
        made = DeviceNetwork(network, self._lane, self.device, self.index, self._shared.runs)
        if self.batch == 1 or not made.joined:
            return made
        with self._shared.lock:
            key = name, self.batch, self.window
            batcher = self._shared.batchers.get(key)
            if batcher is None:
                own = DeviceNetwork(network, self._open_lane(), self.device, self.index, self._shared.runs)
                batcher = self._shared.batchers[key] = DeviceBatcher(own, self.batch)
        return BatchedDeviceNetwork(made, batcher, self)

    def begin(self) -> None:
        """A frame begins, which may wait for those of other streams, and they for it where its stream had ended."""
        self.patience = self.window
        if self._left:
            self._left = False
            for network in self._batched():
                network.join()

    def leave(self) -> None:
        """The stream has ended, or pauses: the others wait for it no more, until it begins again."""
        self._left = True
        for network in self._batched():
            network.leave()

    def _batched(self) -> list[BatchedDeviceNetwork]:
        return [one for one in self._networks.values() if isinstance(one, BatchedDeviceNetwork)]

    def wait(self) -> None:
        """Wait until all is done that was queued on the stream."""
        self._lane.wait()

    def keep(self, value: Any) -> None:
        """Keep something until what is queued on the stream now is done."""
        self._lane.keep(value)

    def release(self) -> None:
        """Give back to the device what the pool of all forks keeps and no fork has: of those that are gone, mostly.

        It waits for what is queued on this stream, and for no other one. What another fork freed stays in the pool
        until that one was waited for. Raises DeviceError.
        """
        self.wait()
        self.driver.trim()

    @property
    def memory(self) -> MemoryLimit:
        """Counts the bytes of the device that codecs of these networks and of their forks have."""
        return self._shared.memory

    @property
    def memory_taken(self) -> int:
        """Those bytes now."""
        return self.memory.taken

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic], *, ordered: bool = True) -> Any:
        """An array of the device that holds anything; its memory is a multiple of 16 bytes.

        ordered: of a fork's pool. False for memory that others register, for which all of the device is waited for.
        Raises BackendUnavailableError where that is beyond the limit, DeviceError where the device has no more.
        """
        return self._lane.empty(shape, dtype, ordered=ordered)

    def view(self, array: Any, shape: tuple[int, ...], dtype: type[np.generic], offset: int = 0) -> Any:
        """An array of another one's memory, from `offset` bytes on; both have it."""
        found = array if isinstance(array, DeviceArray) else self.driver.array("array", array)
        return self.driver.at(found.pointer + offset, shape, dtype, array)

    def array(self, values: np.ndarray[Any, Any]) -> Any:
        """A copy of an array of the host on the device."""
        made = self.empty(values.shape, values.dtype.type)
        self.put(np.ascontiguousarray(values), made)
        return made

    def constant(self, values: np.ndarray[Any, Any]) -> Any:
        """An array with these values, the same one for all streams that ask for them. Nobody may write to it."""
        return self.shared((values.dtype.str, values.shape, values.tobytes()), lambda: values)

    def shared(self, key: Hashable, make: Callable[[], np.ndarray[Any, Any]]) -> Any:
        """An array with the values that ``make`` gives, made for the first stream that asks by this key.

        Nobody may write to it. As the weights of networks, it is not counted.
        """
        with self._shared.lock:
            if key not in self._shared.constants:
                values = make()
                memory = self.driver.allocate(-(-values.nbytes // 16) * 16)
                made = self.driver.at(memory.pointer, values.shape, values.dtype.type, memory)
                self.put(np.ascontiguousarray(values), made)
                self.driver.wait(self.stream)  # other streams do not
                self._shared.constants[key] = made
            return self._shared.constants[key]

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
