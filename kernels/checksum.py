"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of access units and their sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoview.kernels import _native

if TYPE_CHECKING:
    from typing_extensions import Buffer


def crc32c(data: Buffer, value: int = 0, *, path: str = "auto") -> int:
    """CRC-32C of ``data``.

    Args:
        data: any C-contiguous bytes-like object; it is not copied.
        value: the CRC of what came before ``data`` (0 at the start), so that parts can be chained.
        path: ``"auto"``, or one of ``crc32c_paths()`` to force it.

    Returns:
        The checksum, 0 .. 2**32 - 1.

    Raises:
        ValueError: ``value`` is out of range, or the path is unknown or not available on this CPU.
        TypeError, BufferError: ``data`` is not a contiguous bytes-like object.
    """
    if not 0 <= value < 1 << 32:
        raise ValueError(f"value is {value}; a CRC is 0 .. {(1 << 32) - 1}")
    return _native.crc32c(data, value, path)


def crc32c_paths() -> tuple[str, ...]:
    """The implementations this machine can run, slowest first."""
    return tuple(_native.crc32c_paths())
