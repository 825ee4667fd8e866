"""GPU backlog: the kernels on a CUDA device: bytes equal to the CPU's, damaged streams, speed, sanitizer, graphs.

One call: builds the project from this checkout into a temporary folder, checks and measures, and writes
``kernels.json`` to the output folder after every part, so that what was found is there even if a later part fails.

    python bench/gpu/kernels.py --out "$OUT" --wheels FOLDER     # pycuda comes as a wheel from FOLDER
    python bench/gpu/kernels.py --out "$OUT" --through torch     # without pycuda: see below
    python bench/gpu/kernels.py --out /tmp/dry --dry-run         # on the CPU, lane by lane, tiny: the script works

Needs numpy, torch with CUDA, and what the build needs (setuptools, cmake, ninja, nanobind, nvcc); nothing is fetched.
pycuda is a source package and has to be made into a wheel where its headers are: ``~/.aksetup-defaults.py`` with
``CUDA_ENABLE_CURAND = False``, ``CUDA_ROOT`` naming the CUDA folder, ``LDFLAGS = ["-Wl,--no-as-needed"]``, and a folder
with an empty libcuda.so of soname libcuda.so.1 on LIBRARY_PATH; then ``pip wheel --no-deps --no-build-isolation
pycuda`` with the Python and numpy versions of the GPU machine. Its pytools, platformdirs, siphash24, mako and
markupsafe come along. ``--through torch`` launches the same fatbin by the same driver calls, on the primary context
that torch has made current; only the retaining of the context by pycuda is left out then, and the result says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _checkout import ROOT, commit, install

if TYPE_CHECKING:
    from bench.device import DeviceBench

CHILD = "DUOVIEW_BENCH_CHILD"
SANITIZER_SECONDS = 120  # at most, for each of its four tools


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--wheels", type=Path, help="folder of wheels to install first")
    p.add_argument("--through", choices=["pycuda", "torch"], default="pycuda", help="who makes the context current")
    p.add_argument("--symbols", type=int, default=100_000_000, help="for equality and speed")
    p.add_argument("--mutations", type=int, default=1000)
    p.add_argument("--repeats", type=int, default=11)
    p.add_argument("--parts", default="rans,planes,noise,palette,tree,damage,layers,graph,speed,sanitizer")
    p.add_argument("--dry-run", action="store_true", help="on the CPU with tiny sizes")
    p.add_argument("--installed", action="store_true", help="measure the installed duoview; build nothing")
    return p


def kernels_alone() -> None:
    """Lets ``duoview.kernels`` be imported where PyAV is missing: it needs numpy alone, ``duoview`` itself more."""
    if importlib.util.find_spec("av") is not None:
        return
    folder = next(Path(entry, "duoview") for entry in sys.path if Path(entry, "duoview", "kernels").is_dir())
    package = types.ModuleType("duoview")
    package.__path__ = [str(folder)]
    sys.modules["duoview"] = package


def sanitized(command: list[str]) -> dict[str, Any]:
    """Exit and last lines of a run under the sanitizer, which is ended with its children after a while."""
    # torch cuts its arrays out of large blocks, in which nothing sees an access beyond an array's end.
    environment = os.environ | {CHILD: "1", "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
                          start_new_session=True) as run:
        try:
            output, _ = run.communicate(timeout=SANITIZER_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            output, _ = run.communicate()
            return {"exit": f"not done after {SANITIZER_SECONDS} s", "tail": output[-1500:]}
    return {"exit": run.returncode, "tail": output[-1500:]}


def run_sanitizer(options: argparse.Namespace, bench: DeviceBench) -> dict[str, Any]:
    """This script's checks, small, under compute-sanitizer."""
    tool = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if bench.dry or tool is None:
        return {"skipped": "a dry run" if bench.dry else "compute-sanitizer is absent"}
    found: dict[str, Any] = {}
    # Not initcheck: all memory is filled first, so that reading what nobody wrote shows as a difference of bytes.
    for check in ("memcheck", "racecheck", "synccheck"):
        folder = Path(tempfile.mkdtemp())
        parts = "rans,planes,noise,palette,tree,damage,layers" if check == "memcheck" else "rans,planes,palette"
        command = [
            tool,
            "--tool",
            check,
            "--error-exitcode",
            "99",
            sys.executable,
            __file__,
            "--out",
            str(folder),
            "--through",
            options.through,
            "--symbols",
            "30000",
            "--mutations",
            "60",
            "--parts",
            parts,
        ]
        found[check] = sanitized(command)
    found["all_equal"] = all(tool["exit"] == 0 for tool in found.values())  # a finding counts as a difference does
    return found


def measure(options: argparse.Namespace) -> int:
    kernels_alone()
    sys.path.append(str(ROOT))
    from bench import device_equality as equality
    from bench.device import DeviceBench
    from bench.device_rates import measure_speed

    bench = DeviceBench(options)
    path = options.out / "kernels.json"
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "rans": lambda: equality.check_rans(bench),
        "planes": lambda: equality.check_planes(bench),
        "noise": lambda: equality.check_noise(bench),
        "palette": lambda: equality.check_palette(bench),
        "tree": lambda: equality.check_tree(bench),
        "damage": lambda: equality.check_damage(bench),
        "layers": lambda: equality.check_layers(bench),
        "graph": lambda: equality.check_graph(bench),
        "speed": lambda: measure_speed(bench),
        "sanitizer": lambda: run_sanitizer(options, bench),
    }
    code = 0
    for name in options.parts.split(","):
        began = time.perf_counter()
        try:
            bench.result[name] = parts[name]()
        except Exception as error:  # noqa: BLE001  # one part that fails must not cost the others
            bench.result[name] = {"failed": f"{type(error).__name__}: {error}", "all_equal": False}
        bench.result[name]["seconds"] = round(time.perf_counter() - began, 1)
        code |= not bench.result[name].get("all_equal", True)
        path.write_text(json.dumps(bench.result, indent=1) + "\n")
        print(name, "took", bench.result[name]["seconds"], "s", flush=True)
    return code


def main() -> int:
    options = parser().parse_args()
    if options.dry_run:
        options.symbols, options.mutations, options.repeats = (
            min(options.symbols, 5000),
            min(options.mutations, 40),
            1,
        )
    options.out.mkdir(parents=True, exist_ok=True)
    if CHILD in os.environ or options.installed:
        return measure(options)
    with tempfile.TemporaryDirectory() as folder:
        environment = install(Path(folder, "site"), options.wheels, cuda=True, bench=True) | {CHILD: "1"}
        # The child works in another folder, where a relative path means something else.
        command = [sys.executable, __file__, *sys.argv[1:], "--out", str(options.out.resolve())]
        code = subprocess.run(command, env=environment, cwd=folder).returncode
    path = options.out / "kernels.json"
    result = json.loads(path.read_text()) if path.exists() else {"script": "kernels"}
    path.write_text(json.dumps(result | {"exit": code, "commit": commit()}, indent=1) + "\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
