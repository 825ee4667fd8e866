"""Planes on the way between pictures, networks and coder on a device: which program runs, with which arguments."""

from __future__ import annotations

import numpy as np

from duoview.kernels.cuda_driver import Driver, typed
from duoview.kernels.cuda_palette import begin_status

_PER_WARP = 1024


def launch_clear(driver: Driver, memory: object, stream: int) -> None:
    """Queues zeros."""
    found = driver.array("memory", memory)
    if found.nbytes % 8 or found.pointer % 8 or not found.writable:
        raise ValueError(f"memory has {found.nbytes} bytes at {found.pointer:#x}; a multiple of 8 at a multiple of 8, "
                         "to write to, is needed")
    if found.nbytes:
        driver.launch("fill_words", -(-found.nbytes // (8 * _PER_WARP)), [found.pointer, found.nbytes // 8, 0], stream)


def launch_pad(driver: Driver, picture: object, padded: object, stream: int) -> None:
    """Queues the extension of planes to the right and below by their last column and row."""
    source = typed(driver, "picture", picture, np.uint8, ndim=3)
    target = typed(driver, "padded", padded, np.uint8, ndim=3, writable=True)
    (planes, height, width), (count, rows, columns) = source.shape, target.shape
    if not planes == count or not 0 < height <= rows or not 0 < width <= columns:
        raise ValueError(f"padded has shape {target.shape}; as many planes as picture, {source.shape}, and at least "
                         "its rows and columns are needed")
    if count:
        driver.launch("pad_picture", count * rows,
                      [source.pointer, height, width, target.pointer, rows, columns], stream)


def launch_widen(driver: Driver, symbols: object, values: object, stream: int) -> None:
    """Queues the conversion of symbols to float32."""
    source = typed(driver, "symbols", symbols, np.int16)
    target = typed(driver, "values", values, np.float32, source.size, writable=True)
    if source.size:
        driver.launch("widen_symbols", -(-source.size // _PER_WARP),
                      [source.pointer, target.pointer, source.size], stream)


def launch_narrow(driver: Driver, values: object, symbols: object, limit: int, status: object, stream: int) -> None:
    """Queues the conversion of integers in float32 to symbols."""
    if not 0 < limit <= 32767:
        raise ValueError(f"limit is {limit}; 1..32767 is needed")
    source = typed(driver, "values", values, np.float32)
    target = typed(driver, "symbols", symbols, np.int16, source.size, writable=True)
    error = begin_status(driver, status, stream)
    if source.size:
        driver.launch("narrow_values", -(-source.size // _PER_WARP),
                      [source.pointer, target.pointer, source.size, limit, error], stream)
