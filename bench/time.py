"""Over time: what a still scene costs, how soon a new object is there, and whether 2,000 P frames stay put.

    python -m bench.time [--frames 2000] [--out bench/results/time.json]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np

from bench.media import clip, frames, photographs, rgb
from bench.pictures import RGB, planar_rgb, psnr, rgb_frame
from bench.result import RESULTS, measured, write
from duoview import Decoder, Encoder, Profile

SIGMA = 2.0
HIGH_Q = 40
NEVER = 1 << 30


@dataclass(frozen=True)
class Settings:
    """q of all streams; sigma of the camera noise in 8-bit steps; frames of the long runs; pictures used."""

    q: int
    sigma: float
    frames: int
    still_picture: str
    still_size: tuple[int, int]
    object_from: str
    clip: str


@dataclass(frozen=True)
class StillScene:
    """A still scene with fresh noise in every frame. Bytes are those of whole access units; share: of the key frame."""

    key_bytes: int
    p_bytes: tuple[int, ...]
    mean_share: float
    worst_share: float
    key_psnr: float
    last_psnr: float


@dataclass(frozen=True)
class EnteringObject:
    """An object that appears from one frame to the next, in the still scene, ``at`` frames after the key frame.

    before: RGB PSNR of its region in the frame before it (of the machine view against the clean scene without it);
    psnr: in its first frame and the following ones, against the scene with it; eventual: the mean of the last five;
    missing: the same region if the view had not moved at all. unit_bytes: of the access units from its first frame on.
    """

    at: int
    region: tuple[int, int, int, int]
    before: float
    missing: float
    psnr: tuple[float, ...]
    eventual: float
    unit_bytes: tuple[int, ...]


@dataclass(frozen=True)
class LongRun:
    """P frames without a key frame. Windows of a hundred frames: mean bytes of a unit and mean PSNR, first to last."""

    scene: str
    q: int
    frames: int
    key_bytes: int
    window_bytes: tuple[float, ...]
    window_psnr: tuple[float, ...]
    rate_growth: float
    psnr_change: float


@dataclass(frozen=True)
class Results:
    """All three."""

    still: StillScene
    entering: EnteringObject
    long_runs: tuple[LongRun, ...]


@dataclass(frozen=True)
class Coded:
    """One frame through the codec."""

    bytes: int
    shown: RGB


class Loop:
    """An encoder and a decoder in step; only bytes pass between them."""

    def __init__(self, width: int, height: int, profile: Profile, *, q: int, threads: int) -> None:
        self._encoder = Encoder(width, height, rate=Fraction(25), q=q, gop=NEVER, profile=profile, threads=threads)
        self._decoder = Decoder(profile=profile, threads=threads, strict=True)

    def __call__(self, frame: av.VideoFrame) -> Coded:
        """Code and decode one frame."""
        (packet,) = self._encoder.encode(frame)
        data = bytes(packet)
        (shown,) = self._decoder.decode(data)
        return Coded(len(data), planar_rgb(shown))


def noisy(clean: RGB, generator: np.random.Generator) -> RGB:
    """The picture as a camera would give it: Gaussian noise of SIGMA in every sample."""
    noise = generator.normal(0, SIGMA, clean.shape)
    return np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)


def still_scene(clean: RGB, loop: Loop, count: int, generator: np.random.Generator) -> StillScene:
    """``count`` P frames of a still scene; PSNR is against the clean picture."""
    coded = [loop(rgb_frame(noisy(clean, generator))) for _ in range(count + 1)]
    share = [unit.bytes / coded[0].bytes for unit in coded[1:]]
    return StillScene(coded[0].bytes, tuple(unit.bytes for unit in coded[1:]), float(np.mean(share)), max(share),
                      psnr(clean, coded[0].shown), psnr(clean, coded[-1].shown))


def entering_object(clean: RGB, thing: RGB, loop: Loop, generator: np.random.Generator, *, at: int = 10,
                    after: int = 15) -> EnteringObject:
    """Paste ``thing`` into the scene from frame ``at`` on, off the codec's grid."""
    rows, columns = thing.shape[:2]
    top, left = (clean.shape[0] - rows) // 2 + 5, (clean.shape[1] - columns) // 2 + 11
    region = np.s_[top:top + rows, left:left + columns]
    with_thing = clean.copy()
    with_thing[region] = thing
    before = [loop(rgb_frame(noisy(clean, generator))) for _ in range(at)]
    coded = [loop(rgb_frame(noisy(with_thing, generator))) for _ in range(after)]
    values = tuple(psnr(thing, unit.shown[region]) for unit in coded)
    return EnteringObject(at, (left, top, columns, rows), psnr(clean[region], before[-1].shown[region]),
                          psnr(thing, before[-1].shown[region]), values, float(np.mean(values[-5:])),
                          tuple(unit.bytes for unit in coded))


