"""Milliseconds a picture of our coder and of a scale hyperprior from compressai's parts, in one run.

    python -m bench.hyperprior_speed [--weights hyperprior.pt] [--threads 1 2] [--repeats 5] [--out FILE]

Both code the same pictures, in turn, entropy coding included: ours from YUV 4:2:0 and back, as key frames alone and as
P frames behind one; the hyperprior (Balle et al., 2018) from RGB and back. Its pictures are filled up to multiples of
64. Without --weights (of `bench.accuracy.train_hyperprior`) it has the paper's 128 and 192 channels and weights as they
are drawn: networks take as long whatever their weights are, entropy coding hardly counts. Needs what the learned
baseline needs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import torch

from bench.accuracy.hyperprior import Hyperprior, load
from bench.media import clip, frames
from bench.result import RESULTS, measured, write
from duoview import Decoder, Encoder, Profile

Result = TypeVar("Result")
OURS = ("key frames", "P frames")


@dataclass(frozen=True)
class Settings:
    """The clip, the size it is scaled to beforehand, our quality, lambda of the hyperprior (None: drawn), channels."""

    clip: str
    width: int
    height: int
    q: int
    trade: float | None
    channels: tuple[int, int]
    frames: int
    repeats: int


@dataclass(frozen=True)
class Coder:
    """Medians over all pictures and repeats, milliseconds; bytes a picture on average.

    times_faster: how many times as long the hyperprior takes to encode and to decode.
    """

    name: str
    threads: int
    encode: float
    decode: float
    bytes: float
    times_faster: tuple[float, float]


@dataclass(frozen=True)
class Results:
    """Of each number of threads: the hyperprior first."""

    coders: tuple[Coder, ...]


class Watch:
    """Seconds of encoding and decoding, by coder."""

    def __init__(self) -> None:
        self.spent: dict[tuple[str, str], list[float]] = {}
        self.sizes: dict[str, list[int]] = {}

    def time(self, coder: str, what: str, work: Callable[[], Result]) -> Result:
        began = time.perf_counter()
        made = work()
        self.spent.setdefault((coder, what), []).append(time.perf_counter() - began)
        return made

    def milliseconds(self, coder: str, what: str) -> float:
        return 1000 * float(np.median(self.spent[coder, what]))


def measure(source: Sequence[av.VideoFrame], network: Hyperprior, profile: Profile, settings: Settings, threads: int
            ) -> list[Coder]:
    """All coders at a number of threads, picture by picture in turn."""
    torch.set_num_threads(threads)
    watch = Watch()
    size: dict[str, Any] = {"rate": Fraction(25), "q": settings.q, "profile": profile, "threads": threads}
    ours = {name: (Encoder(settings.width, settings.height, gop=gop, **size), Decoder(profile=profile, threads=threads))
            for name, gop in zip(OURS, (1, len(source) * (settings.repeats + 1)), strict=True)}
    pictures = [frame.to_ndarray(format="rgb24") for frame in source]
    for turn in range(settings.repeats + 1):
        if turn == 1:
            watch = Watch()  # the first turn warms up
        for frame, picture in zip(source, pictures, strict=True):
            data = watch.time("hyperprior", "encode", partial(network.encode, picture))
            watch.time("hyperprior", "decode", partial(network.decode, data))
            watch.sizes.setdefault("hyperprior", []).append(len(data))
            for name, (encoder, decoder) in ours.items():
                (unit,) = watch.time(name, "encode", partial(encoder.encode, frame))
                watch.time(name, "decode", partial(decoder.decode, unit))
                watch.sizes.setdefault(name, []).append(unit.size)
    times = {what: watch.milliseconds("hyperprior", what) for what in ("encode", "decode")}
    return [Coder(name, threads, watch.milliseconds(name, "encode"), watch.milliseconds(name, "decode"),
                  float(np.mean(watch.sizes[name])),
                  (times["encode"] / watch.milliseconds(name, "encode"),
                   times["decode"] / watch.milliseconds(name, "decode"))) for name in ("hyperprior", *OURS)]


def _drawn() -> Hyperprior:
    torch.manual_seed(0)
    network = Hyperprior()
    network.update()
    return network.eval()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.hyperprior_speed",
                                     description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, help="of bench.accuracy.train_hyperprior; else 128, 192 channels, "
                        "drawn")
    parser.add_argument("--profile", default="s", help="bundled name or folder")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--q", type=int, default=24)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--out", type=Path, default=RESULTS / "hyperprior_speed.json")
    options = parser.parse_args(arguments)
    if min(*options.threads, options.repeats, options.frames) < 1:
        parser.error("--threads, --repeats, --frames: expected 1 or more each")
    network, trade = load(options.weights) if options.weights is not None else (_drawn(), None)
    profile = Profile(options.profile)
    settings = Settings("bikes.mp4", options.width, options.height, options.q, trade,
                        (network.channels, network.latent), options.frames, options.repeats)
    source = list(frames(clip(settings.clip), limit=settings.frames, width=settings.width, height=settings.height))
    coders = [one for threads in options.threads for one in measure(source, network, profile, settings, threads)]
    for one in coders:
        print(f"{one.name:12} {one.threads} threads: encode {one.encode:6.1f} ms (x{one.times_faster[0]:.1f}), decode "
              f"{one.decode:6.1f} ms (x{one.times_faster[1]:.1f}), {one.bytes:.0f} bytes")
    content = measured(f"Milliseconds a picture of {settings.width}x{settings.height} beside a scale hyperprior",
                       profile, settings, Results(tuple(coders)))
    print(f"load average {content.machine.load_average}")
    write(options.out, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
