"""The texture streams behind texture.json: made-up machine layers, and what encoders with every option make of them."""

from __future__ import annotations

import hashlib
import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from duoview import Depths, Profile, TextureSettings
from duoview.access_unit import Section
from duoview.backends import CpuBackend
from duoview.texture.encoder import TextureEncoder

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "texture_profile.py")))
WIDTH, HEIGHT, Q = 136, 70, 22
ROWS, COLUMNS = 16, 24
#: Options by name. Key frames are 0 and 3.
OPTIONS = {
    "key": TextureSettings(Depths(4), tile_log2=3),
    "all": TextureSettings(Depths(4), frames="all", tile_log2=4),
    "plain": TextureSettings(Depths(3, ((1, 1),)), frames="all", palettes=False, tile_log2=3),
    "rate": TextureSettings(Depths(4), frames="all", bit_rate=60_000, tile_log2=3),
}
FRAMES = 4


@dataclass(frozen=True)
class MachineFrame:
    """What a texture encoder and decoder see of a machine layer, made up."""

    key: bool
    z: NDArray[np.float32]
    z_m: NDArray[np.float32]
    decoded: NDArray[np.float32]
    moved: NDArray[np.bool_]


def machine_frames() -> Iterator[MachineFrame]:
    """Four frames: the second and third change a part of the first, the last is a key frame again."""
    random = FILES.Addressed(77)
    z_m = random.normals((1, FILES.LATENT, ROWS, COLUMNS))
    # Away from 0 on the whole, so that adapting the palettes pays.
    rest = random.normals((1, FILES.LATENT, ROWS, COLUMNS)) * np.float32(0.3) + np.float32(0.5)
    for number in range(FRAMES):
        key = number % 3 == 0
        moved = np.full((ROWS, COLUMNS), key)
        if not key:
            moved[2:6, 2 * number:2 * number + 6] = True
            rest = np.where(moved, random.normals(rest.shape) * np.float32(0.3) + np.float32(0.5), rest)
        decoded = random.integers(-300, 301, (1, FILES.SYMBOLS, ROWS // 2, COLUMNS // 2)).astype(np.float32)
        yield MachineFrame(key, z_m + rest, z_m, decoded, moved)


def encode(profile: Profile, name: str) -> list[list[Section]]:
    """Sections of every frame."""
    encoder = TextureEncoder(profile, CpuBackend(1), OPTIONS[name], rate=Fraction(25), gop=3)
    return [encoder.encode(frame, WIDTH, HEIGHT, key=frame.key, q=Q)  # type: ignore[arg-type]
            for frame in machine_frames()]


def digest(nodes: list[NDArray[np.generic]], depths: list[int]) -> str:
    """Of all tiles' nodes and depths."""
    state = hashlib.sha256(bytes(depths))
    for one in nodes:
        state.update(np.ascontiguousarray(one).astype(np.uint8).tobytes())
    return state.hexdigest()