def long_run(scene: str, q: int, source: Iterable[tuple[av.VideoFrame, RGB]], loop: Loop, window: int) -> LongRun:
    """Code (frame, reference) pairs, all P frames but the first, and compare the last window with the first."""
    sizes, quality = [], []
    for frame, reference in source:
        coded = loop(frame)
        sizes.append(coded.bytes)
        quality.append(psnr(reference, coded.shown))
    key_bytes = sizes.pop(0)
    quality.pop(0)
    if len(sizes) < 2 * window:
        raise ValueError(f"{len(sizes)} P frames: at least {2 * window} are needed to compare beginning and end")
    starts = range(0, len(sizes) - window + 1, window)
    window_bytes = tuple(float(np.mean(sizes[i:i + window])) for i in starts)
    window_psnr = tuple(float(np.mean(quality[i:i + window])) for i in starts)
    return LongRun(scene, q, len(sizes), key_bytes, window_bytes, window_psnr, window_bytes[-1] / window_bytes[0] - 1,
                   window_psnr[-1] - window_psnr[0])


def still_pairs(clean: RGB, generator: np.random.Generator) -> Iterator[tuple[av.VideoFrame, RGB]]:
    """Endless noisy frames of a picture, each with the clean one."""
    while True:
        yield rgb_frame(noisy(clean, generator)), clean


def looped(path: Path) -> tuple[int, Iterator[tuple[av.VideoFrame, RGB]]]:
    """The number of frames of a clip, and its frames for ever, forwards and backwards in turn so that nothing jumps."""
    pictures = [rgb(frame) for frame in frames(path)]
    order = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    return len(order), ((rgb_frame(pictures[index]), pictures[index]) for index in cycle(order))


def run(profile: Profile, settings: Settings, *, threads: int = 0, say: Callable[[str], None] = print) -> Results:
    """All measurements."""
    pictures = {picture.name: picture.rgb for picture in photographs()}
    clean, thing = pictures[settings.still_picture], pictures[settings.object_from]
    # Windows as long as the loop: each sees the same pictures.
    period, pairs = looped(clip(settings.clip))
    if settings.frames < 2 * period:
        raise ValueError(f"{settings.frames} frames: at least {2 * period} are needed to compare two loops of the clip")
    thing = np.ascontiguousarray(thing[30:158, 150:278])  # a head, 128 x 128
    generator = np.random.default_rng(1)

    def loop(width: int, height: int, q: int = settings.q) -> Loop:
        return Loop(width, height, profile, q=q, threads=threads)

    height, width = clean.shape[:2]
    still = still_scene(clean, loop(width, height), 50, generator)
    say(f"still scene: key frame {still.key_bytes} bytes, P frames {still.mean_share:.1%} of it on average, "
        f"{still.worst_share:.1%} at worst; {still.key_psnr:.2f} dB first, {still.last_psnr:.2f} dB last")
    entering = entering_object(clean, thing, loop(width, height), generator)
    say(f"entering object: {entering.missing:.2f} dB without a move, {entering.psnr[0]:.2f} dB in its first frame, "
        f"{entering.psnr[1]:.2f} in its second, {entering.eventual:.2f} eventually")
    small = np.ascontiguousarray(clean[:192, :320])
    count = settings.frames + 1
    runs = [long_run("still", settings.q, islice(still_pairs(small, generator), count), loop(320, 192), 100),
            long_run(settings.clip, settings.q, islice(pairs, count), loop(176, 144), period),
            # A finer quantiser codes some of the noise: the harder case.
            long_run("still", HIGH_Q, islice(still_pairs(small, generator), count), loop(320, 192, HIGH_Q), 100)]
    for result in runs:
        say(f"{result.scene}, q {result.q}: {result.frames} P frames; "
            f"bytes a frame {result.window_bytes[0]:.0f} at first, "
            f"{result.window_bytes[-1]:.0f} at last ({result.rate_growth:+.1%}); "
            f"{result.window_psnr[0]:.2f} dB at first, {result.window_psnr[-1]:.2f} at last")
    return Results(still, entering, tuple(runs))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.time", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="s", help="bundled name or folder")
    parser.add_argument("--frames", type=int, default=2000, help="P frames of the long runs")
    parser.add_argument("--q", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULTS / "time.json")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args(arguments)
    profile = Profile(options.profile)
    settings = Settings(options.q, SIGMA, options.frames, "coffee", (600, 400), "astronaut", "carphone_pristine.mp4")
    results = run(profile, settings, threads=options.threads)
    what = "Still scene, entering object, long runs of P frames; real bytes, machine view"
    write(options.out, measured(what, profile, settings, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
