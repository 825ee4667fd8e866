"""Golden vectors of exact networks: inputs drawn by counter, outputs compared by digest.

A backend may compute an exact network only after it has reproduced these, saturating inputs and odd sizes included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.motion_compensation import STATE_BITS, STATE_LIMIT

GOLDEN_SEED = 0xD5D5
#: Networks that make what is handed on, z_m: exact in some profiles, whole numbers of 1/64 then.
STATE_NETWORKS = ("key_synthesis", "inter_synthesis")
#: Numbers of ``duoview.texture.prior.conditions``, and of a place of ``duoview.texture.block_means``.
TEXTURE_CONDITIONS, TEXTURE_MEANS = 14, 72


@dataclass(frozen=True)
class GoldenCase:
    """A size (in units of 64 pixels) and whether every input sits at its limits."""

    name: str
    height: int
    width: int
    saturate: bool


GOLDEN_CASES = (
    GoldenCase("1x1", 1, 1, False),
    GoldenCase("2x3", 2, 3, False),
    GoldenCase("3x2-saturating", 3, 2, True),
    GoldenCase("6x10", 6, 10, False),
)


def _integers(seed: int, stream: int, shape: tuple[int, ...], limit: int, saturate: bool) -> NDArray[np.float32]:
    """Integers in [-limit, limit] (at the two ends when saturating), float32."""
    bits = kernels.philox(seed, stream=stream, offset=0, count=int(np.prod(shape))).astype(np.int64)
    values = np.where(bits & 1, limit, -limit) if saturate else bits % (2 * limit + 1) - limit
    # Small values are what streams hold most of the time; a quarter of the cases keeps the full range.
    if not saturate:
        values = np.where((bits >> 24) & 3, np.sign(values) * (np.abs(values) % 24), values)
    return values.reshape(shape).astype(np.float32)


def exact_inputs(name: str, sizes: dict[str, int], height: int, width: int, saturate: bool, *,
                 seed: int = GOLDEN_SEED) -> dict[str, NDArray[np.generic]]:
    """Inputs of the exact network ``name`` for a picture of (64 height) x (64 width) pixels.

    sizes: as in a profile's manifest, and for the texture layer's networks its ``texture`` sizes as well. seed: golden
    vectors have their own; others draw other numbers of the same kind.
    """
    if name.startswith("texture_"):
        return _texture_inputs(name, sizes, height, width, saturate, seed)
    if name in STATE_NETWORKS:
        return _state_inputs(name, sizes, height, width, saturate, seed)
    symbols, hyper, parameters = sizes["symbols"], sizes["hyper"], sizes["parameters"]
    fine = (1, symbols, 4 * height, 4 * width)
    if name.endswith("_context"):
        features = np.abs(_integers(seed, 1, (1, parameters, 4 * height, 4 * width), 255, saturate))
        return {"features": features, "decoded": _integers(seed, 2, fine, 127 * 16, saturate)}
    inputs: dict[str, NDArray[np.generic]] = {
        "hyper": _integers(seed, 3, (1, hyper, height, width), 127, saturate),
        "q": np.array([63 if saturate else (17 * height + 5 * width) % 64], np.int64),
    }
    if name.startswith("inter"):
        inputs["previous"] = _integers(seed, 4, fine, 127 * 16, saturate)
    return inputs


def _state_inputs(name: str, sizes: dict[str, int], height: int, width: int, saturate: bool, seed: int
                  ) -> dict[str, NDArray[np.generic]]:
    """Decoded y in sixteenths; of P frames symbols, and z_m of before, which motion takes off its grid."""
    fine = (1, sizes["symbols"], 4 * height, 4 * width)
    inputs: dict[str, NDArray[np.generic]] = {
        "decoded": _integers(seed, 12, fine, 127 * 16, saturate),
        "q": np.array([63 if saturate else (17 * height + 5 * width) % 64], np.int64)}
    if name.startswith("inter"):
        # Something is coded at one position of 49, if at any, which leaves others whose neighbours have nothing either.
        symbols = _integers(seed, 13, fine, 24, saturate)
        coded = _integers(seed, 14, (1, 1, *fine[2:]), 24, False) == 1
        inputs["symbols"] = symbols if saturate else symbols * coded
        parts = 1 << 17
        inputs["previous"] = _integers(seed, 15, (1, sizes["latent"], 8 * height, 8 * width), STATE_LIMIT * parts,
                                       saturate) / np.float32(parts)
    return inputs


def grid_of(network: str) -> int:
    """What outputs of an exact network are multiplied by to be whole numbers."""
    return 1 << STATE_BITS if network in STATE_NETWORKS else 1


def _texture_inputs(name: str, sizes: dict[str, int], height: int, width: int, saturate: bool, seed: int
                    ) -> dict[str, NDArray[np.generic]]:
    if name == "texture_features":
        return {"decoded": _integers(seed, 5, (1, sizes["symbols"], 4 * height, 4 * width), 127 * 16, saturate),
                "q": np.array([63 if saturate else (17 * height + 5 * width) % 64], np.int64)}
    if name == "texture_means":
        return {"means": _integers(seed, 11, (1, TEXTURE_MEANS, 4 * height, 4 * width), 127, saturate),
                "q": np.array([63 if saturate else (17 * height + 5 * width) % 64], np.int64)}
    groups, shape = sizes["groups"], (8 * height, 8 * width)
    numbers = np.abs(_integers(seed, 8, (1, TEXTURE_CONDITIONS, 1, 1), 63, saturate))
    return {"features": np.abs(_integers(seed, 6, (1, sizes["features"], *shape), 255, saturate)),
            "nodes": _integers(seed, 7, (1, groups * sizes["embedding"], *shape), 127, saturate),
            "decided": _integers(seed, 9, (1, groups, *shape), 1, True) * 64,
            "previous": _integers(seed, 10, (1, groups, *shape), 1, True) * 64,
            "conditions": numbers.astype(np.float32)}


def digest(outputs: Sequence[NDArray[np.generic]], grid: int = 1) -> str:
    """sha256 over the outputs' integer values and shapes, whatever the dtype they came in.

    grid: what they are multiplied by to be integers.
    """
    state = hashlib.sha256()
    for array in outputs:
        state.update(repr(array.shape).encode())
        state.update(integers(array, grid))
    return state.hexdigest()


def integers(output: NDArray[np.generic], grid: int = 1) -> bytes:
    """An output as int32, little-endian; grid: what it is multiplied by. What is no such integer is not cut off."""
    whole = np.asarray(output) * grid if grid != 1 else np.asarray(output)
    if whole.dtype.kind == "f" and not (np.array_equal(whole, np.rint(whole)) and (np.abs(whole) < 2.0**31).all()):
        return b"no integers" + np.ascontiguousarray(whole, "<f4").tobytes()
    return np.ascontiguousarray(whole).astype("<i4").tobytes()
