"""What the texture layer is trained on: pictures as a profile has coded them, in latents and in the coder's integers.

They are coded once, by the very networks of the profile, and kept in a file; a profile with other weights makes another
file. Nothing here knows how texture is coded.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from duoview.access_unit import parse
from duoview.backends import open_backend
from duoview.encoder import Encoder
from duoview.inner.key_pictures import KeyPictures
from duoview.inner.settings import InnerSettings
from duoview.machine import MAX_Q, MachineLayer
from duoview.models.data import Material, Picture
from duoview.picture import PictureReader, scaled_picture
from duoview.profile import Profile
from duoview.texture.block_means import MEANS, block_means

#: Seven in ten quality indices come from here, the others from all 64: as the still codec is trained.
MIDDLE = (14, 55)
#: Inner quality indices that samples are coded at: with finer ones little is left that E and D carry.
INNER_LEVELS = (0, 44)
_FIELDS = ("pictures", "z", "base", "decoded", "means", "inner", "q")


@dataclass(frozen=True)
class TextureSamples:
    """Coded crops of one size.

    pictures: (N, 8 h, 8 w, 3) uint8. z: E of them, base: E of their machine views, (N, latent, h, w) float16. decoded:
    (N, symbols, h/2, w/2) int16, y in sixteenths, 0 where ``inner`` (N,) says that a standard codec coded them. means:
    (N, MEANS, h/2, w/2) int16, block means of its decoded pictures, else 0. q: (N,) int64, of the layer that coded
    them.
    """

    pictures: NDArray[np.uint8]
    z: NDArray[np.float16]
    base: NDArray[np.float16]
    decoded: NDArray[np.int16]
    means: NDArray[np.int16]
    inner: NDArray[np.bool_]
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


def code(profile: Profile, pictures: Sequence[Picture], count: int, size: int, seed: int, *, threads: int = 1,
         inner: float = 0.25) -> TextureSamples:
    """Code ``count`` random crops of ``size`` pixels (a multiple of 64) as key frames, a share of ``inner`` by x265.

    Raises ValueError where no picture is as large as a crop.
    """
    large = [picture for picture in pictures if min(picture.shape[:2]) >= size]
    if not large:
        raise ValueError(f"no picture of at least {size}x{size} pixels among {len(pictures)}")
    random = np.random.default_rng(seed)
    levels = draw_levels(count, random)
    by_inner = random.random(count) < inner
    levels[by_inner] = random.integers(*INNER_LEVELS, int(by_inner.sum()))
    backend = open_backend("cpu", threads)
    machine = MachineLayer(profile, backend, encode=True)
    encoder, decoder = machine.networks["encoder"], profile.load("decoder", backend)
    side = size // 8
    crops = np.empty((count, size, size, 3), np.uint8)
    z, base = (np.empty((count, profile.sizes.latent, side, side), np.float16) for _ in range(2))
    decoded = np.zeros((count, profile.sizes.symbols, side // 2, side // 2), np.int16)
    means = np.zeros((count, MEANS, side // 2, side // 2), np.int16)
    for number, q in enumerate(levels):
        crops[number] = crop_of(large[int(random.integers(len(large)))], size, random)
        picture = np.ascontiguousarray(crops[number].transpose(2, 0, 1)[None])
        if by_inner[number]:
            shown, means[number] = _inner_view(crops[number], int(q), profile)
            (z[number:number + 1],) = encoder(picture=picture)
        else:
            machine.encode(picture, key=True, q=int(q))
            assert machine.z is not None and machine.z_m is not None and machine.decoded is not None
            z[number], decoded[number] = machine.z[0], machine.decoded[0]
            (shown,) = decoder(z=machine.z_m)
        (base[number:number + 1],) = encoder(picture=shown)
    return TextureSamples(crops, z, base, decoded, means, by_inner, levels)


def _inner_view(crop: Picture, q: int, profile: Profile) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Machine view (1, 3, H, W) of a crop coded by x265 alone, and its block means."""
    height, width = crop.shape[:2]
    settings = InnerSettings(codec="hevc", simplify="off", background=0, latency="zero", threads=1)
    encoder = Encoder(width, height, q=q, profile=profile, machine="inner", inner=settings, threads=1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(crop), format="rgb24")
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    (packet, *_) = [*encoder.encode(frame), *encoder.encode(None)]
    shown = KeyPictures().of_unit(parse(bytes(packet)))
    assert shown.frame is not None
    return (scaled_picture(PictureReader(), shown.frame, shown.size, (width, height)),
            block_means(shown.frame, shown.size, (width, height))[0])


def inner_levels(samples: TextureSamples) -> NDArray[np.uint8]:
    """By inner quality index, the one of the neural codec whose machine view is as far from the picture: (64,).

    Where there are samples of one kind only, they are the same.
    """
    if samples.inner.all() or not samples.inner.any():
        return np.arange(MAX_Q + 1, dtype=np.uint8)
    apart = samples.z.astype(np.float32) - samples.base
    lengths = np.log(np.square(apart).mean((1, 2, 3)) + 1e-9)
    fits = [np.polyfit(samples.q[kind], lengths[kind], 1) for kind in (~samples.inner, samples.inner)]
    (slope, at), (inner_slope, inner_at) = fits
    found = (inner_slope * np.arange(MAX_Q + 1) + inner_at - at) / min(slope, -1e-4)
    return np.clip(np.rint(found), 0, MAX_Q).astype(np.uint8)


def at_texture_levels(samples: TextureSamples, levels: NDArray[np.uint8]) -> TextureSamples:
    """Samples whose q are those that texture goes by; levels: of ``inner_levels``."""
    return dataclasses.replace(samples, q=np.where(samples.inner, levels[samples.q], samples.q))


def identity(profile: Profile) -> str:
    """What samples depend on of a profile: the networks that code key frames; a new texture layer is not among them."""
    names = ("encoder", "decoder", "key_analysis", "key_hyper", "key_context", "key_synthesis")
    files = "".join(str(profile.manifest["networks"][name]["sha256"]) for name in names)
    return hashlib.sha256(files.encode()).hexdigest()[:12]


def prepare(profile: Profile, material: Material, folder: Path, *, count: int, size: int, held: int, threads: int = 1
            ) -> tuple[TextureSamples, TextureSamples]:
    """Samples to train on and to measure with; from the file in ``folder`` where there is one of these arguments.

    Raises ValueError where that file is of an earlier version.
    """
    name = f"texture_samples_{identity(profile)}_{count}_{held}_{size}.npz"
    path = folder / name
    if path.is_file():
        with np.load(path) as stored:
            lacking = [field for field in _FIELDS if f"train_{field}" not in stored.files]
            if lacking:
                raise ValueError(f"{path}: samples of an earlier version, without {', '.join(lacking)}; remove it")
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
