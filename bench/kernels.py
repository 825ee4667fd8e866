"""The kernels against what else there is: entropy coding, one palette step of a discrete diffusion, noise; and motion.

    python -m bench.kernels [--json bench/results/kernels.json] [--quick] [--without PEER]

Every coder codes the same 1.5 million symbols of bench/symbols.py (torchac a fifth of them: it wants a row of a table
per symbol) and has to give them back before it is timed; then all take turns. Rates are medians by the wall,
nanoseconds are CPU time of the process per symbol. Entropy coders run on one thread, palette steps on two.

``rans`` is the C++ entry point with all its checks and buffers that are there already, ``python_call`` the Python
function with numpy arrays: bytes allocated by it, symbols decoded into an array that is there already.
``bits_over_entropy_pct`` is over what these symbols cost under the exact models of their classes;
``bits_over_model_entropy_pct`` over the models' entropy, which the luck of the draw shifts.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import block_motion, native_library, peers
from bench.clock import Times, take_turns
from bench.machine import Machine, this_machine
from bench.peers import Coder
from bench.result import write
from bench.symbols import KINDS, Symbols, draw
from duoview.kernels import normals, palette, rans

SMALL_BYTES = 100
CATEGORIES = (16, 64)


@dataclass(frozen=True)
class Settings:
    """Symbols of an array, rounds of taking turns, seed of the draw, positions, children and normals of a call.

    alpha_bar and alpha_bar_previous are those of the palette steps.
    """

    symbols: int = 1_500_000
    torchac_symbols: int = 300_000
    rounds: int = 9
    seed: int = 20
    positions: int = 1 << 18
    children: int = 1 << 21
    normals: int = 1 << 20
    alpha_bar: float = 0.5
    alpha_bar_previous: float = 0.55
    small_streams: int = 200
    threads_palette: int = 2
    path: str = "auto"


# As many symbols: fewer would be coded with fewer lanes, another thing altogether.
QUICK = Settings(torchac_symbols=30_000, rounds=2, positions=1 << 15, normals=1 << 18, small_streams=20)


@dataclass(frozen=True)
class Rates:
    """A coder on one kind of symbols."""

    encode_msym_s: float
    decode_msym_s: float
    encode_cpu_ns: float
    decode_cpu_ns: float
    bits_over_entropy_pct: float
    bits_over_model_entropy_pct: float
    symbols: int
    bytes: int


@dataclass(frozen=True)
class Measured:
    """A coder on both kinds of symbols. what: what was called."""

    what: str
    codec: Rates
    uniform: Rates


@dataclass(frozen=True)
class Small:
    """Streams of about 100 bytes: mean bytes over the symbols' own cost, the worse kind first, then each."""

    bytes_over_entropy: float
    codec_bytes_over_entropy: float
    uniform_bytes_over_entropy: float
    codec_mean_bytes: float
    uniform_mean_bytes: float
    streams: int


@dataclass(frozen=True)
class Rans(Measured):
    """Ours."""

    small: Small


@dataclass(frozen=True)
class NotRun:
    """A peer that was left out on request."""

    not_run: str


@dataclass(frozen=True)
class Steps:
    """Millions of positions a second of one step. threads: of torch."""

    what: str
    threads: int
    k16_mpos_s: float
    k64_mpos_s: float


@dataclass(frozen=True)
class Palette:
    """Millions of positions a second, and CPU time a position. ``posterior``: the uniform chain at the given K."""

    threads: int
    posterior_k16_mpos_s: float
    posterior_k64_mpos_s: float
    posterior_k16_absorbing_mpos_s: float
    posterior_k64_absorbing_mpos_s: float
    sample_child_mpos_s: float
    posterior_k16_cpu_ns: float
    posterior_k64_cpu_ns: float


@dataclass(frozen=True)
class Noise:
    """Millions of standard normals a second, one thread."""

    mnormals_s: float
    cpu_ns: float


@dataclass(frozen=True)
class Motion:
    """CPU milliseconds of a motion search at 640x368, one thread: nothing moves, a fifth of the cells, all."""

    still_ms: float
    fifth_ms: float
    all_ms: float


