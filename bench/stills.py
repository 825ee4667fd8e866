"""Key frames against x265 still pictures and JPEG: real bytes, RGB PSNR, on a folder of lossless pictures.

    python -m bench.stills --images FOLDER [--out bench/results/stills.json] [--plot stills.png] [--limit N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.curves import Curve, bd_rate, mean
from bench.pictures import Picture, load_folder
from bench.plot import Line, draw
from bench.result import RESULTS, measured, write
from bench.still_coders import DuoviewStill, JpegStill, StillCoder, X265Still, measure
from duoview import Profile

RATES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True)
class Settings:
    """What was compared: pictures by name, and the anchor of all differences."""

    pictures: tuple[str, ...]
    pixels: tuple[int, ...]
    anchor: str


@dataclass(frozen=True)
class AtRate:
    """One coder at one rate, over the pictures where it and the anchor can both be had there.

    psnr: mean in dB; difference: mean of (this - anchor) in dB; each: by picture, None where one is missing.
    """

    bpp: float
    psnr: float | None
    difference: float | None
    worst: float | None
    pictures: int
    each: tuple[float | None, ...]


@dataclass(frozen=True)
class Outcome:
    """One coder: the fixed rates, BD-rate in percent against the anchor (mean, and by picture), and all points."""

    name: str
    rates: tuple[AtRate, ...]
    mean_difference: float | None
    bd_rate: float | None
    bd_rate_each: tuple[float | None, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Results:
    """All coders."""

    coders: tuple[Outcome, ...]


def sweep(coder: StillCoder, pictures: Sequence[Picture]) -> tuple[Curve, ...]:
    """The coder's curve on each picture. Quality is the outer loop, so that a coder may keep its state for one."""
    points = [[measure(coder, picture, quality) for picture in pictures] for quality in coder.qualities]
    return tuple(Curve.of(column) for column in zip(*points, strict=True))


def at_rate(bpp: float, curves: Sequence[Curve], anchors: Sequence[Curve]) -> AtRate:
    """Compare with the anchor at one rate."""
    pairs = [(c.at(bpp), a.at(bpp)) for c, a in zip(curves, anchors, strict=True)]
    each = tuple(None if c is None or a is None else c - a for c, a in pairs)
    found = [value for value in each if value is not None]
    return AtRate(bpp, mean([c if d is not None else None for (c, _), d in zip(pairs, each, strict=True)]), mean(each),
                  min(found, default=None), len(found), each)


def outcome(name: str, curves: tuple[Curve, ...], anchors: tuple[Curve, ...]) -> Outcome:
    """All comparisons of one coder."""
    rates = tuple(at_rate(bpp, curves, anchors) for bpp in RATES)
    saved = tuple(bd_rate(a, c) for a, c in zip(anchors, curves, strict=True))
    return Outcome(name, rates, mean([rate.difference for rate in rates]), mean(saved), saved, curves)


def mean_line(result: Outcome) -> Line:
    """Mean curve over the rates that all pictures reach."""
    grid = np.geomspace(0.08, 0.8, 80)
    values = [[curve.at(float(bpp)) for curve in result.curves] for bpp in grid]
    kept = [(float(bpp), float(np.mean([v for v in row if v is not None])))
            for bpp, row in zip(grid, values, strict=True) if None not in row]
    return Line(result.name, tuple(bpp for bpp, _ in kept), tuple(psnr for _, psnr in kept))


def show(results: Results) -> None:
    """Print the table."""
    heads = "".join(f"{rate:>19.2f}" for rate in RATES)
    print(f"{'dB (against the anchor), pictures':34}{heads}{'BD-rate':>10}")
    for coder in results.coders:
        cells = []
        for rate in coder.rates:
            cells.append("-" if rate.psnr is None else f"{rate.psnr:.2f} ({rate.difference:+.2f}) {rate.pictures:2}")
        saved = "-" if coder.bd_rate is None else f"{coder.bd_rate:+.1f} %"
        print(f"{coder.name:34}" + "".join(f"{cell:>19}" for cell in cells) + f"{saved:>10}")


def compare(pictures: Sequence[Picture], profile: Profile, *, threads: int = 0) -> Results:
    """Sweep all coders over all pictures; the first x265 is the anchor."""
    coders: list[StillCoder] = [X265Still(), DuoviewStill(profile, threads=threads), X265Still("yuv444p"),
                                X265Still(tune="psnr"), JpegStill()]
    curves = {}
    for coder in coders:
        print(f"{coder.name}: {len(coder.qualities)} qualities on {len(pictures)} pictures", flush=True)
        curves[coder.name] = sweep(coder, pictures)
    anchors = curves[coders[0].name]
    return Results(tuple(outcome(coder.name, curves[coder.name], anchors) for coder in coders))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.stills", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of lossless pictures")
    parser.add_argument("--profile", default="s", help="bundled name or folder")
    parser.add_argument("--out", type=Path, default=RESULTS / "stills.json")
    parser.add_argument("--plot", type=Path, help="PNG of the mean curves (needs the extra bench)")
    parser.add_argument("--limit", type=int, help="only the first N pictures")
    parser.add_argument("--threads", type=int, default=0, help="of duoview's networks")
    options = parser.parse_args(arguments)
    profile = Profile(options.profile)
    pictures = load_folder(options.images, options.limit)
    results = compare(pictures, profile, threads=options.threads)
    show(results)
    settings = Settings(tuple(p.name for p in pictures), tuple(p.pixels for p in pictures), results.coders[0].name)
    write(options.out, measured("RGB PSNR of still pictures at equal bytes: key access units against other coders",
                              profile, settings, results))
    if options.plot:
        draw([mean_line(coder) for coder in results.coders], options.plot,
             title=f"{len(pictures)} still pictures, mean PSNR at equal rate; all bytes counted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
