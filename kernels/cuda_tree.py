"""Building palette trees on a device: the steps of ``palette.build_tree``, queued without waiting for any result."""

from __future__ import annotations

import math
import operator
import struct

import numpy as np

from duoview.kernels.cuda_driver import Driver, buffer, padded, typed
from duoview.kernels.cuda_palette import begin_status
from duoview.kernels.palette import MAX_CHANNELS, MAX_DEPTH

_LANES = 32
_VECTORS_PER_WARP = 256
_FILL = 1024  # words of 8 bytes that one warp fills
_STEPS = range(-60, 61)


def _float_bits(value: float) -> int:
    return int.from_bytes(struct.pack("<f", value), "little")


def _warps(count: int, each: int = _LANES) -> int:
    return -(-count // each)


class TreeScratch:
    """The scratch of one call for N vectors of C channels and a tree of depth D."""

    def __init__(self, count: int, channels: int, depth: int) -> None:
        if count < 1 or not 1 <= channels <= MAX_CHANNELS:
            raise ValueError(
                f"vectors has shape {(count, channels)}; 1 or more vectors of 1..{MAX_CHANNELS} channels needed"
            )
        if not 0 <= depth <= MAX_DEPTH:
            raise ValueError(f"depth is {depth}; it is 0..{MAX_DEPTH}")
        leaves, self.size = 1 << depth, 0
        self.nodes = 2 * leaves - 1
        self.grid = self._part(2 * count * channels)
        self.labels = [self._part(2 * count) for _ in range(3)]
        self.centres = self._part(4 * self.nodes * channels)
        self.child_centres = self._part(4 * leaves * channels)
        self.sums = [self._part(8 * leaves * channels) for _ in range(3)]
        self.next_weights = self._part(8 * leaves)
        self.widest, self.frozen, self.offsets = (self._part(8 * leaves) for _ in range(3))

    def _part(self, size: int) -> int:
        at = self.size
        self.size = padded(at + size)
        return at


def launch_tree(
    driver: Driver,
    vectors: object,
    weights: object,
    depth: int,
    nodes: object,
    populations: object,
    status: object,
    scratch: object,
    step: float,
    rounds: int,
    stream: int,
) -> None:
    """Queues ``palette.build_tree``."""
    content = typed(driver, "vectors", vectors, np.float32, ndim=2)
    count, channels = content.shape
    depth, rounds = operator.index(depth), operator.index(rounds)
    plan = TreeScratch(count, channels, depth)
    if not 0 <= rounds <= 1000:
        raise ValueError(f"rounds is {rounds}; it is 0..1000")
    mantissa, exponent = math.frexp(step)
    if mantissa != 0.5 or exponent - 1 not in _STEPS:
        raise ValueError(f"step is {step}; it is a power of two, 2**-60..2**60")
    weighed = 0 if weights is None else typed(driver, "weights", weights, np.uint32, count).pointer
    target = typed(driver, "nodes", nodes, np.float32, plan.nodes * channels, ndim=2, writable=True)
    if target.shape != (plan.nodes, channels):
        raise ValueError(f"nodes has shape {target.shape}; {(plan.nodes, channels)} is needed")
    weight = typed(driver, "populations", populations, np.int64, plan.nodes, writable=True).pointer
    memory = buffer(driver, "scratch", scratch, plan.size).pointer
    error = begin_status(driver, status, stream)

    def launch(program: str, warps: int, *arguments: int) -> None:
        driver.launch(program, warps, list(arguments), stream)

    def clear(pointer: int, words: int) -> None:
        launch("fill_words", _warps(words, _FILL), pointer, words, 0)

    grid, centres, child_centres = memory + plan.grid, memory + plan.centres, memory + plan.child_centres
    labels, children, moved = (memory + at for at in plan.labels)
    sums, split, trial = (memory + at for at in plan.sums)
    trial_weight, widest, frozen, offsets = (
        memory + at for at in (plan.next_weights, plan.widest, plan.frozen, plan.offsets)
    )

    def add_up(of: int, into: int, population: int, size: int) -> None:
        clear(into, size * channels)
        clear(population, size)
        launch("tree_sums", _warps(count, _VECTORS_PER_WARP), grid, weighed, count, channels, of, into, population)

    launch(
        "grid_vectors",
        _warps(count * channels),
        content.pointer,
        count * channels,
        _float_bits(1 / step),
        grid,
        error,
    )
    clear(labels, _warps(2 * count, 8))
    add_up(labels, sums, weight, 1)
    launch("check_weight", 1, weight, error)
    launch("tree_centres", _warps(channels), sums, weight, centres, 1, channels, centres)
    for level in range(depth):
        size = 1 << level
        own = centres + 4 * channels * (size - 1)
        population, child = weight + 8 * (size - 1), weight + 8 * (2 * size - 1)
        clear(trial, size * channels)
        launch("tree_spread", _warps(count, _VECTORS_PER_WARP), grid, weighed, count, channels, labels, own, trial)
        launch("tree_widest", _warps(size), trial, size, channels, widest, frozen)
        launch(
            "tree_split", _warps(count), grid, weighed, count, channels, labels, sums, population, widest, children
        )
        add_up(children, split, child, 2 * size)
        for _ in range(rounds):
            launch("tree_centres", _warps(2 * size * channels), split, child, own, 2 * size, channels, child_centres)
            launch("tree_offsets", _warps(size), child_centres, size, channels, offsets)
            launch(
                "tree_assign",
                _warps(count),
                grid,
                weighed,
                count,
                channels,
                labels,
                child_centres,
                offsets,
                frozen,
                children,
                moved,
            )
            add_up(moved, trial, trial_weight, 2 * size)
            launch("tree_settle", _warps(size), split, child, trial, trial_weight, size, channels, frozen)
            launch("tree_move", _warps(count), count, labels, frozen, moved, children)
        below = own + 4 * channels * size
        launch("tree_centres", _warps(2 * size * channels), split, child, own, 2 * size, channels, below)
        labels, children = children, labels
        sums, split = split, sums
    launch(
        "tree_nodes",
        _warps(plan.nodes * channels),
        centres,
        plan.nodes * channels,
        _float_bits(step / 256),
        target.pointer,
    )
