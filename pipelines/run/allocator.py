"""The C library's memory in a process of many threads that runs for months."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h
ARENAS = 2


def share_arenas(environment: Mapping[str, str] = os.environ) -> bool:
    """Have all threads share two heaps; whether it was done. To be called before threads begin.

    glibc gives each thread a heap of its own, up to eight for each core. What threads that open and close encoders all
    day leave free in one of them is of no use to the others, and memory creeps up although nothing is kept. Whoever
    sets MALLOC_ARENA_MAX has decided already; another C library has no such heaps.
    """
    if "MALLOC_ARENA_MAX" in environment:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt is not None and mallopt(_ARENA_MAX, ARENAS) == 1)
