"""Frames per second of machine encode, machine decode and the human view, and where the time goes.

    python -m bench.speed [--threads 1 2] [--repeats 5] [--gop 1 --texture 6] [--out bench/results/speed.json]

Threads 1 and 2 are measured on the same cores; numbers count only when the load average beside them is low.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from bench.media import clip, frames
from bench.result import RESULTS, measured, write
from bench.stopwatch import Stopwatch
from duoview import Decoder, Encoder, Profile


@dataclass(frozen=True)
class Settings:
    """The clip, the size it is scaled to beforehand, quality, frames from key frame to key frame, per repeat, repeats,
    and the depth of texture on key frames."""

    clip: str
    width: int
    height: int
    q: int
    gop: int
    frames: int
    repeats: int
    texture: int


@dataclass(frozen=True)
class Stage:
    """Milliseconds per frame and share of the whole."""

    name: str
    milliseconds: float
    share: float


@dataclass(frozen=True)
class Rate:
    """One direction at one number of threads. fps: median over repeats, without start-up; range: the extremes."""

    what: str
    threads: int
    fps: float
    fps_range: tuple[float, float]
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Results:
    """All rates; bytes per frame of the stream they were measured on."""

    rates: tuple[Rate, ...]
    mean_unit_bytes: float


def stages(watch: Stopwatch, total: float, count: int) -> tuple[Stage, ...]:
    """The stopwatch's stages and the rest, longest first."""
    seconds = dict(watch.seconds)
    seconds["everything else"] = total - sum(seconds.values())
    return tuple(Stage(name, 1000 * spent / count, spent / total)
                 for name, spent in sorted(seconds.items(), key=lambda item: -item[1]))


def rate(what: str, threads: int, times: list[float], watch: Stopwatch, watched: float, count: int) -> Rate:
    """Median and range of ``count`` frames over the repeats; stages from the one repeat that was watched."""
    fps = sorted(count / spent for spent in times)
    return Rate(what, threads, float(np.median(fps)), (fps[0], fps[-1]), stages(watch, watched, count))


def encode_rate(source: list[av.VideoFrame], profile: Profile, settings: Settings, threads: int
                ) -> tuple[Rate, list[bytes]]:
    """Encode the frames again and again with one encoder; also the access units of one pass."""
    encoder = Encoder(settings.width, settings.height, rate=Fraction(25), q=settings.q, gop=settings.gop,
                      profile=profile, threads=threads, texture=settings.texture or None)
    units = [bytes(encoder.encode(frame, key=number == 0)[0]) for number, frame in enumerate(source)]  # warms up too
    times = []
    for _ in range(settings.repeats):
        began = time.perf_counter()
        for number, frame in enumerate(source):
            encoder.encode(frame, key=number == 0)
        times.append(time.perf_counter() - began)
    watch = Stopwatch()
    watch.attach(encoder)
    with watch.entropy_coding():
        began = time.perf_counter()
        for number, frame in enumerate(source):
            encoder.encode(frame, key=number == 0)
        watched = time.perf_counter() - began
    return rate("machine encode", threads, times, watch, watched, len(source)), units


def decode_rate(units: list[bytes], profile: Profile, settings: Settings, threads: int, view: str) -> Rate:
    """Decode the access units again and again with one decoder."""
    decoder = Decoder(profile=profile, threads=threads, view=view, strict=True)

    def once() -> float:
        began = time.perf_counter()
        for data in units:
            decoder.decode(data)
        return time.perf_counter() - began

    once()
    times = [once() for _ in range(settings.repeats)]
    watch = Stopwatch()
    watch.attach(decoder)
    with watch.entropy_coding():
        watched = once()
    return rate(f"{view} decode", threads, times, watch, watched, len(units))


def run(profile: Profile, settings: Settings, threads: Sequence[int]) -> Results:
    """All rates."""
    source = list(frames(clip(settings.clip), limit=settings.frames, width=settings.width, height=settings.height))
    rates: list[Rate] = []
    units: list[bytes] = []
    for count in threads:
        encoded, units = encode_rate(source, profile, settings, count)
        rates.append(encoded)
        rates.append(decode_rate(units, profile, settings, count, "machine"))
        slow = "texture" if settings.texture else "human"
        rates.append(decode_rate(units[:max(2, len(units) // 4)], profile, settings, count, slow))
    return Results(tuple(rates), float(np.mean([len(data) for data in units])))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="s", help="bundled name or folder")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--q", type=int, default=24)
    parser.add_argument("--gop", type=int, default=50, help="1: key frames alone")
    parser.add_argument("--texture", type=int, default=0, help="depth of texture on key frames, and its view in place "
                        "of the human one")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--out", type=Path, default=RESULTS / "speed.json")
    options = parser.parse_args(arguments)
    profile = Profile(options.profile)
    settings = Settings("bikes.mp4", options.width, options.height, options.q, options.gop, options.frames,
                        options.repeats, options.texture)
    results = run(profile, settings, options.threads)
    for line in results.rates:
        print(f"{line.what:16} {line.threads} thread{'s' if line.threads > 1 else ' '} {line.fps:6.1f} fps "
              f"({line.fps_range[0]:.1f} to {line.fps_range[1]:.1f})")
        for stage in line.stages:
            print(f"    {stage.name:20} {stage.milliseconds:7.2f} ms a frame  {stage.share:6.1%}")
    what = f"Frames per second at {settings.width}x{settings.height}, entropy coding and conversion included"
    content = measured(what, profile, settings, results)
    print(f"load average {content.machine.load_average}")
    write(options.out, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
