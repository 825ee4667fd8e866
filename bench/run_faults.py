"""`duoview run` with four RTSP cameras, of which one fails in every way: what it and the others record meanwhile.

    python -m bench.run_faults --model yolox_nano.onnx [--out FILE]

The cameras and what is done with them are those of `bench.run`: recorded as they come, coded for machines, looked at by
a detector. The first one is killed and restarted, stopped, throttled, made to send nonsense. Segments are MPEG-TS here,
in which each packet is in the file at once: files are looked at from outside, a gap is one in which none grew.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.live import Sleeper
from bench.machine import Machine, this_machine
from bench.result import RESULTS, write
from bench.run import RTSP, Settings, configuration, largest_gap, ready, run, scrape, street, total
from duoview.pipelines.segment_file import content_of
from duoview.pipelines.segment_index import PART, read_segments
from duoview.pipelines.unit_recorder import content_of_units

_LOOK = 0.01  # seconds between two looks


@dataclass(frozen=True)
class Times:
    """Seconds: the cameras' timeouts, how long each fault lasts, and how long nothing is done after it."""

    open_timeout: float = 2.0
    read_timeout: float = 2.0
    fault: float = 6.0
    calm: float = 8.0


@dataclass(frozen=True)
class Fault:
    """What one fault did, in seconds.

    losses: of connections, and attempts that failed. again: from its end to the next packet that was recorded. others:
    largest gap between recorded packets of the other cameras, and how many were over 200 ms; machine: by which a
    process that only sleeps was woken up too late at most.
    """

    kind: str
    losses: int
    again: float
    within_twice_the_timeout: bool
    largest_gap_of_others: float
    gaps_of_others_over_200_ms: int
    largest_stall_of_machine: float


@dataclass(frozen=True)
class Recorded:
    """One recording afterwards: numbers are 0, 1, 2, ... without one missing or given twice, or reading them fails."""

    name: str
    segments: int
    seconds: float
    largest_gap: float
    not_opened: int
    lost: int
    reconnects: int


@dataclass(frozen=True)
class Results:
    """calm: gaps of all but the first camera before the first fault. largest_look: between two looks at the files."""

    seconds: float
    exit_code: int
    largest_look: float
    largest_calm_gap: float
    faults: tuple[Fault, ...]
    recordings: tuple[Recorded, ...]


@dataclass(frozen=True)
class Report:
    """What was measured, where and when."""

    what: str
    date: str
    machine: Machine
    settings: Settings
    times: Times
    results: Results


class Looks:
    """A thread that looks at the files being recorded all the time, and keeps when each camera's was seen to grow."""

    def __init__(self, folder: Path, cameras: int) -> None:
        self._folder = folder
        self._end = threading.Event()
        self.grown: dict[str, list[float]] = {f"cam{number}": [] for number in range(cameras)}
        self.times: list[float] = []
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def _look_on(self) -> None:
        sizes: dict[str, tuple[str, int]] = {}
        while not self._end.wait(_LOOK):
            now = time.monotonic()
            self.times.append(now)
            for name, size in self._sizes():
                camera = name.partition("-")[0]
                if camera in self.grown and sizes.get(camera) != (name, size):
                    sizes[camera] = name, size
                    self.grown[camera].append(now)

    def _sizes(self) -> list[tuple[str, int]]:
        found = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):  # finished in this moment
                if entry.name.endswith(PART) and entry.stat().st_size:
                    found.append((entry.name, entry.stat().st_size))
        return found

    def gaps(self, begin: float, end: float) -> list[float]:
        """Of all cameras but the first, the seconds between packets that were written within a span."""
        spans = [[at for at in list(self.grown[name]) if begin <= at <= end] for name in list(self.grown)[1:]]
        return [two - one for span in spans for one, two in itertools.pairwise([begin, *span, end])]

    def again(self, after: float, within: float = 60.0) -> float:
        """Seconds from a moment to the first packet of the first camera that was written after it."""
        while time.monotonic() < after + within:
            late = [at for at in list(self.grown["cam0"]) if at > after]
            if late:
                return late[0] - after
            time.sleep(0.02)
        raise RuntimeError(f"no packet within {within:g} s")

    def close(self) -> None:
        """Look no more."""
        self._end.set()
        self._thread.join(20)


