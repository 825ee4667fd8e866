"""Writes the golden palette results: ``python tests/golden/make_palette.py`` (anywhere, duoview installed).

Run it only when sampled palettes are meant to change; tests/test_palette_golden.py makes the same calls, and then shows
that they do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duoview.kernels import noise, palette

SEED = 0x0123456789ABCDEF


def integers(stream: int, low: int, high: int, *shape: int) -> NDArray[np.int64]:
    """Integers low..high by the noise kernel, whose own bits are golden."""
    words = noise.philox(SEED, stream, 0, int(np.prod(shape)), path="scalar").astype(np.int64)
    return (low + (words * (high - low + 1) >> 32)).reshape(shape)


def vectors(stream: int, *shape: int) -> NDArray[np.float32]:
    """Multiples of 1/64 in -8..8, so that ties and equal vectors occur."""
    return (integers(stream, -512, 512, *shape) / 64).astype(np.float32)


def logits(count: int, categories: int) -> NDArray[np.int16]:
    """Rows with a few likely categories, and some with the extremes of int16."""
    rows = integers(10, -2500, 0, count, categories)
    rows[::7, 0] = -32768
    rows[::11, categories - 1] = 32767
    return rows.astype(np.int16)


def nearest(path: str) -> bytes:
    """Two groups, 19 leaves, 5 channels, 77 vectors."""
    return palette.nearest(vectors(1, 77, 2, 5), vectors(2, 2, 19, 5), path=path).tobytes()


def children(path: str) -> bytes:
    """203 positions from an odd one on."""
    nodes, classes = integers(3, 0, 127, 203), integers(4, 64, 191, 203)
    return palette.sample_child(
        nodes.astype(np.uint8), classes.astype(np.uint8), seed=SEED, stream=5, offset=(1 << 40) + 1, path=path
    ).tobytes()


def tree(path: str) -> bytes:
    """Depth 5 from 300 weighted vectors: the nodes of all depths, float32, then their populations, int64."""
    assert path
    weights = integers(6, 0, 9, 300).astype(np.uint32)
    built = palette.build_tree(vectors(7, 300, 3), 5, weights=weights)
    nodes = b"".join(level.astype("<f4").tobytes() for level in built.nodes)
    return nodes + b"".join(level.astype("<i8").tobytes() for level in built.populations)


def posterior(transition: palette.Transition, categories: int, states: int) -> Callable[[str], bytes]:
    """151 positions with states 0..states - 1; of K + 1 states half of the positions are masked."""

    def call(path: str) -> bytes:
        given = integers(11, 0, states - 1, 151)
        if states > categories:
            given[::2] = categories
        return palette.posterior_sample(
            logits(151, categories), given.astype(np.uint8), transition, seed=SEED, stream=12, offset=1 << 41, path=path
        ).tobytes()

    return call


CALLS: dict[str, Callable[[str], bytes]] = {
    "palette_nearest": nearest,
    "palette_children": children,
    "palette_tree": tree,
    "posterior_uniform_16": posterior(palette.Uniform(0.25, 0.5), 16, 16),
    "posterior_uniform_37": posterior(palette.Uniform(0.9, 1.0), 37, 37),
    "posterior_uniform_256": posterior(palette.Uniform(0.0, 0.01), 256, 256),
    "posterior_absorbing_7": posterior(palette.Absorbing(0.25, 0.5), 7, 8),
    "posterior_absorbing_255": posterior(palette.Absorbing(0.5, 0.875), 255, 256),
    "posterior_tree_64": posterior(palette.Tree(2), 64, 4),
    "posterior_tree_256": posterior(palette.Tree(1, 8), 256, 2),
}


def main() -> None:
    for name, call in CALLS.items():
        data = call("scalar")
        Path(__file__).resolve().with_name(f"{name}.bin").write_bytes(data)
        print(f"{name}.bin: {len(data)} bytes")


if __name__ == "__main__":
    main()
