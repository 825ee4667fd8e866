"""Device codecs on torch: networks and memory of a machine where torch has the GPU, and neither onnxruntime nor pycuda.

Torch works on its default stream, or in a fork on one of its own making, as the kernels do here: nothing has to be
waited for between them. Kernels are launched in the context that torch makes current, in every thread that uses them.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from duoview.backends.batching import DEFAULT_WINDOW
from duoview.device.lane import Lane, MemoryLimit
from duoview.device.network import Runs
from duoview.device.networks import DEFAULT_RUNS, ArrayNetwork, DeviceNetworks
from duoview.errors import BackendUnavailableError
from duoview.export.torch_backend import TorchBackend, TorchNetwork
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import CudaDriver, Driver
from duoview.kernels.errors import DeviceError
from duoview.profile import Profile


class _TorchLane(Lane):
    """A stream that torch made, on which its networks work too, and lets go of memory in the order of its calls."""

    def __init__(self, driver: Driver, stream: torch.cuda.Stream, limit: MemoryLimit) -> None:
        super().__init__(driver, int(stream.cuda_stream), limit, ordered=True)
        self.torch_stream = stream


class _Context:
    """Makes torch's primary context current in a thread that has not used the GPU before."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._made = device, threading.local()

    def __call__(self) -> AbstractContextManager[None]:
        if not getattr(self._made, "here", False):
            torch.zeros(1, device=self._device)
            self._made.here = True
        return nullcontext()


class TorchDeviceNetwork:
    """A network on arrays of its device, as `DeviceNetwork` is.

    Outputs are tensors on a GPU, numpy arrays on the CPU. runs: how many may run at once, of all streams.
    """

    def __init__(self, network: TorchNetwork, lane: Lane, runs: Runs) -> None:
        self.network, self._runs = network, runs
        self._on = torch.cuda.stream(lane.torch_stream) if isinstance(lane, _TorchLane) else nullcontext()

    def __call__(self, **inputs: Any) -> list[Any]:
        """Raises BackendUnavailableError where torch fails, as for want of memory."""
        device = self.network.device
        try:
            with self._runs, self._on:
                outputs = self.network.tensors(**{name: torch.as_tensor(value, device=device)
                                                  for name, value in inputs.items()})
                found = [output.contiguous() for output in outputs]
        except RuntimeError as error:  # torch's errors of a device are of this class, out of memory too
            said = " ".join(str(error).split())
            raise BackendUnavailableError(f"device '{device.type}': torch failed ({said[:300]}); frames before it are "
                                          "whole") from error
        return [_array(output) for output in found]


def _array(tensor: Tensor) -> Any:
    return tensor if tensor.is_cuda else tensor.numpy()


class TorchDeviceNetworks(DeviceNetworks):
    """What encoders and decoders of device pictures share, by torch.

    Args:
        profile: bundled name, folder, or Profile. device: torch's name, ``cuda``, ``cuda:1``; ``cpu`` to test with.
        kernels: opened otherwise; None launches them in the primary context, which torch makes current. memory_limit,
        runs: see DeviceNetworks; calls are queued and not waited for, so that ``runs`` bounds their queueing alone.

    Raises BackendUnavailableError where torch has no such device, or the kernels do not run on it.
    """

    def __init__(self, profile: str | Path | Profile = "s", device: str = "cuda", *, kernels: Device | None = None,
                 memory_limit: int | None = None, runs: int = DEFAULT_RUNS) -> None:
        backend = TorchBackend(device)
        if kernels is None:
            kernels = Device.on_cpu() if backend.device.type == "cpu" else _kernels(backend.device)
        index = kernels.driver.ordinal if isinstance(kernels.driver, CudaDriver) else 0
        self._start(profile, backend, kernels, backend.device.type, index, memory_limit=memory_limit, runs=runs)

    def fork(self, *, batch: int = 1, window: float = DEFAULT_WINDOW) -> Self:
        """See DeviceNetworks. Raises BackendUnavailableError for batches, which networks of torch do not take here."""
        if batch != 1:
            raise BackendUnavailableError(f"device '{self.device}': batch={batch}: networks of torch take no batches "
                                          "here; expected batch=1, or DeviceNetworks")
        return super().fork(batch=batch, window=window)

    def _open_lane(self) -> Lane:
        assert isinstance(self.backend, TorchBackend)
        if self.backend.device.type == "cpu":
            return super()._open_lane()
        return _TorchLane(self.driver, torch.cuda.Stream(self.backend.device), self._shared.memory)

    def _load(self, name: str) -> ArrayNetwork:
        assert isinstance(self.backend, TorchBackend)
        network = self.profile.load(name, self.backend)
        assert isinstance(network, TorchNetwork)
        if self.backend.device.type == "cuda":  # weights are widened on the default stream, for which forks do not wait
            torch.cuda.default_stream(self.backend.device).synchronize()
        return TorchDeviceNetwork(network, self._lane, self._shared.runs)


def _kernels(device: torch.device) -> Device:
    try:
        torch.zeros(1, device=device)  # makes the primary context, and it current in this thread
        found = torch.cuda.get_device_properties(device)
        ordinal = device.index if device.index is not None else torch.cuda.current_device()
        return Device.on(CudaDriver(ordinal, (found.major, found.minor), _Context(device), found.name))
    except (AssertionError, RuntimeError, DeviceError) as error:
        raise BackendUnavailableError(f"device '{device}': {' '.join(str(error).split())}") from error
