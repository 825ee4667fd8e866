"""``duoview engines``: TensorRT engines of a profile's networks: build, list, prune, verify."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

from duoview.backends.engine import EngineHeader, EngineMachine, read_plan
from duoview.backends.engine_cache import CachedEngine, EngineCache, mismatch
from duoview.backends.engine_shapes import units
from duoview.backends.tensorrt_cuda import TensorRtBackend
from duoview.backends.tensorrt_toolkit import Progress, TensorRt
from duoview.errors import Error
from duoview.profile import Profile

from .console import Console
from .errors import reason

EPILOG = """\
An engine is for one network at one picture size, one GPU, driver and TensorRT. `build` makes those of a profile that
the cache lacks, each in a process of its own, and compares each with the CPU before it counts. `list` shows what is
there and whether it is for this machine, `verify` reads every plan again and, where there is a GPU, runs it against the
CPU, `prune` removes those for other machines and damaged ones. The cache is $DUOVIEW_ENGINES, else
~/.cache/duoview/engines.
"""


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = argparse.ArgumentParser(prog="duoview engines", description=__doc__, epilog=EPILOG,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("action", choices=("build", "list", "prune", "verify"))
    p.add_argument("-profile", default="s", help="bundled profile, or folder of one (default: s)")
    p.add_argument("-size", action="append", default=[], type=_size, metavar="WxH",
                   help="pictures to build for, as 1920x1080; may be given several times")
    p.add_argument("-network", action="append", default=[], metavar="NAME",
                   help="build only this network; may be given several times (default: all of the profile)")
    p.add_argument("-level", type=int, default=3, choices=range(6), help="TensorRT's optimisation level (default: 3)")
    p.add_argument("-gpu", type=int, default=0, metavar="N", help="the GPU, by the CUDA driver's count (default: 0)")
    p.add_argument("-cache", type=Path, metavar="FOLDER", help="folder of engines")
    p.add_argument("-all", action="store_true", help="prune: remove all engines")
    p.add_argument("-of", choices=("text", "json"), default="text", help="how a list is printed (default: text)")
    return p


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a size like 1920x1080")
    return int(found[1]), int(found[2])


def main(arguments: list[str]) -> int:
    """Run the command. Returns the exit code: 1 where something could not be built, or is not good."""
    options = parser().parse_args(arguments)
    cache = EngineCache(options.cache)
    if options.action == "build":
        return _build(options, cache)
    if options.action == "prune":
        return _prune(options, cache)
    here = _machine(options.gpu)
    if options.action == "list":
        return _list(cache, here, options.of)
    return _verify(cache, here, options)


def _machine(index: int) -> EngineMachine | str:
    """The machine that this is, or why there is no TensorRT here."""
    try:
        return TensorRt(index).machine
    except Error as error:
        return reason(error)


def _build(options: argparse.Namespace, cache: EngineCache) -> int:
    if not options.size:
        parser().error("build: expected -size WxH, the size of the pictures")
    if importlib.util.find_spec("onnx") is None:
        raise SystemExit("duoview engines build: onnx: not installed; pip install 'duoview[gpu]'")
    machine = TensorRt(options.gpu).machine
    from duoview.export.engines import EngineBuilder, buildable

    profile, console = Profile(options.profile), Console()
    names = buildable(profile)
    unknown = [name for name in options.network if name not in names]
    if unknown:
        parser().error(f"-network {unknown[0]}: expected one of {', '.join(names)}")

    def tell(network: str, progress: Progress) -> None:
        if not progress.parent and console.is_terminal:
            console.status(f"{network}: {progress.phase} {progress.done} of {progress.steps}"[:100])

    builder = EngineBuilder(cache, machine, index=options.gpu, level=options.level, tell=tell, waiting=lambda:
                            console.info("another process builds engines; waiting for it"))
    failed = 0
    for width, height in options.size:
        for name in options.network or names:
            try:
                built = builder.build(profile, name, *units(width, height))
            except Error as error:
                failed += 1
                console.error(reason(error))
                continue
            was = "was there" if built.cached else f"built in {built.seconds:.1f} s, good"
            print(f"{name} for {width}x{height}: {was}: {built.path}", flush=True)
    return 1 if failed else 0


def described(header: EngineHeader) -> str:
    """An engine in a line."""
    identity, golden = header.identity, header.golden
    return (f"{header.name} {identity.precision} for {64 * golden.width}x{64 * golden.height}, "
            f"{identity.machine.device}, TensorRT {identity.machine.tensorrt}, {header.plan_bytes / 1e6:.1f} MB, "
            f"built {header.built}")


def _state(one: CachedEngine, here: EngineMachine | str) -> str:
    """Why an engine cannot be used here; empty where it may be."""
    if one.header is None:
        return one.problem
    if isinstance(here, str):
        return here
    different = mismatch(one.header.identity.machine, here)
    return f"built with {different}" if different else ""


def _list(cache: EngineCache, here: EngineMachine | str, form: str) -> int:
    entries = cache.entries()
    if form == "json":
        rows: list[dict[str, Any]] = []
        for one in entries:
            state = _state(one, here)
            rows.append({"file": str(one.path), "usable": not state, "why_not": state})
            if one.header is not None:
                identity = one.header.identity
                rows[-1] |= {"network": one.header.name, "precision": identity.precision,
                             "device": identity.machine.device, "tensorrt": identity.machine.tensorrt,
                             "driver": identity.machine.driver, "flags": list(identity.flags),
                             "shapes": [[str(part) for part in ranges] for ranges in identity.profiles]}
        print(json.dumps({"folder": str(cache.folder), "engines": rows}, indent=1))
        return 0
    for one in entries:
        state = _state(one, here)
        print(f"{one.path.name}: {described(one.header) if one.header else 'unreadable'}"
              + (f": not usable here: {state}" if state else ""))
    if not entries:
        print(f"{cache.folder}: no engines; duoview engines build -size WxH makes them")
    return 0


def _prune(options: argparse.Namespace, cache: EngineCache) -> int:
    here = None if options.all else TensorRt(options.gpu).machine

    def unwanted(one: CachedEngine) -> str:
        return "all are" if here is None else _state(one, here)

    if cache.folder.is_dir():
        for path, why in cache.prune(unwanted):
            print(f"removed {path.name}: {why}")
    return 0


def _verify(cache: EngineCache, here: EngineMachine | str, options: argparse.Namespace) -> int:
    """Plans are read and hashed anywhere; they are run where they can be."""
    bad = 0
    if isinstance(here, str):
        print(f"not run: {here}", file=sys.stderr)
    backend = None if isinstance(here, str) else TensorRtBackend(options.gpu, cache=cache)
    for one in cache.entries():
        try:
            read_plan(one.path)
            state = _state(one, here)
            if state or backend is None:
                print(f"{one.path.name}: intact, not run: {state}")
                continue
            backend.open(one.path)
            print(f"{one.path.name}: good")
        except Error as error:
            bad += 1
            print(f"{one.path.name}: {reason(error)}")
    return 1 if bad or isinstance(here, str) else 0