@dataclass(frozen=True)
class Ratio:
    """How many times a peer's throughput ``python_call`` has, by CPU time, which other load changes least."""

    codec_encode: float
    codec_decode: float
    uniform_encode: float
    uniform_decode: float


@dataclass(frozen=True)
class Result:
    """The whole file."""

    what: str
    date: str
    machine: Machine
    settings: Settings
    rans: Rans
    python_call: Measured
    peers: dict[str, Measured | Steps | NotRun]
    palette: Palette
    noise: Noise
    motion: Motion
    ratios: dict[str, Ratio | dict[str, float]] = field(default_factory=dict)


def rates(coder: Coder, size: int, encode: Times, decode: Times) -> Rates:
    """Rates of a coder of ``size`` bytes."""
    given, bits = coder.symbols, 8 * size
    count = given.symbols.size
    return Rates(count / encode.median_wall() / 1e6, count / decode.median_wall() / 1e6,
                 encode.median_cpu() / count * 1e9, decode.median_cpu() / count * 1e9,
                 100 * (bits / given.ideal_bits - 1), 100 * (bits / given.model_bits - 1), count, size)


def native(library: Path, given: Symbols, path: str) -> Coder:
    """The C++ entry points."""
    coder = native_library.NativeCoder(library, given, path)
    return Coder("C++ entry points, all checks, buffers allocated before", given, coder.encode, coder.decode,
                 size=lambda size: size, restored=np.array)


def python_call(given: Symbols, path: str) -> Coder:
    """The Python functions."""
    out = np.empty(given.symbols.size, np.int16)

    def decode(data: bytes) -> Any:
        decoder = rans.Decoder(data, path=path)
        decoder.decode(given.classes, out=out)
        decoder.finish()
        return out

    return Coder("rans.encode, rans.Decoder.decode(classes, out=symbols) with numpy arrays", given,
                 lambda: rans.encode(given.symbols, given.classes, path=path), decode)


def entropy_coders(settings: Settings, left_out: Sequence[str]) -> dict[str, Measured]:
    """All entropy coders, which take turns within each kind of symbols."""
    library = native_library.build()
    found: dict[str, dict[str, Rates]] = {}
    what: dict[str, str] = {}
    for kind in KINDS:
        given = draw(kind, settings.symbols, settings.seed)
        coders = {"rans": native(library, given, settings.path), "python_call": python_call(given, settings.path)}
        for name, (package, make) in peers.CODERS.items():
            if package not in left_out:
                coders[name] = make(draw(kind, settings.torchac_symbols, settings.seed) if name == "torchac" else given)
        calls: dict[str, Callable[[], object]] = {}
        sizes = {}
        for name, coder in coders.items():
            data = coder.encode()
            if not np.array_equal(coder.restored(coder.decode(data)), coder.symbols.symbols):
                raise RuntimeError(f"{name} does not give the {kind} symbols back")
            sizes[name] = coder.size(data)
            calls[f"{name} encode"] = coder.encode
            calls[f"{name} decode"] = partial(coder.decode, data)
        times = take_turns(calls, settings.rounds)
        for name, coder in coders.items():
            what[name] = coder.what
            both = found.setdefault(name, {})
            both[kind] = rates(coder, sizes[name], times[f"{name} encode"], times[f"{name} decode"])
    return {name: Measured(what[name], **both) for name, both in found.items()}


def small(settings: Settings) -> Small:
    """Streams of about 100 bytes of both kinds, each with symbols of its own."""
    over, sizes = {}, {}
    for kind in KINDS:
        sample = draw(kind, 20_000, settings.seed)
        count = round(8 * SMALL_BYTES * sample.symbols.size / sample.model_bits)
        drawn = [draw(kind, count, settings.seed + 1 + number) for number in range(settings.small_streams)]
        coded = [len(rans.encode(given.symbols, given.classes, path=settings.path)) for given in drawn]
        over[kind] = float(np.mean([size - given.ideal_bits / 8 for size, given in zip(coded, drawn, strict=True)]))
        sizes[kind] = float(np.mean(coded))
    return Small(max(over.values()), over["codec"], over["uniform"], sizes["codec"], sizes["uniform"],
                 settings.small_streams)


