"""The ceiling of every view: D(E(x)) without quantiser or coder, on a folder of pictures.

    python -m bench.ceiling [--images FOLDER] [--out bench/results/ceiling.json]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.curves import mean
from bench.media import photographs
from bench.pictures import Picture, load_folder, psnr, rgb_frame
from bench.result import RESULTS, measured, write
from duoview import Profile
from duoview.backends import CpuBackend
from duoview.picture import PictureReader


@dataclass(frozen=True)
class Settings:
    """The pictures, by name."""

    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Results:
    """PSNR of RGB in dB: mean of the pictures' values, the worst, and each."""

    mean: float | None
    worst: float
    each: tuple[float, ...]


def ceiling(pictures: Sequence[Picture], profile: Profile, *, threads: int = 0) -> Results:
    """Run the profile's encoder and decoder networks on each picture."""
    backend = CpuBackend(threads)
    encoder, decoder = profile.load("encoder", backend), profile.load("decoder", backend)
    reader = PictureReader()
    values = []
    for picture in pictures:
        height, width = picture.rgb.shape[:2]
        (z,) = encoder(picture=reader.read(rgb_frame(picture.rgb)))
        (shown,) = decoder(z=z)
        values.append(psnr(picture.rgb, np.asarray(shown[0, :, :height, :width], np.uint8).transpose(1, 2, 0)))
    return Results(mean(values), min(values), tuple(values))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.ceiling", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of lossless pictures; else photographs of scikit-image")
    parser.add_argument("--profile", default="s", help="bundled name or folder")
    parser.add_argument("--out", type=Path, default=RESULTS / "ceiling.json")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args(arguments)
    profile = Profile(options.profile)
    pictures = load_folder(options.images) if options.images else photographs()
    results = ceiling(pictures, profile, threads=options.threads)
    print(f"D(E(x)) on {len(pictures)} pictures: mean {results.mean:.2f} dB, worst {results.worst:.2f} dB")
    settings = Settings(tuple(p.name for p in pictures))
    write(options.out, measured("RGB PSNR of D(E(x)), no quantiser, no coder", profile, settings, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
