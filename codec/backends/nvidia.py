"""What the NVIDIA driver says of itself. A TensorRT runtime without a driver crashes the process: ask here first."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass


@dataclass(frozen=True)
class Driver:
    """Number of GPUs, name of the first, and in words why there is none (empty where there is one)."""

    gpus: int
    name: str
    problem: str


def driver(library: str = "libcuda.so.1") -> Driver:
    """Ask the driver library itself; it is loaded, and no context is made."""
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
    name = ctypes.create_string_buffer(128)
    cuda.cuDeviceGetName(name, 128, 0)
    return Driver(count.value, name.value.decode(errors="replace"), "")
