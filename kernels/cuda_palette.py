"""Palette kernels on a device: which program runs, with which arguments. What they compute stands in ``palette``."""

from __future__ import annotations

import numpy as np

from duoview.kernels.cuda_array import DeviceArray
from duoview.kernels.cuda_driver import Driver, buffer, typed
from duoview.kernels.noise import checked_address
from duoview.kernels.palette import (
    MAX_CATEGORIES,
    Absorbing,
    Tree,
    Uniform,
    _checked_categories,
)

STATUS_BYTES = 8

_NO_ERROR = (1 << 64) - 1
_CHILDREN_PER_WARP = 1024
_POSITIONS_PER_WARP = 512
_ROWS = (16, 32, 64, 128, 256)  # categories for which there is a program that reads whole rows
_LANES = 32

_MESSAGES = {
    8: "states[{}] is none of the transition's states",
    9: "nodes[{}] is above 127",
    10: "classes[{}] is no binary class; those are 64..191",
    11: "vectors holds a number that is not finite at flat index {}",
    12: "leaves holds a number that is not finite at flat index {}",
    13: "vectors holds a number at flat index {} that is not finite or more than 32767 steps",
    14: "weights sum to {}; the sum is 1..2**31 - 1",
    15: "classes holds a class at flat index {} that is not Gaussian; those are 0..63",
    27: "values holds a number that is not finite at flat index {}",
    28: "values holds a number at flat index {} that is no integer, or beyond the limit",
    29: "flags holds a block with position {}, which is not known",
    30: "state holds a number that is not finite at flat index {}",
    31: "wanted holds a number that is not finite at flat index {}",
    32: "vectors holds a component beyond +-64 half pixels at cell {}",
    33: "offered holds a component beyond +-64 half pixels at flat vector {}",
}


def begin_status(driver: Driver, status: object, stream: int) -> int:
    """The address of an error word that says, from here on in the stream, that nothing is wrong."""
    found = buffer(driver, "status", status, STATUS_BYTES)
    driver.launch("fill_words", 1, [found.pointer, 1, _NO_ERROR], stream)
    return found.pointer


def check_status(driver: Driver, status: object, stream: int) -> None:
    """Waits for the stream and raises what the error word stands for."""
    found = buffer(driver, "status", status, STATUS_BYTES)
    word = int.from_bytes(driver.read(found.pointer, STATUS_BYTES, stream), "little")
    if word != _NO_ERROR:
        raise ValueError(_MESSAGES[word & 0xFF].format(word >> 8))


def launch_children(
    driver: Driver,
    nodes: object,
    classes: object,
    output: object,
    status: object,
    address: dict[str, int],
    stream: int,
) -> None:
    """Queues ``palette.sample_child``."""
    source = typed(driver, "nodes", nodes, np.uint8)
    count = source.size
    binary = typed(driver, "classes", classes, np.uint8, count)
    target = typed(driver, "output", output, np.uint8, count, writable=True)
    seed, number, offset, _ = checked_address(**address, count=count)
    error = begin_status(driver, status, stream)
    warps = -(-(count + offset % 8) // _CHILDREN_PER_WARP)
    if count:
        arguments = [source.pointer, binary.pointer, target.pointer, count, seed, number, offset, error]
        driver.launch("sample_child", warps, arguments, stream)


def launch_nearest(
    driver: Driver, vectors: object, leaves: object, output: object, status: object, stream: int
) -> None:
    """Queues ``palette.nearest``."""
    found = driver.array("vectors", vectors)
    ndim = 3 if len(found.shape) == 3 else 2
    found = typed(driver, "vectors", vectors, np.float32, ndim=ndim)
    palette = typed(driver, "leaves", leaves, np.float32, ndim=ndim)
    if not 1 <= palette.shape[-2] <= MAX_CATEGORIES:
        raise ValueError(f"leaves has shape {palette.shape}; 1..{MAX_CATEGORIES} leaves are needed")
    channels = found.shape[-1]
    if channels != palette.shape[-1] or channels < 1:
        raise ValueError(
            f"vectors has {channels} channels, leaves {palette.shape[-1]}; both need the same, 1 or more"
        )
    groups = found.shape[1] if ndim == 3 else 1
    if ndim == 3 and groups != palette.shape[0]:
        raise ValueError(f"vectors has {groups} groups, leaves {palette.shape[0]}; both need the same number")
    count = found.size // channels
    target = typed(driver, "output", output, np.uint8, ndim=ndim - 1, writable=True)
    if target.shape != found.shape[:-1]:
        raise ValueError(f"output has shape {target.shape}; {found.shape[:-1]} is needed")
    error = begin_status(driver, status, stream)
    if palette.size:  # without groups there are no leaves
        driver.launch("check_leaves", -(-palette.size // _LANES), [palette.pointer, palette.size, error], stream)
    if count:
        arguments = [
            found.pointer,
            palette.pointer,
            target.pointer,
            count,
            groups,
            palette.shape[-2],
            channels,
            error,
        ]
        driver.launch("nearest", -(-count // _LANES), arguments, stream)


def _step(transition: Uniform | Absorbing | Tree, categories: int) -> list[int]:
    """The members of a ``PosteriorJob`` from ``transition`` on."""
    if isinstance(transition, Uniform):
        return [0, categories, *transition.shares(categories), 0, 0, 0, 0]
    if isinstance(transition, Absorbing):
        return [1, categories, 0, 0, 0, 0, 0, transition.masked(), 0, 0, 0]
    depth = categories.bit_length() - 1
    return [2, categories, 0, 0, 0, 0, 0, 0, depth, transition.depth, transition.target]


def posterior_program(transition: Uniform | Absorbing | Tree, categories: int, pointer: int) -> str:
    """The program for rows of so many categories at that address: whole rows at once where they are made for it."""
    read = categories >> transition.depth if isinstance(transition, Tree) else categories
    if read in _ROWS and categories % 8 == 0 and pointer % 16 == 0:
        return f"posterior_{type(transition).__name__.lower()}_{read}"
    return "posterior_any"


def launch_posterior(
    driver: Driver,
    table: int,
    logits: object,
    states: object,
    output: object,
    status: object,
    transition: Uniform | Absorbing | Tree,
    address: dict[str, int],
    stream: int,
) -> None:
    """Queues ``palette.posterior_sample``."""
    if not isinstance(transition, Uniform | Absorbing | Tree):
        raise TypeError(f"transition is a {type(transition).__name__}; a Uniform, Absorbing or Tree is needed")
    rows: DeviceArray = typed(driver, "logits", logits, np.int16, ndim=2)
    count, categories = rows.shape
    source = typed(driver, "states", states, np.uint8, count)
    target = typed(driver, "output", output, np.uint8, count, writable=True)
    _checked_categories(categories, transition)
    seed, number, offset, _ = checked_address(**address, count=count)
    if offset + count > 1 << 63:
        raise ValueError(f"offset {offset} + {count} positions is beyond the last position of a stream, 2**63 - 1")
    error = begin_status(driver, status, stream)
    if count:
        arguments = [rows.pointer, source.pointer, target.pointer, count, seed, number, offset, error]
        arguments += [*_step(transition, categories), table]
        warps = -(-(count + offset % 2) // _POSITIONS_PER_WARP)
        driver.launch(posterior_program(transition, categories, rows.pointer), warps, arguments, stream)
