"""Key frames with texture against other still coders at equal bytes, by perceptual distance and by PSNR.

    python -m bench.texture_peers --profile FOLDER --images FOLDER --weights FILE [--held] [--limit N] [--generated]
                                  [--depths N ...] [--json FILE]

The coders: the machine layer with texture cut at every depth, the machine layer alone at higher q, the same behind an
inner codec, x265 and SVT-AV1 intra; with --generated also the human view of the cuts, of 4 steps from texture
(``guided`` where none is left), and that of the machine layers alone. Each picture's curve is read at fixed rates,
linearly over the logarithm of the rate; where a coder does not reach a rate on a picture, the picture counts for none
at that rate. Of texture, the setting that is best on the mean of all pictures is taken at each rate, and named: one q
of the machine layer for all pictures, or, as rate control would choose it, for each picture the highest q whose machine
layer fits; texture gets the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from bench.features import Features, FrozenFeatures, perceptual_distance
from bench.pictures import RGB, Picture, planar_rgb, psnr, rgb_frame
from bench.result import RESULTS, measured, write
from bench.still_coders import StillCoder, SvtAv1Still, X265Still
from bench.texture import load
from duoview import Decoder, Depths, Encoder, InnerSettings, Profile
from duoview.access_unit import parse, serialize
from duoview.texture.cutting import TextureCutter

RATES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
#: Name of the setting that is another q for each picture.
FITTING = "q that fits"


@dataclass(frozen=True)
class Settings:
    """What was coded: pictures by name, quality indices of texture's machine layers, of neural alone and of inner.

    depths: at which texture was cut.
    """

    pictures: tuple[str, ...]
    texture: tuple[int, ...]
    machine: tuple[int, ...]
    inner: tuple[int, ...]
    threads: int
    generated: bool
    depths: tuple[int, ...]


@dataclass(frozen=True)
class Point:
    """One picture coded once: bits per pixel, PSNR of RGB in dB, perceptual distance."""

    bpp: float
    psnr: float
    perceptual: float


@dataclass(frozen=True)
class Reading:
    """Means over pictures at a rate: their number, distance and PSNR. setting: which curve of the coder it is of."""

    coder: str
    setting: str
    bpp: float
    pictures: int
    psnr: float
    perceptual: float


@dataclass(frozen=True)
class Curve:
    """Means over pictures of one setting, point by point."""

    coder: str
    setting: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Results:
    """Readings at equal rates, and all curves."""

    readings: tuple[Reading, ...]
    curves: tuple[Curve, ...]


class TextureStill:
    """Key units with all texture, and what their cuts show."""

    def __init__(self, profile: Profile, machine: str, threads: int, *, generated: bool = False) -> None:
        self._profile, self._machine, self._threads = profile, machine, threads
        self._views = {name: Decoder(profile=profile, threads=threads, view=name, strict=True)
                       for name in ("machine", "texture")}
        if generated:
            self._views |= {f"human {start}": Decoder(profile=profile, threads=threads, view="human", start=start,
                                                      steps=4, strict=True) for start in ("guided", "texture")}
        self._encoder: tuple[tuple[object, ...], Encoder] | None = None

    def units(self, rgb: RGB, q: int, texture: int) -> bytes:
        """One key unit. An encoder is kept as long as size and quality stay."""
        height, width = rgb.shape[:2]
        inner = InnerSettings(simplify="off", background=0, latency="zero", threads=1, scale=1.0)
        kind = (height, width, q, texture)
        if self._encoder is None or self._encoder[0] != kind or self._machine == "inner":
            self._encoder = kind, Encoder(
                width, height, rate=Fraction(25), q=q, profile=self._profile, threads=self._threads,
                machine=self._machine, inner=inner if self._machine == "inner" else None, texture=texture)
        encoder = self._encoder[1]
        packets = encoder.encode(rgb_frame(rgb), key=True)
        if self._machine == "inner":
            packets += encoder.encode(None)
        (packet,) = packets
        return bytes(packet)

    def shown(self, unit: bytes, view: str) -> RGB:
        """The picture of a unit."""
        decoder = self._views[view]
        decoder.reset()
        (frame,) = [*decoder.decode(unit), *decoder.decode(None)]
        return planar_rgb(frame)

    def cuts(self, rgb: RGB, q: int, depths: Sequence[int]) -> list[tuple[int, bytes]]:
        """Units of some depths, and these."""
        whole = parse(self.units(rgb, q, self._profile.texture().depth))
        return [(depth, serialize(TextureCutter(Depths(depth)).cut(whole))) for depth in depths]


def read_at(points: Sequence[Point], bpp: float) -> tuple[float, float] | None:
    """PSNR and distance of a curve at a rate, linear over its logarithm; None beyond its ends."""
    ordered = sorted(points, key=lambda point: point.bpp)
    if not ordered or not ordered[0].bpp <= bpp <= ordered[-1].bpp:
        return None
    rates = np.log([point.bpp for point in ordered])
    found = [float(np.interp(np.log(bpp), rates, [getattr(point, name) for point in ordered]))
             for name in ("psnr", "perceptual")]
    return found[0], found[1]


#: By coder and setting, the points of every picture.
Curves = dict[tuple[str, str], list[list[Point]]]


def fitting(settings: Sequence[Sequence[Point]], bpp: float) -> Sequence[Point]:
    """Of one picture's curves, each from a machine layer alone to all texture, that of the dearest machine layer that
    fits a rate; the cheapest where none does. Distances are not looked at.
    """
    ordered = sorted(settings, key=lambda points: points[0].bpp)
    return next((points for points in reversed(ordered) if points[0].bpp <= bpp), ordered[0])


def readings(curves: Curves, rates: Sequence[float] = RATES) -> list[Reading]:
    """What every coder's best setting comes to at every rate, over the pictures on which all coders reach it.

    A coder reaches a rate on those pictures on which the setting does that reaches it on most of them; one that does on
    less than half of all is left out at that rate. A setting that does not reach it on all that count is not looked at.
    """
    found = []
    coders = dict.fromkeys(coder for coder, _ in curves)
    count = min(map(len, curves.values()))
    for bpp in rates:
        reached = {key: [read_at(points, bpp) for points in pictures] for key, pictures in curves.items()}
        for coder in coders:
            settings = [pictures for (name, _), pictures in curves.items() if name == coder]
            if len(settings) > 1:
                reached[coder, FITTING] = [read_at(fitting(one, bpp), bpp) for one in zip(*settings, strict=True)]
        # By one setting each: pictures that no setting reaches together would leave a coder without any.
        widest = {coder: max(({at for at in range(count) if values[at] is not None}
                              for (name, _), values in reached.items() if name == coder), key=len) for coder in coders}
        able = [coder for coder in coders if 2 * len(widest[coder]) >= count]
        kept = sorted(set(range(count)).intersection(*(widest[coder] for coder in able)))
        for coder in able:
            best: Reading | None = None
            for (name, setting), values in reached.items():
                wanted = [values[at] for at in kept]
                if name != coder or not wanted or any(one is None for one in wanted):
                    continue
                psnr_, distance = (float(mean) for mean in np.mean([one for one in wanted if one is not None], 0))
                if best is None or distance < best.perceptual:
                    best = Reading(coder, setting, bpp, len(kept), psnr_, distance)
            if best is not None:
                found.append(best)
    return found


def sweep(profile: Profile, pictures: Sequence[Picture], settings: Settings, features: FrozenFeatures) -> Curves:
    """All coders on all pictures."""
    curves: Curves = {}
    neural, inner = (TextureStill(profile, machine, settings.threads, generated=settings.generated)
                     for machine in ("neural", "inner"))
    others: tuple[StillCoder, ...] = (X265Still(qualities=(25, 29, 33, 37, 41, 45, 49)),
                                      SvtAv1Still(qualities=(30, 37, 44, 50, 55, 59, 63)))
    for picture in pictures:
        source = features(picture.rgb)

        def point(size: int, shown: RGB, picture: Picture = picture, source: Features = source) -> Point:
            return Point(8 * size / picture.pixels, psnr(picture.rgb, shown),
                         perceptual_distance(source, features(shown)))

        def add(coder: str, setting: str, points: list[Point]) -> None:
            curves.setdefault((coder, setting), []).append(points)

        for name, still, levels in (("neural + texture", neural, settings.texture), ("inner + texture", inner,
                                                                                       settings.inner)):
            for q in levels:
                cuts = still.cuts(picture.rgb, q, settings.depths)
                add(name, f"q {q}", [point(len(unit), still.shown(unit, "texture" if depth else "machine"))
                                     for depth, unit in cuts])
                if settings.generated:
                    add(f"{name}, generated", f"q {q}", [
                        point(len(unit), still.shown(unit, "human texture" if depth else "human guided"))
                        for depth, unit in cuts])
        for name, still, levels in (("neural", neural, settings.machine), ("inner", inner, settings.machine)):
            if name == "neural" and not settings.texture:
                continue
            units = [still.units(picture.rgb, q, 0) for q in levels]
            add(name, "", [point(len(unit), still.shown(unit, "machine")) for unit in units])
            if settings.generated:
                add(f"{name}, generated", "", [point(len(unit), still.shown(unit, "human guided")) for unit in units])
        for coder in others:
            add(coder.name, "", [point(*coder.code(picture.rgb, quality)) for quality in coder.qualities])
        print(picture.name, flush=True)
    return curves


def mean_curves(curves: Curves) -> tuple[Curve, ...]:
    """Point by point over pictures."""
    found = []
    for (coder, setting), pictures in curves.items():
        points = [Point(*(float(np.mean([getattr(one[at], name) for one in pictures]))
                          for name in ("bpp", "psnr", "perceptual"))) for at in range(len(pictures[0]))]
        found.append(Curve(coder, setting, tuple(points)))
    return tuple(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.texture_peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", required=True, help="folder of a profile with a texture layer")
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures, searched below")
    parser.add_argument("--weights", type=Path, required=True, help="SqueezeNet 1.1 as .npz")
    parser.add_argument("--held", action="store_true", help="only the pictures that training holds back")
    parser.add_argument("--limit", type=int, help="at most so many pictures")
    parser.add_argument("--texture", type=int, nargs="*", default=[0, 8, 16, 24, 28, 32, 36, 40, 44],
                        help="q of the neural codec below texture; without any it is left out")
    parser.add_argument("--machine", type=int, nargs="+", default=[0, 8, 16, 24, 32, 40, 48], help="q of no texture")
    parser.add_argument("--inner", type=int, nargs="+", default=[4, 16, 24, 32],
                        help="q of the inner codec below texture")
    parser.add_argument("--generated", action="store_true", help="human views that start from texture, too")
    parser.add_argument("--depths", type=int, nargs="+", help="at which texture is cut; all where not given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=RESULTS / "texture_peers.json")
    options = parser.parse_args(arguments)
    profile = Profile(options.profile)
    # 4:2:0 needs even sides.
    pictures = [Picture(one.name, np.ascontiguousarray(one.rgb[:one.rgb.shape[0] // 2 * 2, :one.rgb.shape[1] // 2 * 2]))
                for one in load(options.images, held=options.held, limit=options.limit)]
    deepest = profile.texture().depth
    depths = tuple(options.depths or range(deepest + 1))
    if not all(0 <= depth <= deepest for depth in depths):
        parser.error(f"--depths {' '.join(map(str, depths))}: the profile's texture goes {deepest} deep")
    settings = Settings(tuple(picture.name for picture in pictures), tuple(options.texture), tuple(options.machine),
                        tuple(options.inner), options.threads, options.generated, depths)
    curves = sweep(profile, pictures, settings, FrozenFeatures(options.weights))
    found = readings(curves)
    for one in found:
        print(f"{one.bpp:.2f} bpp  {one.coder:28s} {one.setting:11s} {one.pictures:3d} pictures  {one.psnr:.2f} dB  "
              f"perceptual {one.perceptual:.4f}")
    write(options.json, measured("Texture and other still coders at equal bytes", profile, settings,
                                 Results(tuple(found), mean_curves(curves))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
