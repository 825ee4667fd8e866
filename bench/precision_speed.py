"""What profiles at another precision bring on this CPU: processor time of encoding and decoding, bits, cold start.

    python -m bench.precision_speed FOLDER [FOLDER ...] [--clips FILE ...] [--threads 1 2] [--out FILE]

The first profile is the bundled one, with which the others are compared, taken in turns in one process. Processor time
is of all threads together: it is what a frame costs, and hardly depends on what else the machine does, but for threads
that wait awake; wall time is given beside it. Bits: change of the bytes at equal PSNR of the machine view, of bikes.mp4
and of ``--clips``, two pieces of each, with one key frame a piece (one alone scatters by a per cent, since an encoder's
choices fall otherwise): through the profile's own decoder network, whose loss in 8 bits counts too, and through the
first profile's, which tells what the streams themselves lost. Cold start: a new process, ``duoview encode`` of one
frame of 640x360, from its start to its end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from bench.media import clip, frames
from bench.result import RESULTS, measured, write
from duoview import Decoder, Encoder, Profile
from duoview.backends import Backend, CpuBackend
from duoview.export.calibration import Clip, pixels, read_clip
from duoview.export.variant import VIEW_NETWORK, Curve, Replaced, curve, rate_change

NAME = "bikes.mp4"
#: By clip, the change of each piece of it.
Shares = dict[str, tuple[float | None, ...]]


@dataclass(frozen=True)
class Settings:
    """Frames and size of what is timed, its quality index, and rounds.

    bits_frames, bits_side: frames of the pieces that bits are of, and their longer side. bits_starts: the first frames
    of the pieces; those that a clip is too short for are left out, but for the first. bits_qualities: quality indices.
    """

    width: int = 640
    height: int = 360
    q: int = 24
    frames: int = 25
    rounds: int = 5
    bits_frames: int = 25
    bits_side: int = 448
    bits_starts: tuple[int, ...] = (0, 45)
    bits_qualities: tuple[int, ...] = (10, 18, 26, 34, 42)
    cold_starts: int = 5


@dataclass(frozen=True)
class Cost:
    """Milliseconds of a frame, medians over the rounds.

    times, times_wall: the first profile's processor and wall time over this one's.
    """

    profile: str
    networks: dict[str, str]
    what: str
    threads: int
    processor: float
    wall: float
    times: float
    times_wall: float


@dataclass(frozen=True)
class Bits:
    """Change of the bytes at equal PSNR against the first profile, as a share, by clip and by piece of it.

    clips: with views of the profile's own decoder network. streams: of the first profile's. None for a piece whose PSNR
    does not rise with the quality index, or has no range in common. mean, mean_streams: over the clips, of the means of
    their pieces, without those of which one of the two is None; None where nothing is left.
    """

    profile: str
    clips: Shares
    streams: Shares
    mean: float | None
    mean_streams: float | None


@dataclass(frozen=True)
class Results:
    """cold_start: seconds of the whole process, wall and processor, each median and range, of the bundled profile."""

    costs: tuple[Cost, ...]
    bits: tuple[Bits, ...]
    cold_start_wall: tuple[float, float, float]
    cold_start_processor: tuple[float, float, float]


def changed(profile: Profile) -> dict[str, str]:
    """Networks that are not in the precision of the bundled profile, and theirs."""
    found = profile.manifest.get("precision", {}).get("networks", {})
    return {name: str(kind) for name, kind in found.items() if kind != "as in the base"}


def timed(calls: Sequence[Callable[[], None]], rounds: int, count: int) -> list[tuple[float, float]]:
    """Milliseconds of a frame, processor and wall, of each call: medians over rounds in which they take turns."""
    for call in calls:
        call()
    seen: list[list[tuple[float, float]]] = [[] for _ in calls]
    for _ in range(rounds):
        for number, call in enumerate(calls):
            wall, processor = time.perf_counter(), time.process_time()
            call()
            seen[number].append((time.process_time() - processor, time.perf_counter() - wall))
    return [(1000 * statistics.median(p for p, _ in one) / count, 1000 * statistics.median(w for _, w in one) / count)
            for one in seen]


def costs(profiles: Sequence[Profile], settings: Settings, threads: int) -> list[Cost]:
    """Encoding and decoding with every profile."""
    source = list(frames(clip(NAME), limit=settings.frames, width=settings.width, height=settings.height))
    encoding: list[Callable[[], None]] = []
    decoding: list[Callable[[], None]] = []
    for profile in profiles:
        encoder = Encoder(settings.width, settings.height, q=settings.q, gop=1000, profile=profile, threads=threads)
        decoder = Decoder(profile=profile, threads=threads, strict=True)
        packets = [packet for n, frame in enumerate(source) for packet in encoder.encode(frame, key=n == 0)]

        def encode(encoder: Encoder = encoder) -> None:
            for number, frame in enumerate(source):
                encoder.encode(frame, key=number == 0)

        def decode(decoder: Decoder = decoder, packets: list[av.Packet] = packets) -> None:
            for packet in packets:
                decoder.decode(packet)

        encoding.append(encode)
        decoding.append(decode)
    found = []
    for what, calls in (("encode", encoding), ("decode", decoding)):
        measured_ = timed(calls, settings.rounds, len(source))
        for profile, (processor, wall) in zip(profiles, measured_, strict=True):
            found.append(Cost(profile.name, changed(profile), what, threads, processor, wall,
                              measured_[0][0] / processor, measured_[0][1] / wall))
    return found


def pieces(clip: Clip, settings: Settings) -> list[Clip]:
    """Those of a clip that bits are compared with."""
    length = settings.bits_frames
    starts = [start for start in settings.bits_starts if start == 0 or start + length <= len(clip.frames)]
    return [Clip(clip.name, clip.frames[start:start + length], clip.pixels[start:start + length]) for start in starts]


def bits(profiles: Sequence[Profile], clips: Sequence[Clip], settings: Settings) -> list[Bits]:
    """Bytes of every other profile against the first."""
    backend = CpuBackend(1)
    parts = {one.name: pieces(one, settings) for one in clips}

    def curves(profile: Profile, decoding: Backend) -> dict[str, list[Curve]]:
        return {name: [curve(profile, backend, decoding, piece, settings.bits_qualities) for piece in some]
                for name, some in parts.items()}

    def of_piece(first: Curve, second: Curve) -> float | None:
        try:
            return rate_change(first, second)
        except ValueError:  # says nothing about the other pieces, and what was timed before is to be written
            return None

    def change(other: dict[str, list[Curve]]) -> Shares:
        return {name: tuple(map(of_piece, some, other[name])) for name, some in base.items()}

    base = curves(profiles[0], backend)
    found = []
    for profile in profiles[1:]:
        same_view = Replaced(backend, {VIEW_NETWORK: profiles[0].path(VIEW_NETWORK)}, backend)
        own, streams = (change(curves(profile, decoding)) for decoding in (backend, same_view))
        found.append(Bits(profile.name, own, streams, *_means(own, streams)))
    return found


def _means(own: Shares, streams: Shares) -> tuple[float | None, float | None]:
    """Of both over the clips, of the means of the pieces that both know."""
    by_clip = []
    for name, shares in own.items():
        known = [(a, b) for a, b in zip(shares, streams[name], strict=True) if a is not None and b is not None]
        if known:
            by_clip.append([statistics.mean(side) for side in zip(*known, strict=True)])
    if not by_clip:
        return None, None
    first, second = (statistics.mean(side) for side in zip(*by_clip, strict=True))
    return first, second


def cold_starts(settings: Settings) -> list[tuple[float, float]]:
    """Wall and processor seconds of processes that encode one frame with all cores; not the first, which warms up."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        picture, out = Path(folder, "in.png"), Path(folder, "out.nut")
        (frame,) = frames(clip(NAME), limit=1, width=settings.width, height=settings.height)
        frame.to_image().save(picture)
        command = [sys.executable, "-m", "duoview.pipelines", "encode", "-y", "-loglevel", "error", "-i", str(picture),
                   "-machine", "neural", str(out)]
        for _ in range(settings.cold_starts + 1):
            before, began = os.times(), time.perf_counter()
            subprocess.run(command, check=True, cwd=folder)
            after = os.times()
            found.append((time.perf_counter() - began, after.children_user + after.children_system
                          - before.children_user - before.children_system))
    return found[1:]


