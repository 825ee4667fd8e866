"""What the texture layer is trained on: pictures as a profile has coded them, in latents and in the coder's integers.

They are coded once, by the very networks of the profile, and kept in a file; a profile with other weights makes another
file. Nothing here knows how texture is coded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duoview.backends import open_backend
from duoview.machine import MachineLayer
from duoview.models.data import Material, Picture
from duoview.profile import Profile

#: Seven in ten quality indices come from here, the others from all 64: as the still codec is trained.
MIDDLE = (14, 55)
_FIELDS = ("pictures", "z", "z_m", "decoded", "q")


@dataclass(frozen=True)
class TextureSamples:
    """Coded crops of one size.

    pictures: (N, 8 h, 8 w, 3) uint8. z, z_m: (N, latent, h, w) float16. decoded: (N, symbols, h/2, w/2) int16, y in
    sixteenths. q: (N,) int64.
    """

    pictures: NDArray[np.uint8]
    z: NDArray[np.float16]
    z_m: NDArray[np.float16]
    decoded: NDArray[np.int16]
    q: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.q)


def draw_levels(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Quality indices, mostly from the range where texture is of use."""
    anywhere = random.integers(0, 64, count)
    return np.where(random.random(count) < 0.7, random.integers(*MIDDLE, count), anywhere)


def crop_of(picture: Picture, size: int, random: np.random.Generator) -> Picture:
    """A random crop, turned over at random."""
    top, left = (int(random.integers(side - size + 1)) for side in picture.shape[:2])
    crop = picture[top:top + size, left:left + size]
    return np.ascontiguousarray(crop[:, ::-1] if random.random() < 0.5 else crop)


def code(profile: Profile, pictures: Sequence[Picture], count: int, size: int, seed: int, *, threads: int = 1
         ) -> TextureSamples:
    """Code ``count`` random crops of ``size`` pixels (a multiple of 64) as key frames.

    Raises ValueError where no picture is as large as a crop.
    """
    large = [picture for picture in pictures if min(picture.shape[:2]) >= size]
    if not large:
        raise ValueError(f"no picture of at least {size}x{size} pixels among {len(pictures)}")
    random = np.random.default_rng(seed)
    levels = draw_levels(count, random)
    machine = MachineLayer(profile, open_backend("cpu", threads), encode=True)
    side = size // 8
    crops = np.empty((count, size, size, 3), np.uint8)
    z, z_m = (np.empty((count, profile.sizes.latent, side, side), np.float16) for _ in range(2))
    decoded = np.empty((count, profile.sizes.symbols, side // 2, side // 2), np.int16)
    for number, q in enumerate(levels):
        crop = crop_of(large[int(random.integers(len(large)))], size, random)
        machine.encode(np.ascontiguousarray(crop.transpose(2, 0, 1)[None]), key=True, q=int(q))
        assert machine.z is not None and machine.z_m is not None and machine.decoded is not None
        crops[number], z[number], z_m[number] = crop, machine.z[0], machine.z_m[0]
        decoded[number] = machine.decoded[0]
    return TextureSamples(crops, z, z_m, decoded, levels)


def identity(profile: Profile) -> str:
    """What samples depend on of a profile: the networks that code key frames; a new texture layer is not among them."""
    names = ("encoder", "key_analysis", "key_hyper", "key_context", "key_synthesis")
    files = "".join(str(profile.manifest["networks"][name]["sha256"]) for name in names)
    return hashlib.sha256(files.encode()).hexdigest()[:12]


def prepare(profile: Profile, material: Material, folder: Path, *, count: int, size: int, held: int, threads: int = 1
            ) -> tuple[TextureSamples, TextureSamples]:
    """Samples to train on and to measure with; from the file in ``folder`` where there is one of these arguments."""
    name = f"texture_samples_{identity(profile)}_{count}_{held}_{size}.npz"
    path = folder / name
    if path.is_file():
        with np.load(path) as stored:
            parts = [TextureSamples(*(stored[f"{part}_{field}"] for field in _FIELDS))
                     for part in ("train", "held")]
        return parts[0], parts[1]
    training = [*material.pictures, *(frame for clip in material.clips.values() for frame in clip[::24])]
    train = code(profile, training, count, size, 1, threads=threads)
    apart = code(profile, material.held_pictures, held, size, 2, threads=threads)
    folder.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp.npz")
    parts_by_name = {"train": train, "held": apart}
    np.savez(fresh, **{f"{part}_{field}": getattr(samples, field) for part, samples in parts_by_name.items()
                       for field in _FIELDS})
    fresh.replace(path)
    return train, apart