def measure(settings: Settings, times: Times, folder: Path) -> Results:
    """One fault after the other, each with calm behind it; then what was recorded."""
    out, port = folder / "out", RTSP.free_port()
    out.mkdir()
    with contextlib.ExitStack() as stack:
        cameras = stack.enter_context(street(settings, folder))
        line = stack.enter_context(RTSP.Line(cameras[0]))
        content = json.loads(configuration(settings, out, cameras, port))
        content["cameras"]["cam0"]["url"] = line.url
        for camera in content["cameras"].values():
            camera["timeout"] = {"open": times.open_timeout, "read": times.read_timeout}
            camera["record"]["format"] = "ts"
        path = folder / "pipelines.yaml"
        path.write_text(json.dumps(content))
        process = run(path)
        stack.callback(process.kill)
        ready(port, settings.cameras)
        sleeper = stack.enter_context(Sleeper())
        looks = Looks(out, settings.cameras)
        stack.callback(looks.close)
        time.sleep(times.calm)
        began = time.monotonic()
        time.sleep(times.fault + times.calm)
        quiet = max(looks.gaps(began, time.monotonic()))
        found = tuple(_fault(kind, begin, end, times, looks, sleeper, port)
                      for kind, begin, end in kinds(cameras[0], line))
        seconds = time.monotonic() - began
        looks.close()
        metrics = scrape(port)
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    largest = max(two - one for one, two in itertools.pairwise(looks.times))
    names = [f"cam{number}{kind}" for number in range(settings.cameras) for kind in ("", ".machine")]
    return Results(seconds, code, largest, quiet, found, tuple(recorded(out, name, metrics) for name in names))


def kinds(camera: Any, line: Any) -> list[tuple[str, Callable[[], object], Callable[[], object]]]:
    """Each fault: its name, what begins it, what ends it."""
    def noise(share: float) -> Callable[[], object]:
        return lambda: setattr(line, "noise", share)

    def throttle(rate: float | None) -> Callable[[], object]:
        return lambda: setattr(line, "bytes_per_second", rate)

    return [("killed, restarted", camera.kill, camera.start),
            ("stopped (SIGSTOP), continued", camera.freeze, camera.thaw),
            ("throttled to 10 kB/s", throttle(10_000), throttle(None)),
            ("throttled to 500 B/s", throttle(500), throttle(None)),
            ("a fifth of its data nonsense", noise(0.2), noise(0.0)),
            ("nothing but nonsense", noise(1.0), noise(0.0))]


def _fault(kind: str, begin: Callable[[], object], end: Callable[[], object], times: Times, looks: Looks,
           sleeper: Sleeper, port: int) -> Fault:
    before, began = _losses(port), time.monotonic()
    begin()
    time.sleep(times.fault)
    end()
    again = looks.again(time.monotonic())
    time.sleep(times.calm)
    ended = time.monotonic()
    gaps = looks.gaps(began, ended)
    fault = Fault(kind, _losses(port) - before, again, again <= 2 * max(times.open_timeout, times.read_timeout),
                  max(gaps), sum(gap > 0.2 for gap in gaps), sleeper.largest(began, ended))
    print(json.dumps(asdict(fault)), flush=True)
    return fault


def _losses(port: int) -> int:
    return int(total(scrape(port), "duoview_source_losses_total", source="cam0"))


def recorded(folder: Path, name: str, metrics: list[tuple[str, dict[str, str], float]]) -> Recorded:
    """What is there of a recording. Raises where its index misses a number or has one twice, or a file is not there."""
    segments = read_segments(folder, name)
    read = content_of_units if name.endswith(".machine") else content_of
    closed = sum(read(folder / one.file).frames != one.frames for one in segments)
    if list(folder.glob(f"{name}-*{PART}")):
        raise RuntimeError(f"{name}: a file was left unfinished")
    source = name.removesuffix(".machine")
    return Recorded(name, len(segments), sum(one.seconds for one in segments),
                    largest_gap(segments), closed,
                    int(total(metrics, "duoview_recorded_lost_packets_total", recording=name)),
                    int(total(metrics, "duoview_source_reconnects_total", source=source)))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run_faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--model", required=True, type=Path, help="a network that dv_detect reads")
    parser.add_argument("--out", type=Path, default=RESULTS / "run_faults.json")
    options = parser.parse_args(arguments)
    python, lacking = RTSP.interpreter()
    if python is None:
        parser.error(lacking)
    machine, times = this_machine(), Times()
    settings = Settings(options.cameras, minutes=3.0, kills=0, segment=20.0, model=str(options.model.resolve()))
    with tempfile.TemporaryDirectory() as name:
        results = measure(settings, times, Path(name))
    for one in results.recordings:
        print(json.dumps(asdict(one)))
    shown = Settings(**{**asdict(settings), "model": options.model.name})
    write(options.out, Report("duoview run: one of the RTSP cameras fails in every way, the others go on",
                              datetime.now(UTC).isoformat(timespec="seconds"), machine, shown, times, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
