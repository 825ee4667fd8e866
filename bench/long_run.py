"""Memory over many frames of the inner machine codec, and seeks in a file of a day.

    python -m bench.long_run [--frames 50000] [--hours 24] [--formats nut mov] [--out bench/results/long_run.json]

A looped clip is encoded and decoded in this one process, whose memory is looked at on the way. The units it gave are
then written again and again, with advancing times, into one file for each format, and sought in at random times.
Nothing else should run beside; timings on a busy machine are worth little.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

import duoview
from bench.media import clip, frames
from bench.result import RESULTS, measured, write
from duoview import Decoder, Encoder, FrameOrigin, Profile
from duoview.inner import InnerSettings


@dataclass(frozen=True)
class Settings:
    """The clip, the size it is scaled to beforehand, and how it is coded; then the long file.

    samples: how often memory is looked at. hours: of the long file. seeks: in each format. view: what is decoded.
    """

    clip: str = "bikes.mp4"
    width: int = 320
    height: int = 180
    rate: int = 10
    q: int = 24
    gop: int = 20
    codec: str = "h264"
    preset: str = "veryfast"
    frames: int = 50_000
    samples: int = 10
    view: str = "machine"
    hours: float = 24.0
    seeks: int = 1000
    formats: tuple[str, ...] = ("nut", "mov")


@dataclass(frozen=True)
class Memory:
    """What the process held after so many frames were encoded and decoded: MiB in RAM."""

    frames: int
    mib: float


@dataclass(frozen=True)
class Run:
    """Encoding and decoding. growth_mib: from the first sample to the last; concealed: frames, which must be none."""

    memory: tuple[Memory, ...]
    growth_mib: float
    decoded: int
    concealed: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Seeks:
    """One file. Milliseconds until the key unit is there, and until a picture is decoded from it and what follows."""

    format: str
    file_bytes: int
    units: int
    written_seconds: float
    opened_milliseconds: float
    median_milliseconds: float
    most_milliseconds: float
    picture_median_milliseconds: float
    picture_most_milliseconds: float


@dataclass(frozen=True)
class Results:
    """Both parts."""

    run: Run
    seeks: tuple[Seeks, ...]


def resident_mib() -> float:
    """Memory of this process that is in RAM now, in MiB. Raises OSError where there is no /proc (not Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def looped(pictures: Sequence[av.VideoFrame], count: int, rate: int) -> Iterator[av.VideoFrame]:
    """``count`` frames: the pictures over and over, with times that go on. The frames are the given ones each time."""
    for number, frame in enumerate(itertools.islice(itertools.cycle(pictures), count)):
        frame.pts, frame.time_base, frame.duration = number, Fraction(1, rate), 1
        yield frame


def run_through(settings: Settings, profile: Profile, target: Path) -> Run:
    """Encode and decode all frames, keeping none; the units go to the file ``target``."""
    source = list(frames(clip(settings.clip), width=settings.width, height=settings.height))
    encoder = Encoder(settings.width, settings.height, rate=Fraction(settings.rate), q=settings.q, gop=settings.gop,
                      profile=profile, threads=1, machine="inner",
                      inner=InnerSettings(settings.codec, preset=settings.preset, threads=1))
    decoder = Decoder(profile=profile, threads=1, view=settings.view, strict=True)
    every = max(1, settings.frames // settings.samples)
    memory: list[Memory] = []
    decoded = concealed = size = 0
    began = time.perf_counter()
    sink = None
    try:
        stream = itertools.chain(looped(source, settings.frames, settings.rate), (None,))
        for number, frame in enumerate(stream, 1):
            for packet in encoder.encode(frame):
                if sink is None:
                    sink = duoview.open(target, "w")
                    sink.add_stream(rate=settings.rate, width=settings.width, height=settings.height,
                                    time_base=packet.time_base)
                sink.mux(packet)
                size += packet.size
                for shown in decoder.decode(packet):
                    decoded += 1
                    concealed += isinstance(shown.opaque, FrameOrigin) and shown.opaque.concealed
            if number % every == 0:
                memory.append(Memory(number, resident_mib()))
        decoded += len(decoder.decode(None))
    finally:
        if sink is not None:
            sink.close()
    spent = time.perf_counter() - began
    return Run(tuple(memory), memory[-1].mib - memory[0].mib, decoded, concealed, size, spent)


def repeated(source: Path, count: int, rate: int) -> Iterator[av.Packet]:
    """``count`` units: those of a file over and over, their times going on by the frames of one pass."""
    with duoview.open(source) as container:
        packets = list(container.demux())
    base = packets[0].time_base
    assert base is not None
    ahead = round(len(packets) / rate / Fraction(base))
    for number in range(count):
        turn, place = divmod(number, len(packets))
        one = packets[place]
        assert one.pts is not None and one.dts is not None
        packet = av.Packet(bytes(one))
        packet.time_base, packet.duration = one.time_base, one.duration
        packet.pts, packet.dts = one.pts + turn * ahead, one.dts + turn * ahead
        yield packet


def seek_through(settings: Settings, profile: Profile, source: Path, format: str, folder: Path) -> Seeks:
    """Write the long file in a format and seek in it. The file is removed at the end."""
    path, count = folder / f"long.{format}", round(settings.hours * 3600 * settings.rate)
    try:
        began = time.perf_counter()
        units = repeated(source, count, settings.rate)
        first = next(units)
        with duoview.open(path, "w") as sink:
            sink.add_stream(rate=settings.rate, width=settings.width, height=settings.height, time_base=first.time_base)
            sink.mux(itertools.chain((first,), units))
        written = time.perf_counter() - began
        return _seeks(settings, profile, path, format, count, written)
    finally:
        path.unlink(missing_ok=True)


def _seeks(settings: Settings, profile: Profile, path: Path, format: str, count: int, written: float) -> Seeks:
    places = random.Random(settings.seeks)
    decoder = Decoder(profile=profile, threads=1, view=settings.view, strict=True)
    found, shown = [], []
    began = time.perf_counter()
    with duoview.open(path) as container:
        opened = time.perf_counter() - began
        for _ in range(settings.seeks):
            target = places.uniform(0, (count - 1) / settings.rate)
            began = time.perf_counter()
            container.seek(target)
            packets = container.demux()
            packet = next(packets)
            found.append(time.perf_counter() - began)
            assert packet.pts is not None and packet.time_base is not None
            late = target - float(packet.pts * packet.time_base)
            if not packet.is_keyframe or not 0 <= late <= settings.gop / settings.rate:
                raise RuntimeError(f"{path.name}: sought {target:.3f} s, landed {late:.3f} s before")
            decoder.reset()
            frames_ = decoder.decode(packet)
            while not frames_:
                following = next(packets, None)
                frames_ = decoder.decode(following)
                if following is None:
                    break
            if not frames_:
                raise RuntimeError(f"{path.name}: no picture at {target:.3f} s")
            shown.append(time.perf_counter() - began)
    return Seeks(format, path.stat().st_size, count, written, 1000 * opened, 1000 * statistics.median(found),
                 1000 * max(found), 1000 * statistics.median(shown), 1000 * max(shown))


def run(settings: Settings, profile: Profile) -> Results:
    """Both parts, in a folder of their own that is removed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "units.dv"
        first = run_through(settings, profile, source)
        return Results(first, tuple(seek_through(settings, profile, source, format, folder)
                                    for format in settings.formats))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    usual = Settings()
    parser = argparse.ArgumentParser(prog="python -m bench.long_run", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="s", help="bundled name or folder")
    parser.add_argument("--frames", type=int, default=usual.frames, help="to encode and decode")
    parser.add_argument("--width", type=int, default=usual.width)
    parser.add_argument("--height", type=int, default=usual.height)
    parser.add_argument("--codec", default=usual.codec, help="h264, hevc or av1")
    parser.add_argument("--preset", default=usual.preset, help="of the inner encoder")
    parser.add_argument("--hours", type=float, default=usual.hours, help="of the long file")
    parser.add_argument("--seeks", type=int, default=usual.seeks, help="in each format")
    parser.add_argument("--formats", nargs="+", default=list(usual.formats),
                        help="nut, mov, dv, ts; av1, which is not reordered, in mp4 and avi too")
    parser.add_argument("--out", type=Path, default=RESULTS / "long_run.json")
    options = parser.parse_args(arguments)
    profile = Profile(options.profile)
    settings = Settings(width=options.width, height=options.height, codec=options.codec, preset=options.preset,
                        frames=options.frames, hours=options.hours, seeks=options.seeks, formats=tuple(options.formats))
    results = run(settings, profile)
    for memory in results.run.memory:
        print(f"after {memory.frames:6d} frames {memory.mib:7.1f} MiB")
    print(f"{results.run.decoded} frames decoded, {results.run.concealed} concealed, "
          f"{results.run.bytes / settings.frames:.1f} bytes a frame, {settings.frames / results.run.seconds:.1f} fps")
    for one in results.seeks:
        print(f"{one.format:4} {one.file_bytes / 1e6:7.1f} MB, {one.units} units, opened in "
              f"{one.opened_milliseconds:.1f} ms; seek median {one.median_milliseconds:.2f} ms, most "
              f"{one.most_milliseconds:.1f} ms; first picture median {one.picture_median_milliseconds:.1f} ms, most "
              f"{one.picture_most_milliseconds:.1f} ms")
    what = (f"Memory over {settings.frames} looped frames of the inner codec at {settings.width}x{settings.height}, "
            f"and seeks in a file of {settings.hours:g} hours of its units")
    write(options.out, measured(what, profile, settings, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
