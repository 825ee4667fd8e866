"""Memory and speed of many streams in one process: each with networks of its own, shared, and shared in batches.

    python -m bench.shared_networks [--streams 1 8] [--out bench/results/shared_networks.json]

Every case runs in a process of its own. Encoders have threads of their own, all begin at once, and each encodes other
frames of the clip; memory is what the process holds while all encoders are there. Packets of all ways have to be the
same. Timings on a busy machine are worth little: the load is in the file.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import statistics
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

import av

from bench.long_run import resident_mib
from bench.media import clip, frames
from bench.result import RESULTS, measured, write
from duoview import Encoder, Profile
from duoview.backends import Backend, CpuBackend
from duoview.backends.loaded import LOADED

WAYS = ("alone", "shared", "batched")


@dataclass(frozen=True)
class Settings:
    """What is encoded, by how many streams at once. window: seconds, of the batched way."""

    clip: str = "bikes.mp4"
    width: int = 320
    height: int = 192
    q: int = 24
    gop: int = 10
    frames: int = 12
    threads: int = 1
    streams: tuple[int, ...] = (1, 8)
    window: float = 0.02
    repeats: int = 3


@dataclass(frozen=True)
class Case:
    """One way of so many streams: medians over the repeats.

    loaded_mib: what encoders added to the process before their first frame; working_mib: after their last one.
    networks: shared ones in the process. opened_seconds: until all encoders are there. frames_per_second: of all
    streams together. cpu_milliseconds: of the process, for each frame. mean_batch: calls of one run of a network; 0
    where there are no batches.
    """

    way: str
    streams: int
    loaded_mib: float
    working_mib: float
    networks: int
    opened_seconds: float
    frames_per_second: float
    cpu_milliseconds: float
    mean_batch: float
    packets_sha256: str


@dataclass(frozen=True)
class Results:
    """All cases; the same packets: whether each stream's were equal whichever way they were made."""

    cases: tuple[Case, ...]
    same_packets: bool


class OwnBackend(CpuBackend):
    """Networks that no other stream has: what every encoder had before networks were shared."""

    @property
    def identity(self) -> Hashable | None:
        """None: not to be shared."""
        return None


def run(settings: Settings, way: str, streams: int) -> Case:
    """One case, in this process."""
    pictures = [list(_pictures(settings, first)) for first in range(streams)]
    before = resident_mib()
    began = time.perf_counter()
    encoders = [_encoder(settings, way, streams) for _ in range(streams)]
    opened, loaded = time.perf_counter() - began, resident_mib() - before
    packets: list[list[bytes]] = [[] for _ in range(streams)]
    start = threading.Barrier(streams + 1)

    def encode(number: int) -> None:
        start.wait()
        for frame in (*pictures[number], None):
            packets[number] += [bytes(packet) for packet in encoders[number].encode(frame)]

    threads = [threading.Thread(target=encode, args=(number,)) for number in range(streams)]
    for thread in threads:
        thread.start()
    start.wait()
    began, worked = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    taken, worked = time.perf_counter() - began, time.process_time() - worked
    if any(len(one) != settings.frames for one in packets):
        raise RuntimeError(f"{way}: {[len(one) for one in packets]} packets of {settings.frames} frames each")
    digest = hashlib.sha256(b"".join(packet for one in packets for packet in one)).hexdigest()
    return Case(way, streams, loaded, resident_mib() - before, len(LOADED), opened, streams * settings.frames / taken,
                1000 * worked / (streams * settings.frames), _mean_batch(encoders[0]), digest)


def _pictures(settings: Settings, first: int) -> list[av.VideoFrame]:
    path = clip(settings.clip)
    found = list(frames(path, limit=first + settings.frames, width=settings.width, height=settings.height))[first:]
    for number, frame in enumerate(found):
        frame.pts, frame.time_base = number, Fraction(1, 25)
    return found


def _encoder(settings: Settings, way: str, streams: int) -> Encoder:
    device: str | Backend = OwnBackend(settings.threads) if way == "alone" else "cpu"
    return Encoder(settings.width, settings.height, q=settings.q, gop=settings.gop, device=device,
                   threads=settings.threads, batch=max(2, streams) if way == "batched" else 1, window=settings.window)


def _mean_batch(encoder: Encoder) -> float:
    """Calls of one run of a network, over all networks."""
    batchers = encoder._seat.batchers if encoder._seat is not None else ()
    runs = sum(batcher.batches for batcher in batchers)
    return sum(batcher.items for batcher in batchers) / runs if runs else 0.0


def _child(pipe: Connection, settings: Settings, way: str, streams: int) -> None:
    pipe.send(run(settings, way, streams))


def in_child(settings: Settings, way: str, streams: int) -> Case:
    """One case in a new process. Raises RuntimeError where it ends without a result."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    child = context.Process(target=_child, args=(its, settings, way, streams))
    child.start()
    its.close()
    try:
        case = mine.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"{way} of {streams} streams: its process ended with {child.exitcode}") from None
    child.join()
    assert isinstance(case, Case)
    return case


def median(cases: list[Case]) -> Case:
    """Of repeats of one case, whose packets are equal. Raises RuntimeError where they are not."""
    if len({case.packets_sha256 for case in cases}) != 1:
        raise RuntimeError(f"{cases[0].way} of {cases[0].streams} streams: other packets at another time")
    middle = {name: statistics.median(getattr(case, name) for case in cases)
              for name in ("loaded_mib", "working_mib", "opened_seconds", "frames_per_second", "cpu_milliseconds",
                           "mean_batch")}
    return replace(cases[0], **middle)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=Settings.streams)
    parser.add_argument("--frames", type=int, default=Settings.frames)
    parser.add_argument("--repeats", type=int, default=Settings.repeats)
    parser.add_argument("--out", type=Path, default=RESULTS / "shared_networks.json")
    options = parser.parse_args()
    settings = Settings(frames=options.frames, streams=tuple(options.streams), repeats=options.repeats)
    cases = []
    for streams in settings.streams:
        # In turn, so that what else the machine does falls on all ways alike.
        found = [[in_child(settings, way, streams) for way in WAYS] for _ in range(settings.repeats)]
        cases += [median([row[way] for row in found]) for way in range(len(WAYS))]
        for case in cases[-len(WAYS):]:
            print(case)
    same = all(len({case.packets_sha256 for case in cases if case.streams == streams}) == 1
               for streams in settings.streams)
    write(options.out, measured(
        f"Memory and speed of encoders of {settings.width}x{settings.height} in threads of one process, each with "
        "networks of its own, with shared ones, and with shared ones in batches", Profile("s"), settings,
        Results(tuple(cases), same)))


if __name__ == "__main__":
    main()
