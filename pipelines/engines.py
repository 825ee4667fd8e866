"""``duoview engines``: TensorRT engines of a profile's networks: build, list, prune, verify."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duoview.backends.engine import EngineHeader, EngineMachine
from duoview.backends.engine_cache import CachedEngine, EngineCache, mismatch
from duoview.backends.engine_shapes import units
from duoview.backends.tensorrt_cuda import TensorRtBackend
from duoview.backends.tensorrt_toolkit import Progress, TensorRt
from duoview.errors import Error
from duoview.plugins.errors import suggestion
from duoview.profile import Profile

from .console import LEVELS, Console
from .errors import UsageError, reason
from .filters import OUTPUT_FORMAT
from .options import ANYWHERE, COMMON_OPTIONS, CommandOption, help_lines, integer, size, split

USAGE = """\
duoview engines build -size WxH [-size WxH ...] [-profile name] [-network name ...]
duoview engines list [-of json]
duoview engines verify
duoview engines prune [-all]"""
EPILOG = """\
An engine is for one network at one picture size, one GPU, driver and TensorRT. `build` makes those of a profile that
the cache lacks, each in a process of its own, and compares each with the CPU before it counts. `list` shows what is
there and whether it is for this machine, `verify` reads every plan again and, where there is a GPU, runs it against the
CPU, `prune` removes those for other machines and damaged ones, and nothing that is not of duoview. The cache is
$DUOVIEW_ENGINES, else ~/.cache/duoview/engines.
"""


def _size(text: str) -> tuple[int, int]:
    width, height = size(text).split("x")
    return int(width), int(height)


TABLE = (
    *COMMON_OPTIONS,
    OUTPUT_FORMAT,
    CommandOption("profile", "name", "bundled profile, or folder of one (default: s)", ANYWHERE),
    CommandOption("size", "WxH", "pictures to build for, as 1920x1080; may be given several times", ANYWHERE, _size,
                  repeat=True),
    CommandOption("network", "name", "build only this network; may be given several times", ANYWHERE, repeat=True),
    CommandOption("level", "n", "TensorRT's optimisation level, 0 to 5 (default: 3)", ANYWHERE, integer(0, 5)),
    CommandOption("gpu", "n", "the GPU, by the CUDA driver's count (default: 0)", ANYWHERE, integer(0)),
    CommandOption("cache", "folder", "folder of engines", ANYWHERE, Path),
    CommandOption("all", "", "prune: remove all engines", ANYWHERE),
)


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    cache: EngineCache
    console: Console
    profile: str
    sizes: tuple[tuple[int, int], ...]
    networks: tuple[str, ...]
    level: int
    gpu: int
    everything: bool
    form: str


def usage() -> str:
    """The help of the command."""
    return "\n".join((USAGE, "", *help_lines(TABLE), "", EPILOG.rstrip()))


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns the exit code: 1 where something could not be built, or is not good."""
    actions = {"build": _build, "list": _list, "prune": _prune, "verify": _verify}
    if not arguments or arguments[0] not in actions:
        given = f" {arguments[0]}{suggestion(arguments[0], actions)}" if arguments else ""
        raise UsageError(f"engines{given}: expected {', '.join(actions)}")
    line = split(arguments[1:], TABLE)
    if line.inputs or line.outputs:
        raise UsageError(f"engines {arguments[0]}: takes no file")
    found = line.globals
    return actions[arguments[0]](Options(
        EngineCache(found.get("cache")), Console(found.get("loglevel", LEVELS["info"])), found.get("profile", "s"),
        found.get("size", ()), found.get("network", ()), found.get("level", 3), found.get("gpu", 0),
        found.get("all", False), found.get("of", "text")))


def _machine(index: int) -> EngineMachine | str:
    """The machine that this is, or why there is no TensorRT here."""
    try:
        return TensorRt(index).machine
    except Error as error:
        return reason(error)


def _build(options: Options) -> int:
    if not options.sizes:
        raise UsageError("engines build: expected -size WxH, the size of the pictures")
    if importlib.util.find_spec("onnx") is None:
        raise SystemExit("duoview engines build: onnx: not installed; pip install 'duoview[gpu]'")
    machine = TensorRt(options.gpu).machine
    from duoview.export.engines import EngineBuilder, buildable

    profile, console = Profile(options.profile), options.console
    names = buildable(profile)
    unknown = [name for name in options.networks if name not in names]
    if unknown:
        raise UsageError(f"-network {unknown[0]}: expected one of {', '.join(names)}{suggestion(unknown[0], names)}")

    def tell(network: str, progress: Progress) -> None:
        if not progress.parent and console.is_terminal and console.shows("info"):
            console.status(f"{network}: {progress.phase} {progress.done} of {progress.steps}"[:100])

    builder = EngineBuilder(options.cache, machine, index=options.gpu, level=options.level, tell=tell, waiting=lambda:
                            console.info("another process builds engines; waiting for it"))
    failed = 0
    for width, height in options.sizes:
        for name in options.networks or names:
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


def _list(options: Options) -> int:
    cache, here = options.cache, _machine(options.gpu)
    entries = cache.entries()
    if options.form == "json":
        rows: list[dict[str, Any]] = []
        for one in entries:
            state = _state(one, here)
            rows.append({"file": str(one.path), "usable": not state, "why_not": state})
            if one.header is not None:
                identity = one.header.identity
                rows[-1] |= {"network": one.header.name, "precision": identity.precision,
                             "device": identity.machine.device, "tensorrt": identity.machine.tensorrt,
                             "cuda": identity.machine.cuda, "processors": identity.machine.processors,
                             "flags": list(identity.flags),
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


def _prune(options: Options) -> int:
    cache, here = options.cache, None if options.everything else TensorRt(options.gpu).machine

    def unwanted(one: CachedEngine) -> str:
        return "all are" if here is None else _state(one, here)

    if cache.folder.is_dir():
        pruned = cache.prune(unwanted, lambda: options.console.info("another process builds engines; waiting for it"))
        for path, why in pruned.removed:
            print(f"removed {path.name}: {why}")
        for path, why in pruned.kept:
            print(f"left {path.name} alone: {why}")
    return 0


def _verify(options: Options) -> int:
    """Plans are read and hashed anywhere; they are run where they can be."""
    cache, here, bad = options.cache, _machine(options.gpu), 0
    if isinstance(here, str):
        print(f"not run: {here}", file=sys.stderr)
    backend = None if isinstance(here, str) else TensorRtBackend(options.gpu, cache=cache)
    for one in cache.entries():
        try:
            cache.read(one.path)
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
