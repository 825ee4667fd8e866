"""What the NVIDIA driver says of itself. A TensorRT runtime without a driver crashes the process: ask here first."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

#: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR, and _MULTIPROCESSOR_COUNT.
_ATTRIBUTES = (75, 76, 16)


@dataclass(frozen=True)
class Driver:
    """Number of GPUs, name of one, and in words why there is none (empty where there is one).

    version: newest CUDA version that the driver supports, as 12040; capability: of that GPU; processors: how many
    multiprocessors it has.
    """

    gpus: int
    name: str
    problem: str
    version: int = 0
    capability: tuple[int, int] = (0, 0)
    processors: int = 0


def driver(library: str = "libcuda.so.1", index: int = 0) -> Driver:
    """Ask the driver library itself about GPU `index`; it is loaded, and no context is made."""
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return Driver(0, "", f"missing ({library} cannot be loaded)")
    status = cuda.cuInit(0)
    if status != 0:
        return Driver(0, "", f"present, but cuInit gives error {status}")
    count = ctypes.c_int()
    if cuda.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return Driver(0, "", "present, but there is no GPU")
    if not 0 <= index < count.value:
        return Driver(count.value, "", f"present, but there is no GPU {index}; it has {count.value}, counted from 0")
    device, version, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(128)
    numbers = [ctypes.c_int() for _ in _ATTRIBUTES]
    calls = [cuda.cuDeviceGet(ctypes.byref(device), index), cuda.cuDriverGetVersion(ctypes.byref(version)),
             cuda.cuDeviceGetName(name, 128, device),
             *(cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
               for number, attribute in zip(numbers, _ATTRIBUTES, strict=True))]
    if any(calls):
        return Driver(count.value, "", f"present, but asking for GPU {index} gives errors {calls}")
    return Driver(count.value, name.value.decode(errors="replace"), "", version.value,
                  (numbers[0].value, numbers[1].value), numbers[2].value)
