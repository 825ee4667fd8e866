"""Texture, depth by depth: what each costs and brings, against other coders of its nodes and against leaving it out.

    python -m bench.texture --profile FOLDER --images FOLDER --weights FILE [--held] [--limit N] [--qualities 12 24 36]

Key frames. Per depth: bytes of the whole unit, PSNR, and two distances that see texture: of windowed Fourier
magnitudes, and of SqueezeNet's features (not calibrated: for comparison only); what was not sent is the mean of what
may be there, or sampled. --held takes the pictures that training holds back of the same folder, by their names.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray
from PIL import Image

from bench.features import FrozenFeatures, perceptual_distance
from bench.pictures import RGB, Picture, psnr, rgb_frame
from bench.result import RESULTS, measured, write
from duoview import Depths, Encoder, Profile
from duoview.access_unit import AccessUnit, SectionType, parse, serialize
from duoview.backends import CpuBackend
from duoview.machine import MachineLayer
from duoview.texture.cutting import TextureCutter
from duoview.texture.decoder import FILLS, TextureDecoder
from duoview.texture.geometry import depth_and_tile
from duoview.texture.view import Seen, TextureView

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
WINDOW = 16


@dataclass(frozen=True)
class Settings:
    """What was coded: pictures by name, quality indices, the networks' threads."""

    pictures: tuple[str, ...]
    qualities: tuple[int, ...]
    threads: int


@dataclass(frozen=True)
class View:
    """One way to show a depth, means over pictures: PSNR of RGB in dB, and two distances, less is better."""

    fill: str
    psnr: float
    spectral: float
    perceptual: float


@dataclass(frozen=True)
class Depth:
    """One depth at one quality, means over pictures: bits per pixel of the whole unit, and its views."""

    q: int
    depth: int
    bpp: float
    views: tuple[View, ...]


@dataclass(frozen=True)
class Coders:
    """Bytes of the nodes of all pictures at one quality, every depth: ours with headers, and others.

    static: entropy under one probability for every node, counted on these very pictures; zlib, lzma and zstd (-19):
    leaves as bytes, at their highest usual levels, picture by picture.
    """

    q: int
    ours: int
    ours_by_depth: tuple[int, ...]
    static: int
    static_by_depth: tuple[int, ...]
    zlib: int
    lzma: int
    zstd: int


@dataclass(frozen=True)
class Speed:
    """Milliseconds of processor time of a key frame of 640x360, the least of several: without and with all texture."""

    encode: float
    encode_texture: float
    decode: float
    decode_texture: float


@dataclass(frozen=True)
class Results:
    """All of it."""

    depths: tuple[Depth, ...]
    coders: tuple[Coders, ...]
    speed: Speed


