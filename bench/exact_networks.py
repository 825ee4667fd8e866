"""Exact networks: how many outputs differ between torch in float64 and everything else that may compute them.

    python -m bench.exact_networks [--outputs 10000000] [--int8 FOLDER] [--fp16 FOLDER] [--out FILE]

Every exact network of the profile is given drawn integers (small ones, the full range, and all at their limits) until
it has put out so many numbers, and what it is given when a real clip is coded. torch in float64 is what the others are
compared with: torch in float32, and onnxruntime at every level of graph optimisation, with one thread and with two.
Of a profile in 8 bits or in float16 the same is done with what its float networks lead to; float16 runs in torch, since
onnxruntime's CPU computes such files in float32. A single difference makes the exit code 1.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.media import clip, frames
from bench.result import RESULTS, measured, write
from duoview import Profile
from duoview.backends import Backend, CpuBackend, Network
from duoview.backends.onnxruntime_cpu import OPTIMISATIONS
from duoview.export.calibration import Clip, RecordingBackend, coded, pixels
from duoview.export.torch_backend import TorchBackend
from duoview.golden import exact_inputs

Inputs = Mapping[str, NDArray[Any]]
REFERENCE = "torch float64"
#: Sizes of drawn inputs in units of 64 pixels: odd ones, rows, columns, and that of 640x360.
SIZES = ((6, 10), (1, 1), (3, 17), (11, 2), (5, 7))


@dataclass(frozen=True)
class Settings:
    """outputs: at least so many numbers of each network on drawn inputs. The others: what is coded."""

    outputs: int = 10_000_000
    clip: str = "bikes.mp4"
    width: int = 640
    height: int = 360
    frames: int = 8
    q: int = 30


@dataclass(frozen=True)
class Compared:
    """One exact network of one build of the profile on inputs of one kind, `drawn` or `coded`.

    outputs: numbers compared in each way. differing: how many of them were not those of torch in float64, by way.
    """

    build: str
    network: str
    inputs: str
    calls: int
    outputs: int
    differing: dict[str, int]


@dataclass(frozen=True)
class Results:
    """passed: nothing differed anywhere, and every network was compared on as many drawn outputs as asked for."""

    compared: tuple[Compared, ...]
    outputs: int
    comparisons: int
    differing: int
    passed: bool


def ways() -> dict[str, Backend]:
    """Backends that are compared with the reference, by name."""
    found: dict[str, Backend] = {"torch float32": TorchBackend()}
    for level in OPTIMISATIONS:
        found[f"onnxruntime {level}"] = CpuBackend(1, optimise=level)
    found["onnxruntime all, 2 threads"] = CpuBackend(2)
    return found


def drawn(network: str, sizes: dict[str, int], outputs: int, reference: Network) -> Iterator[Inputs]:
    """Drawn inputs, other ones every time, until the network has put out ``outputs`` numbers."""
    seen = number = 0
    while seen < outputs:
        height, width = SIZES[number % len(SIZES)]
        inputs = exact_inputs(network, sizes, height, width, number % 7 == 3, seed=1 + number)
        if "q" in inputs:
            inputs["q"] = np.array([(number * 29) % 64], np.int64)
        yield inputs
        seen += sum(output.size for output in reference(**inputs))
        number += 1


def compare(build: str, network: str, kind: str, calls: Iterator[Inputs] | Sequence[Inputs], reference: Network,
            others: Mapping[str, Network]) -> Compared:
    """Run every way on every call and count the outputs that differ from the reference's."""
    differing = dict.fromkeys(others, 0)
    count = outputs = 0
    for inputs in calls:
        expected = reference(**inputs)
        count, outputs = count + 1, outputs + sum(output.size for output in expected)
        for name, other in others.items():
            for a, b in zip(expected, other(**inputs), strict=True):
                if a.shape != b.shape:
                    raise ValueError(f"{network}: {name} gives the shape {b.shape}, {REFERENCE} {a.shape}")
                differing[name] += int(np.count_nonzero(a != b))
    return Compared(build, network, kind, count, outputs, differing)


def recorded(profile: Profile, backend: Backend, settings: Settings) -> dict[str, list[dict[str, NDArray[Any]]]]:
    """What every network was given as the clip was encoded and decoded, by name."""
    found = tuple(frames(clip(settings.clip), limit=settings.frames, width=settings.width, height=settings.height))
    recorder = RecordingBackend(backend)
    for _ in coded(profile, recorder, recorder, Clip(settings.clip, found, tuple(map(pixels, found))), settings.q):
        pass
    return recorder.samples


def run(builds: Mapping[str, Profile], settings: Settings) -> Results:
    """All networks of all builds, each on drawn inputs in the first build that has its file.

    The reference is the first build's network of the same golden vectors: one that was written in another way has to
    give the numbers of the one that it was made of.
    """
    compared: list[Compared] = []
    drawn_already: set[bytes] = set()
    origins: dict[tuple[str, str], Path] = {}
    for build, profile in builds.items():
        samples = recorded(profile, TorchBackend() if build == "fp16" else CpuBackend(1), settings)
        sizes = profile.manifest["sizes"] | {
            key: value for key, value in profile.manifest.get("texture", {}).items() if isinstance(value, int)}
        for network in sorted(profile.manifest["golden"]):
            path = profile.path(network)
            origin = origins.setdefault((network, str(sorted(profile.manifest["golden"][network].items()))), path)
            reference = TorchBackend(double=True).load(origin)
            others = {name: backend.load(path) for name, backend in ways().items()}
            contents = hashlib.sha256(path.read_bytes()).digest()
            if contents not in drawn_already:
                drawn_already.add(contents)
                compared.append(compare(build, network, "drawn", drawn(network, sizes, settings.outputs, reference),
                                        reference, others))
            if samples.get(network):
                compared.append(compare(build, network, "coded", samples[network], reference, others))
            for one in compared[-2:]:
                if one.network == network and one.build == build:
                    print(f"{build} {network} on {one.inputs} inputs: {one.outputs} outputs, differing "
                          f"{sum(one.differing.values())} in {len(one.differing)} ways", flush=True)
    differing = sum(sum(one.differing.values()) for one in compared)
    enough = all(one.outputs >= settings.outputs for one in compared if one.inputs == "drawn")
    return Results(tuple(compared), sum(one.outputs for one in compared),
                   sum(one.outputs * len(one.differing) for one in compared), differing, differing == 0 and enough)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m bench.exact_networks", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--outputs", type=int, default=Settings.outputs, help="of each network, drawn inputs alone")
    p.add_argument("--frames", type=int, default=Settings.frames, help="of the clip that is coded")
    p.add_argument("--profile", default="s")
    p.add_argument("--int8", type=Path, help="folder of the profile in 8 bits")
    p.add_argument("--fp16", type=Path, help="folder of the profile in float16")
    p.add_argument("--out", type=Path, default=RESULTS / "exact_networks.json")
    given = p.parse_args(arguments)
    profile = Profile(given.profile)
    builds = {"base": profile}
    builds |= {name: Profile(path) for name, path in (("int8", given.int8), ("fp16", given.fp16)) if path is not None}
    settings = Settings(outputs=given.outputs, frames=given.frames)
    results = run(builds, settings)
    print(f"{results.outputs} outputs, {results.comparisons} comparisons, {results.differing} differ: "
          f"{'good' if results.passed else 'BAD'}")
    write(given.out, measured("outputs of exact networks that are not those of torch in float64", profile, settings,
                              results))
    return 0 if results.passed else 1


if __name__ == "__main__":
    sys.exit(main())
