"""Device codecs on torch: networks and memory of a machine where torch has the GPU, and neither onnxruntime nor pycuda.

Torch works on its default stream, as the kernels do here: nothing has to be waited for between them. Kernels are
launched in the context that torch made current: in another thread than that of the networks, only after torch has used
the GPU there.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from duoview.device.networks import ArrayNetwork, DeviceNetworks
from duoview.errors import BackendUnavailableError
from duoview.export.torch_backend import TorchBackend, TorchNetwork
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import CudaDriver
from duoview.kernels.errors import DeviceError
from duoview.profile import Profile


class TorchDeviceNetwork:
    """A network on arrays of its device, as `DeviceNetwork` is.

    Outputs are tensors on a GPU, numpy arrays on the CPU.
    """

    def __init__(self, network: TorchNetwork) -> None:
        self.network = network

    def __call__(self, **inputs: Any) -> list[Any]:
        """Raises BackendUnavailableError where torch fails, as for want of memory."""
        device = self.network.device
        try:
            outputs = self.network.tensors(**{name: torch.as_tensor(value, device=device)
                                              for name, value in inputs.items()})
        except RuntimeError as error:  # torch's errors of a device are of this class, out of memory too
            said = " ".join(str(error).split())
            raise BackendUnavailableError(f"device '{device.type}': torch failed ({said[:300]}); frames before it are "
                                          "whole") from error
        return [_array(output.contiguous()) for output in outputs]


def _array(tensor: Tensor) -> Any:
    return tensor if tensor.is_cuda else tensor.numpy()


class TorchDeviceNetworks(DeviceNetworks):
    """What encoders and decoders of device pictures share, by torch.

    Args:
        profile: bundled name, folder, or Profile. device: torch's name, ``cuda``, ``cuda:1``; ``cpu`` to test with.
        kernels: opened otherwise; None launches them in the primary context, which torch has made current.

    Raises BackendUnavailableError where torch has no such device, or the kernels do not run on it.
    """

    def __init__(self, profile: str | Path | Profile = "s", device: str = "cuda", *, kernels: Device | None = None
                 ) -> None:
        backend = TorchBackend(device)
        if kernels is None:
            kernels = Device.on_cpu() if backend.device.type == "cpu" else _kernels(backend.device)
        self._start(profile, backend, kernels, backend.device.type)

    def _load(self, name: str) -> ArrayNetwork:
        network = self.profile.load(name, self.backend)
        assert isinstance(network, TorchNetwork)
        return TorchDeviceNetwork(network)


def _kernels(device: torch.device) -> Device:
    try:
        torch.zeros(1, device=device)  # makes the primary context, and it current in this thread
        found = torch.cuda.get_device_properties(device)
        ordinal = device.index if device.index is not None else torch.cuda.current_device()
        return Device.on(CudaDriver(ordinal, (found.major, found.minor), nullcontext, found.name))
    except (AssertionError, RuntimeError, DeviceError) as error:
        raise BackendUnavailableError(f"device '{device}': {' '.join(str(error).split())}") from error