def _summary(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def _told(share: float | None) -> str:
    return "no PSNR to compare at" if share is None else f"{share:+.2%}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m bench.precision_speed", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("profiles", nargs="+", type=Path, help="folders of profiles that duoview export wrote")
    p.add_argument("--clips", nargs="*", type=Path, default=[], help="more clips to compare bits with")
    p.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    p.add_argument("--frames", type=int, default=Settings.frames)
    p.add_argument("--rounds", type=int, default=Settings.rounds)
    p.add_argument("--out", type=Path, default=RESULTS / "precision_speed.json")
    given = p.parse_args(arguments)
    settings = Settings(frames=given.frames, rounds=given.rounds)
    names = [NAME, *(path.name for path in given.clips)]
    if len(set(names)) < len(names):
        p.error(f"--clips: two files of one name among {', '.join(names)}; results are by name")
    profiles = [Profile("s"), *(Profile(folder) for folder in given.profiles)]
    starts = cold_starts(settings)
    found = [cost for threads in given.threads for cost in costs(profiles, settings, threads)]
    for cost in found:
        print(f"{cost.what} {cost.threads} thread(s) {','.join(cost.networks) or 'as bundled'}: {cost.processor:.1f} "
              f"ms of processor time a frame ({cost.wall:.1f} wall), {cost.times:.2f} times as fast "
              f"({cost.times_wall:.2f})")
    most = max(settings.bits_starts) + settings.bits_frames
    source = list(frames(clip(NAME), limit=most, width=settings.bits_side,
                         height=settings.bits_side * 9 // 16))
    clips = [Clip(NAME, tuple(source), tuple(map(pixels, source))),
             *(read_clip(path, frames=most, step=1, side=settings.bits_side) for path in given.clips)]
    change = bits(profiles, clips, settings)
    for one in change:
        print(f"{one.profile}: bits {_told(one.mean)}, streams alone {_told(one.mean_streams)}")
        for name, shares in one.clips.items():
            print(f"  {name}", *(f"{_told(own)} (streams {_told(alone)})"
                                 for own, alone in zip(shares, one.streams[name], strict=True)))
    wall, processor = (_summary([pair[n] for pair in starts]) for n in (0, 1))
    print(f"cold start to one frame: {wall[0]:.2f} s wall, {processor[0]:.2f} s of processor time")
    write(given.out, measured("profiles at another precision on a CPU: cost, bits, cold start", profiles[0], settings,
                              Results(tuple(found), tuple(change), wall, processor)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