def load(folder: Path, *, held: bool, limit: int | None, least: int = 128) -> list[Picture]:
    """Pictures below a folder by name, evenly thinned out to ``limit``. Raises FileNotFoundError when there is none."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and (
        not held or int(hashlib.sha256(path.name.encode()).hexdigest(), 16) % 10 == 0)]
    # Label maps lie beside the photographs they are of.
    paths = [path for path in paths if not (path.suffix == ".png" and path.with_suffix(".jpg").exists())]
    if limit is not None and len(paths) > limit:
        paths = [paths[at * len(paths) // limit] for at in range(limit)]
    pictures = [Picture(path.stem, np.asarray(Image.open(path).convert("RGB"))) for path in paths]
    pictures = [picture for picture in pictures if min(picture.rgb.shape[:2]) >= least]
    if not pictures:
        raise FileNotFoundError(f"no picture of at least {least}x{least} in {folder}")
    return pictures


def spectral_distance(a: RGB, b: RGB) -> float:
    """Mean difference of log Fourier magnitudes of luma in windows that overlap by half."""
    taper = np.hanning(WINDOW)[:, None] * np.hanning(WINDOW)[None]

    def magnitudes(x: RGB) -> NDArray[np.float64]:
        luma = x.mean(2) / 255
        windows = np.lib.stride_tricks.sliding_window_view(luma, (WINDOW, WINDOW))[::WINDOW // 2, ::WINDOW // 2]
        return np.log1p(np.abs(np.fft.rfft2(windows * taper)) * 4)

    return float(np.abs(magnitudes(a) - magnitudes(b)).mean())


class Player:
    """Decodes key units to pictures and nodes."""

    def __init__(self, profile: Profile, threads: int, fill: str) -> None:
        backend = CpuBackend(threads)
        self._machine = MachineLayer(profile, backend, encode=False)
        self.texture = TextureDecoder(profile, backend, fill=fill)
        self._view = TextureView(profile, backend)

    def show(self, unit: AccessUnit, q: int) -> RGB:
        """The texture view of a unit with a sequence header."""
        sequence = unit.sequence
        assert sequence is not None
        payload = unit.payload(SectionType.MACHINE)
        assert payload is not None
        z_m = self._machine.decode(payload, key=True, q=q, width=sequence.width, height=sequence.height)
        picture = self._view.picture(z_m)
        if sequence.palette.groups:
            self.texture.begin(sequence)
            residual = self.texture.decode(unit, Seen(True, self._machine.decoded, None, self._machine.moved, q))
            if self.texture.faults:
                raise RuntimeError(self.texture.faults[0])
            picture = self._view.show(picture, residual)
        return np.asarray(picture[0, :, :sequence.height, :sequence.width], np.uint8).transpose(1, 2, 0)


def encode(profile: Profile, picture: Picture, q: int, threads: int) -> bytes:
    """One key unit with all texture."""
    height, width = picture.rgb.shape[:2]
    encoder = Encoder(width, height, rate=Fraction(25), q=q, profile=profile, threads=threads,
                      texture=profile.texture().depth)
    (packet,) = encoder.encode(rgb_frame(picture.rgb), key=True)
    return bytes(packet)


def static_bytes(nodes: Sequence[NDArray[np.uint8]], depth: int) -> tuple[int, ...]:
    """Bytes by depth: entropy of all child decisions under one probability a node. nodes: leaves (G, H, W)."""
    found = []
    for d in range(depth):
        bits = 0.0
        for group in range(len(nodes[0])):
            children = np.concatenate([leaves[group].reshape(-1) for leaves in nodes]) >> (depth - d - 1)
            counts = np.bincount(children, minlength=2 << d).astype(np.float64)
            share = counts / np.maximum(counts.reshape(-1, 2).sum(1).repeat(2), 1)
            bits -= float((counts[counts > 0] * np.log2(share[counts > 0])).sum())
        found.append(round(bits / 8))
    return tuple(found)


def sweep(profile: Profile, pictures: Sequence[Picture], q: int, threads: int, features: FrozenFeatures
          ) -> tuple[list[Depth], Coders]:
    """All depths of all pictures at one quality."""
    deepest = profile.texture().depth
    players = {fill: Player(profile, threads, fill) for fill in FILLS}
    rows: dict[tuple[int, str], list[tuple[float, float, float]]] = {}
    rates: list[list[float]] = [[] for _ in range(deepest + 1)]
    by_depth = [0] * deepest
    nodes: list[NDArray[np.uint8]] = []
    for picture in pictures:
        whole = parse(encode(profile, picture, q, threads))
        for section in whole.sections:
            if section.type == SectionType.TEXTURE:
                by_depth[depth_and_tile(section.sub_index or 0)[0] - 1] += len(section.payload)
        source = features(picture.rgb)
        for depth in range(deepest + 1):
            unit = TextureCutter(Depths(depth)).cut(whole)
            rates[depth].append(8 * len(serialize(unit)) / picture.pixels)
            for fill, player in players.items():
                if fill == "sample" and depth == 0:
                    # Depth 0 has no texture section left; what is sampled then is a stream with a geometry alone.
                    unit = TextureCutter(Depths(0, ((65535, 1),))).cut(whole)
                shown = player.show(unit, q)
                rows.setdefault((depth, fill), []).append((
                    psnr(picture.rgb, shown), spectral_distance(picture.rgb, shown),
                    perceptual_distance(source, features(shown))))
                if depth == deepest and fill == "mean":
                    nodes += [state.nodes for state in player.texture.states]
    views = {key: np.mean(values, 0) for key, values in rows.items()}
    depths = [Depth(q, depth, float(np.mean(rates[depth])), tuple(
        View(fill, *(float(value) for value in views[depth, fill])) for fill in FILLS)) for depth in range(deepest + 1)]
    raw = [leaves.tobytes() for leaves in nodes]
    static = static_bytes(nodes, deepest)
    return depths, Coders(q, sum(by_depth), tuple(by_depth), sum(static), static,
                          sum(len(zlib.compress(data, 9)) for data in raw),
                          sum(len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) for data in raw),
                          sum(len(zstandard.ZstdCompressor(level=19).compress(data)) for data in raw))


def measure_speed(profile: Profile, picture: Picture, threads: int, repeats: int = 5) -> Speed:
    """Time key frames of the picture brought to 640x360."""
    rgb = np.asarray(Image.fromarray(picture.rgb).resize((640, 360), Image.Resampling.BICUBIC))
    deepest = profile.texture().depth
    found = []
    units = []
    for texture in (0, deepest):
        encoder = Encoder(640, 360, profile=profile, threads=threads, texture=texture)
        spent = []
        for _ in range(repeats + 1):
            begin = time.process_time()
            (packet,) = encoder.encode(rgb_frame(rgb), key=True)
            spent.append(time.process_time() - begin)
        units.append(parse(bytes(packet)))
        found.append(1000 * min(spent))
    player = Player(profile, threads, "mean")
    for unit in units:
        spent = []
        for _ in range(repeats + 1):
            begin = time.process_time()
            player.show(unit, 24)
            spent.append(time.process_time() - begin)
        found.append(1000 * min(spent))
    return Speed(*found)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.texture", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", required=True, help="folder of a profile with a texture layer")
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures, searched below")
    parser.add_argument("--weights", type=Path, required=True, help="SqueezeNet 1.1 as .npz")
    parser.add_argument("--held", action="store_true", help="only the pictures that training holds back")
    parser.add_argument("--limit", type=int, help="at most so many pictures")
    parser.add_argument("--qualities", type=int, nargs="+", default=[12, 24, 36])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "texture.json")
    options = parser.parse_args(arguments)
    profile = Profile(options.profile)
    pictures = load(options.images, held=options.held, limit=options.limit)
    features = FrozenFeatures(options.weights)
    depths: list[Depth] = []
    coders = []
    for q in options.qualities:
        found, coder = sweep(profile, pictures, q, options.threads, features)
        depths += found
        coders.append(coder)
        for one in found:
            print(f"q {q:2d} depth {one.depth}: {one.bpp:.4f} bpp  " + "  ".join(
                f"{view.fill} {view.psnr:.2f} dB, spectral {view.spectral:.4f}, perceptual {view.perceptual:.4f}"
                for view in one.views), flush=True)
        print(f"q {q:2d} nodes: ours {coder.ours}, static {coder.static}, zlib {coder.zlib}, lzma {coder.lzma}, "
              f"zstd {coder.zstd} bytes", flush=True)
    speed = measure_speed(profile, pictures[0], options.threads)
    print(f"640x360 key frame, ms of processor time: encode {speed.encode:.1f}, with texture "
          f"{speed.encode_texture:.1f}; decode {speed.decode:.1f}, with texture {speed.decode_texture:.1f}")
    settings = Settings(tuple(picture.name for picture in pictures), tuple(options.qualities), options.threads)
    write(options.out, measured("Texture of key frames, depth by depth", profile, settings,
                                Results(tuple(depths), tuple(coders), speed)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