def ratio(ours: Measured, theirs: Measured) -> Ratio:
    """Their time over ours."""
    return Ratio(theirs.codec.encode_cpu_ns / ours.codec.encode_cpu_ns,
                 theirs.codec.decode_cpu_ns / ours.codec.decode_cpu_ns,
                 theirs.uniform.encode_cpu_ns / ours.uniform.encode_cpu_ns,
                 theirs.uniform.decode_cpu_ns / ours.uniform.decode_cpu_ns)


def palette_calls(settings: Settings) -> dict[str, Callable[[], object]]:
    """Palette kernels, ready to be called. Every position has logits of its own, as a network gives them."""
    rng = np.random.default_rng(settings.seed)
    count, threads = settings.positions, settings.threads_palette
    where: dict[str, Any] = {"seed": 1, "stream": 2, "offset": 3, "threads": threads, "path": settings.path}
    calls: dict[str, Callable[[], object]] = {}
    schedule = settings.alpha_bar, settings.alpha_bar_previous
    for categories in CATEGORIES:
        logits = np.rint(rng.normal(0, 256, (count, categories))).astype(np.int16)
        states = rng.integers(0, categories, count).astype(np.uint8)
        masks = np.where(rng.random(count) < 0.5, categories, states).astype(np.uint8)
        calls[f"uniform {categories}"] = partial(
            palette.posterior_sample, logits, states, palette.Uniform(*schedule), **where)
        calls[f"absorbing {categories}"] = partial(
            palette.posterior_sample, logits, masks, palette.Absorbing(*schedule), **where)
    nodes = rng.integers(0, 128, settings.children).astype(np.uint8)
    classes = rng.integers(64, 192, settings.children).astype(np.uint8)
    calls["sample_child"] = partial(palette.sample_child, nodes, classes, **where)
    return calls


def palette_rates(settings: Settings, times: dict[str, Times]) -> Palette:
    """Rates of those calls."""
    speed = {name: settings.positions / spent.median_wall() / 1e6 for name, spent in times.items()}
    cpu = {name: spent.median_cpu() / settings.positions * 1e9 for name, spent in times.items()}
    return Palette(settings.threads_palette, speed["uniform 16"], speed["uniform 64"], speed["absorbing 16"],
                   speed["absorbing 64"], settings.children / times["sample_child"].median_wall() / 1e6,
                   cpu["uniform 16"], cpu["uniform 64"])


def noise(settings: Settings, times: Times) -> Noise:
    """The rate of normals."""
    return Noise(settings.normals / times.median_wall() / 1e6, times.median_cpu() / settings.normals * 1e9)


def motion(times: dict[str, Times]) -> Motion:
    """Milliseconds of the motion search."""
    still, fifth, everything = (times[f"motion {name}"].median_cpu() * 1e3 for name in ("still", "fifth", "all"))
    return Motion(still, fifth, everything)


