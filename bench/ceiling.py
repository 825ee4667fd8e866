"""The ceiling of every view: D(E(x)) without quantiser or coder, on a folder of pictures.

    python -m bench.ceiling [--images FOLDER] [--features squeezenet.npz] [--out bench/results/ceiling.json]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.curves import mean
from bench.features import FrozenFeatures, perceptual_distance
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
    """PSNR of RGB in dB: mean of the pictures' values, the worst, and each; and how far they are from the source in the
    features of a frozen network (`bench.features`), mean and each, where one is given."""

    mean: float | None
    worst: float
    each: tuple[float, ...]
    perceptual: float | None
    each_perceptual: tuple[float, ...]


def ceiling(pictures: Sequence[Picture], profile: Profile, *, features: FrozenFeatures | None = None, threads: int = 0
            ) -> Results:
    """Run the profile's encoder and decoder networks on each picture."""
    backend = CpuBackend(threads)
    encoder, decoder = profile.load("encoder", backend), profile.load("decoder", backend)
    reader = PictureReader()
    values, distances = [], []
    for picture in pictures:
        height, width = picture.rgb.shape[:2]
        (z,) = encoder(picture=reader.read(rgb_frame(picture.rgb)))
        (shown,) = decoder(z=z)
        view = np.ascontiguousarray(np.asarray(shown[0, :, :height, :width], np.uint8).transpose(1, 2, 0))
        values.append(psnr(picture.rgb, view))
        if features is not None:
            distances.append(perceptual_distance(features(picture.rgb), features(view)))
    return Results(mean(values), min(values), tuple(values), mean(distances) if distances else None, tuple(distances))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.ceiling", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of lossless pictures; else photographs of scikit-image")
    parser.add_argument("--features", type=Path, metavar="FILE", help="SqueezeNet 1.1 as .npz: perceptual too")
    parser.add_argument("--profile", default="s", help="bundled name or folder")
    parser.add_argument("--out", type=Path, default=RESULTS / "ceiling.json")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args(arguments)
    profile = Profile(options.profile)
    pictures = load_folder(options.images) if options.images else photographs()
    features = FrozenFeatures(options.features) if options.features is not None else None
    results = ceiling(pictures, profile, features=features, threads=options.threads)
    print(f"D(E(x)) on {len(pictures)} pictures: mean {results.mean:.2f} dB, worst {results.worst:.2f} dB")
    if results.perceptual is not None:
        print(f"perceptual distance {results.perceptual:.3f}")
    settings = Settings(tuple(p.name for p in pictures))
    write(options.out, measured("RGB PSNR of D(E(x)), no quantiser, no coder", profile, settings, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
