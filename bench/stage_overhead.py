"""What a stage costs in a graph: microseconds of processor time a frame over libavfilter's own graph without it.

    python -m bench.stage_overhead [--frames 2000] [--repeats 15] [--out bench/results/stage_overhead.json]

The stage does nothing and the filters pass references on, so all that is measured is what carries frames to and fro. Of
the repeats the fastest counts: other work on the machine only ever adds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av

from bench.result import RESULTS, measured, write
from duoview import Graph, Profile, Stage

ALLOWED = 50.0


class Nothing(Stage):
    """Pass each frame on."""

    name = "bench_nothing"

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        yield frame


@dataclass(frozen=True)
class Settings:
    """Frames a repeat, repeats, their size."""

    frames: int
    repeats: int
    size: tuple[int, int] = (64, 48)


@dataclass(frozen=True)
class Results:
    """Microseconds of processor time a frame.

    native: ``null,null`` in an av.filter.Graph, pushed and pulled by hand; graph: the same text in a duoview.Graph;
    stage: ``null,bench_nothing,null``, two native runs and the stage; branches: a stage on one of two branches that
    hstack joins; native_branches: those without the stage, by hand. stage_overhead and branch_overhead: the difference
    to the native one.
    """

    native: float
    graph: float
    stage: float
    native_branches: float
    branches: float
    stage_overhead: float
    branch_overhead: float
    allowed: float


def run(settings: Settings) -> Results:
    """Measure all graphs in turn, so that a busy moment hits none alone."""
    frames = [_frame(settings.size, pts) for pts in range(settings.frames)]
    ways: dict[str, Callable[[], int]] = {
        "native": lambda: _native(settings, frames, branches=False),
        "graph": lambda: _graph("null,null", frames),
        "stage": lambda: _graph("null,bench_nothing,null", frames),
        "native_branches": lambda: _native(settings, frames, branches=True),
        "branches": lambda: _graph("split[a][b];[a]bench_nothing[c];[c][b]hstack", frames),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(settings.repeats):
        for name, way in ways.items():
            began = time.process_time()
            count = way()
            best[name] = min(best[name], (time.process_time() - began) / len(frames) * 1e6)
            if count != len(frames):
                raise AssertionError(f"{name}: {count} frames came out of {len(frames)}")
    return Results(**best, stage_overhead=best["stage"] - best["native"],
                   branch_overhead=best["branches"] - best["native_branches"], allowed=ALLOWED)  # fmt: skip


def _frame(size: tuple[int, int], pts: int) -> av.VideoFrame:
    frame = av.VideoFrame(*size, "yuv420p")
    frame.pts, frame.time_base, frame.duration = pts, Fraction(1, 25), 1
    return frame


def _graph(text: str, frames: Sequence[av.VideoFrame]) -> int:
    with Graph.parse(text, stages={"bench_nothing": Nothing}, threads=1) as graph:
        return sum(1 for _ in graph.process(frames))


def _native(settings: Settings, frames: Sequence[av.VideoFrame], *, branches: bool) -> int:
    graph = av.filter.Graph()
    graph.threads = 1
    size = f"{settings.size[0]}x{settings.size[1]}"
    source = graph.add("buffer", video_size=size, pix_fmt="yuv420p", time_base="1/25")
    sink = graph.add("buffersink")
    if branches:
        split, stack = graph.add("split"), graph.add("hstack")
        source.link_to(split)
        split.link_to(stack, 0, 0)
        split.link_to(stack, 1, 1)
        stack.link_to(sink)
    else:
        graph.link_nodes(source, graph.add("null"), graph.add("null"), sink)
    graph.configure()
    count = 0
    for frame in (*frames, None):
        source.push(frame)
        while True:
            try:
                sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break
            count += 1
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.stage_overhead", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS / "stage_overhead.json")
    given = parser.parse_args(arguments)
    settings = Settings(given.frames, given.repeats)
    results = run(settings)
    what = "microseconds a frame that a stage costs between native filters"
    write(given.out, measured(what, Profile(), settings, results))
    print(json.dumps({key: round(value, 1) for key, value in asdict(results).items()}))
    return 0 if max(results.stage_overhead, results.branch_overhead) <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