def run(settings: Settings, left_out: Sequence[str]) -> Result:
    """All measurements. Raises SystemExit for a peer that is not installed and not left out."""
    wanted = tuple(name for name in peers.NAMES if name not in left_out)
    if lost := peers.missing(wanted):
        raise SystemExit(f"not installed: {', '.join(lost)}. Install the peers ({peers.INSTALL}), "
                         f"or leave them out: {' '.join(f'--without {name}' for name in lost)}")
    machine = this_machine()  # before the load that this makes
    coders = entropy_coders(settings, left_out)
    ours, called = coders.pop("rans"), coders.pop("python_call")
    found: dict[str, Measured | Steps | NotRun] = dict(coders)
    ratios: dict[str, Ratio | dict[str, float]] = {name: ratio(called, theirs) for name, theirs in coders.items()}

    calls = palette_calls(settings)
    if "diffusers" not in left_out:
        for categories in CATEGORIES:
            calls[f"diffusers {categories}"] = peers.vq_diffusion_step(
                categories, settings.positions, settings.threads_palette)
    calls["noise"] = lambda: normals(1, stream=2, offset=3, count=settings.normals, path=settings.path)
    calls |= {f"motion {name}": call for name, call in block_motion.calls().items()}
    times = take_turns(calls, settings.rounds)
    speed = {name: settings.positions / spent.median_wall() / 1e6 for name, spent in times.items()}
    for name, (package, _) in peers.CODERS.items():
        if package in left_out:
            found[name] = NotRun(f"left out by --without {package}")
    found["diffusers_vq"] = (
        NotRun("left out by --without diffusers") if "diffusers" in left_out else
        Steps("VQDiffusionScheduler.step on float32 log-probabilities; its chain absorbs and is uniform",
              settings.threads_palette, speed["diffusers 16"], speed["diffusers 64"]))
    steps = palette_rates(settings, times)
    if "diffusers" not in left_out:
        ratios["diffusers_vq"] = {"k16": steps.posterior_k16_mpos_s / speed["diffusers 16"],
                                  "k64": steps.posterior_k64_mpos_s / speed["diffusers 64"]}
    return Result(
        "kernels and their peers", datetime.now(UTC).isoformat(timespec="seconds"), machine, settings,
        Rans(ours.what, ours.codec, ours.uniform, small(settings)), called, found,
        steps, noise(settings, times["noise"]), motion(times), ratios)


def show(result: Result) -> None:
    """The result as lines."""
    lines: dict[str, object] = {"rans": result.rans, "python_call": result.python_call, **result.peers}
    for name, measured in lines.items():
        if isinstance(measured, Measured):
            for kind in KINDS:
                r: Rates = getattr(measured, kind)
                print(f"{name:22} {kind:8} encode {r.encode_msym_s:8.1f} decode {r.decode_msym_s:8.1f} Msym/s; "
                      f"CPU {r.encode_cpu_ns:7.2f} {r.decode_cpu_ns:7.2f} ns; "
                      f"{r.bits_over_entropy_pct:+.3f} % over entropy")
        elif isinstance(measured, Steps):
            print(f"{name:22} K=16 {measured.k16_mpos_s:.2f}, K=64 {measured.k64_mpos_s:.2f} Mpos/s")
        elif isinstance(measured, NotRun):
            print(f"{name:22} not run: {measured.not_run}")
    print(f"rans.small: {result.rans.small.bytes_over_entropy:.2f} bytes over entropy")
    p = result.palette
    print(f"posterior_sample on {p.threads} threads: K=16 {p.posterior_k16_mpos_s:.1f} (absorbing "
          f"{p.posterior_k16_absorbing_mpos_s:.1f}), K=64 {p.posterior_k64_mpos_s:.1f} (absorbing "
          f"{p.posterior_k64_absorbing_mpos_s:.1f}) Mpos/s; sample_child {p.sample_child_mpos_s:.1f} Mpos/s")
    for name, times in result.ratios.items():
        factors = times if isinstance(times, dict) else asdict(times)
        print(f"times {name}: " + ", ".join(f"{key} {value:.1f}" for key, value in factors.items()))
    print(f"noise: {result.noise.mnormals_s:.1f} M normals/s")
    print(f"motion search at 640x368: {result.motion.still_ms:.3f} ms where nothing moves, "
          f"{result.motion.fifth_ms:.2f} ms where a fifth does, {result.motion.all_ms:.2f} ms where all do")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file of the result")
    parser.add_argument("--quick", action="store_true", help="few rounds: a check, not a result")
    parser.add_argument("--without", action="append", default=[], choices=peers.NAMES, metavar="PEER",
                        help=f"leave out a peer ({', '.join(peers.NAMES)}); may be given again")
    options = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # diffusers needs no hub here
    result = run(QUICK if options.quick else Settings(), options.without)
    show(result)
    if options.json:
        write(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
