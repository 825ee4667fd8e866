"""Checkerboard kernels on a device: which program runs, with which arguments. What they compute: ``checkerboard``."""

from __future__ import annotations

import math

import numpy as np

from duoview.kernels import checkerboard
from duoview.kernels.cuda_array import DeviceArray
from duoview.kernels.cuda_driver import Driver, typed
from duoview.kernels.cuda_palette import begin_status


def _planes(
    driver: Driver, name: str, array: object, dtype: type, shape: tuple[int, ...] | None, *, writable: bool = False
) -> DeviceArray:
    found = typed(driver, name, array, dtype, ndim=3, writable=writable)
    if shape is not None and found.shape != shape:
        raise ValueError(f"{name} has shape {found.shape}; {shape} is needed, as the planes beside it have")
    return found


def _size(shape: tuple[int, ...], half: int) -> int:
    channels, height, width = shape
    return checkerboard.size((channels, height, width), half)


def _warps(shape: tuple[int, ...]) -> int:
    return shape[0] * shape[1] if math.prod(shape) else 0


def launch_gather(driver: Driver, planes: object, output: object, half: int, stream: int) -> None:
    """Queues ``checkerboard.gather``."""
    dtype = driver.array("planes", planes).dtype
    if dtype not in (np.uint8, np.int16):
        raise TypeError(f"planes is an array of {dtype}; uint8 or int16 is needed")
    source = _planes(driver, "planes", planes, dtype.type, None)
    target = typed(driver, "output", output, dtype.type, _size(source.shape, half), writable=True)
    program = "gather_classes" if dtype == np.uint8 else "gather_symbols"
    if _warps(source.shape):
        driver.launch(program, _warps(source.shape), [source.pointer, target.pointer, *source.shape, half], stream)


def launch_quantise(
    driver: Driver,
    values: object,
    classes: object,
    means: object,
    half: int,
    margins: object,
    keep: object,
    symbols: object,
    decoded: object,
    status: object,
    stream: int,
) -> None:
    """Queues ``checkerboard.quantise``."""
    source = _planes(driver, "values", values, np.float32, None)
    shape = source.shape
    _size(shape, half)
    table = typed(driver, "margins", margins, np.float32, 64)
    kept = 0
    if keep is not None:
        picture = typed(driver, "keep", keep, np.bool_, ndim=2)
        if picture.shape != shape[1:]:
            raise ValueError(f"keep has shape {picture.shape}; {shape[1:]} is needed")
        kept = picture.pointer
    arguments = [
        source.pointer,
        _planes(driver, "classes", classes, np.uint8, shape).pointer,
        _planes(driver, "means", means, np.int16, shape).pointer,
        table.pointer,
        kept,
        _planes(driver, "symbols", symbols, np.int16, shape, writable=True).pointer,
        _planes(driver, "decoded", decoded, np.float32, shape, writable=True).pointer,
        *shape,
        half,
        begin_status(driver, status, stream),
    ]
    if _warps(shape):
        driver.launch("quantise_half", _warps(shape), arguments, stream)


def launch_dequantise(
    driver: Driver, coded: object, means: object, half: int, symbols: object, decoded: object, stream: int
) -> None:
    """Queues ``checkerboard.dequantise``."""
    planes = _planes(driver, "means", means, np.int16, None)
    shape = planes.shape
    arguments = [
        typed(driver, "coded", coded, np.int16, _size(shape, half)).pointer,
        planes.pointer,
        _planes(driver, "symbols", symbols, np.int16, shape, writable=True).pointer,
        _planes(driver, "decoded", decoded, np.float32, shape, writable=True).pointer,
        *shape,
        half,
    ]
    if _warps(shape):
        driver.launch("dequantise_half", _warps(shape), arguments, stream)
