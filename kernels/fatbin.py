"""The file of CUDA kernels that the build puts beside this module: where it is, and what it holds.

A fatbin is a header (magic ``0xBA55ED50``) and entries, each with machine code (an ELF file) for one architecture, or
with PTX, which a driver compiles for architectures that came later. Nothing here needs a driver or a GPU.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from duoview.kernels.errors import DeviceError

PATH = Path(__file__).with_name("duoview.fatbin")
"""Where the build puts the kernels if it found nvcc."""

_MAGIC = 0xBA55ED50
_HEADER = struct.Struct("<IHHQ")  # magic, version, size of this header, bytes behind it
_ENTRY = struct.Struct("<HHIQ")  # kind, version, size of this header, bytes behind it
_ARCHITECTURE_AT = 28  # in an entry's header, 32 bits
_PTX = 1
_ELF = 2


@dataclass(frozen=True)
class Target:
    """What one entry of a fatbin is for.

    Attributes:
        kind: ``"sm"`` for machine code, ``"compute"`` for PTX.
        architecture: 90 for compute capability 9.0.
    """

    kind: str
    architecture: int

    def __str__(self) -> str:
        return f"{self.kind}_{self.architecture}"


def read(path: Path = PATH) -> bytes:
    """The kernels of this installation.

    Raises:
        DeviceError: the build left them out, since it found no nvcc or was told to.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DeviceError(
            f"this duoview was built without CUDA: there is no {path.name} beside its kernels. "
            "Build it where nvcc is found (CMake says so; -DDUOVIEW_CUDA=ON makes a missing nvcc an error)"
        ) from None


def targets(data: bytes) -> tuple[Target, ...]:
    """What a fatbin holds, in its order.

    Raises:
        DeviceError: ``data`` is no fatbin, or one that is cut off.
    """
    if len(data) < _HEADER.size:
        raise DeviceError(f"the CUDA kernels are {len(data)} bytes long; a fatbin has at least {_HEADER.size}")
    magic, _, header, size = _HEADER.unpack_from(data)
    if magic != _MAGIC or header < _HEADER.size:
        raise DeviceError(f"the CUDA kernels are no fatbin: they begin with {magic:#x}, not {_MAGIC:#x}")
    if header + size > len(data):
        raise DeviceError(f"the CUDA kernels are cut off: {header + size} bytes are announced, {len(data)} are there")
    found = []
    at, end = header, header + size
    while end - at >= _ARCHITECTURE_AT + 4:
        kind, _, header, size = _ENTRY.unpack_from(data, at)
        if header < _ARCHITECTURE_AT + 4 or at + header + size > end:
            raise DeviceError(f"the CUDA kernels are damaged: the entry at byte {at} is longer than the file")
        (architecture,) = struct.unpack_from("<I", data, at + _ARCHITECTURE_AT)
        if kind in (_PTX, _ELF):
            found.append(Target("compute" if kind == _PTX else "sm", architecture))
        at += header + size
    return tuple(found)


def runs_on(found: tuple[Target, ...], capability: tuple[int, int]) -> bool:
    """Whether a device can run the kernels: machine code of its own major version, or PTX no newer than it is."""
    major, minor = capability
    own = 10 * major + minor
    return any(
        target.architecture // 10 == major and target.architecture <= own
        if target.kind == "sm"
        else target.architecture <= own
        for target in found
    )
