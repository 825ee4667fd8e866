"""Structures of cuda.h, as calls of the driver take them."""

from __future__ import annotations

import ctypes

#: CU_MEMORYTYPE_DEVICE, CU_MEM_ALLOCATION_TYPE_PINNED, CU_MEM_LOCATION_TYPE_DEVICE.
DEVICE_MEMORY, PINNED, ON_DEVICE = 2, 1, 1


class PoolProperties(ctypes.Structure):
    """CUmemPoolProps."""

    _fields_ = (("allocation", ctypes.c_int), ("handles", ctypes.c_int), ("location", ctypes.c_int),
                ("ordinal", ctypes.c_int), ("security", ctypes.c_void_p), ("most", ctypes.c_size_t),
                ("usage", ctypes.c_ushort), ("reserved", ctypes.c_ubyte * 54))


class Place2D(ctypes.Structure):
    """One side of a copy of rows; ``pitch`` is from row to row."""

    _fields_ = (("left", ctypes.c_size_t), ("top", ctypes.c_size_t), ("kind", ctypes.c_int),
                ("host", ctypes.c_void_p), ("device", ctypes.c_uint64), ("array", ctypes.c_void_p),
                ("pitch", ctypes.c_size_t))


class Copy2D(ctypes.Structure):
    """CUDA_MEMCPY2D."""

    _fields_ = (("source", Place2D), ("target", Place2D), ("width", ctypes.c_size_t), ("height", ctypes.c_size_t))


def copy_of_rows(source: int, pitch: int, target: int, width: int, rows: int) -> Copy2D:
    """Of so many rows of ``width`` bytes, ``pitch`` bytes apart, to rows one behind the other."""
    found = Copy2D(width=width, height=rows)
    for place, pointer, apart in ((found.source, source, pitch), (found.target, target, width)):
        place.kind, place.device, place.pitch = DEVICE_MEMORY, pointer, apart
    return found
