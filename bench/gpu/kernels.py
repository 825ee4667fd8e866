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
    import numpy as np

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


def check_rans(bench: DeviceBench) -> dict[str, Any]:
    import numpy as np

    from bench.device import Coder, draw
    from duoview.kernels import rans

    found = []
    threads = min(16, os.cpu_count() or 1)
    small = min(bench.scale, 2_000_000)
    cases = [
        (kind, lanes, chunk, bench.scale)
        for kind in ("codec", "uniform", "mixed")
        for lanes, chunk in ((1, 4096), (4, 16384), (32, 4096), (32, 65536), (32, 1 << 20))
    ]
    cases += [("mixed", lanes, 1 << 31, small) for lanes in rans.LANES]  # one chunk: one warp
    for kind, lanes, chunk, count in cases:
        symbols, classes = draw(kind, count, 1)
        expected = rans.encode(symbols, classes, lanes=lanes, chunk=chunk, threads=threads)
        coder = Coder(bench, symbols, classes, lanes, chunk)
        coder.encode()
        same = bench.get(coder.output)[: coder.size()].tobytes() == expected
        coder.open(bench.put(np.frombuffer(expected, np.uint8)))
        cut = count // 3 + 5
        coder.decode(0, cut)
        coder.decode(cut)
        coder.check()
        back = bool(np.array_equal(bench.get(coder.decoded), symbols))
        found.append(
            {
                "kind": kind,
                "lanes": lanes,
                "chunk": chunk,
                "symbols": count,
                "bytes": len(expected),
                "encode_equal": same,
                "decode_equal": back,
            }
        )
        print("rans", found[-1], flush=True)
    return {"cases": found, "all_equal": all(case["encode_equal"] and case["decode_equal"] for case in found)}


def check_planes(bench: DeviceBench) -> dict[str, Any]:
    """Coding order, rounding to symbols and back: a frame of 1080p and an odd size, values of all magnitudes."""
    import numpy as np

    from duoview.kernels import checkerboard

    rng = np.random.default_rng(9)
    found: dict[str, Any] = {}
    for shape in ((8, 17, 19), (3, 5, 6)) if bench.dry else ((128, 68, 120), (7, 33, 61)):
        values = (rng.standard_normal(shape) * 10.0 ** rng.integers(-2, 6, shape)).astype(np.float32)
        classes, means = rng.integers(0, 64, shape).astype(np.uint8), rng.integers(-2032, 2033, shape).astype(np.int16)
        margins, keep = (0.1 * rng.random(64)).astype(np.float32), rng.random(shape[1:]) < 0.8
        ours = [np.zeros(shape, np.int16), np.zeros(shape, np.float32)]
        theirs, again = ([bench.put(plane) for plane in ours] for _ in range(2))
        given, status = [bench.put(array) for array in (values, classes, means)], bench.bytes(8)
        equal = True
        for half in (0, 1):
            checkerboard.quantise(values, classes, means, half, margins=margins, keep=keep, symbols=ours[0],
                                  decoded=ours[1])
            bench.device.quantise_half(*given, half, margins=bench.put(margins), keep=bench.put(keep), status=status,
                                       symbols=theirs[0], decoded=theirs[1], cuda_stream=bench.stream)
            bench.device.check(status, cuda_stream=bench.stream)
            coded = bench.put(np.zeros(checkerboard.size(shape, half), np.int16))
            bench.device.gather_half(theirs[0], coded, half, cuda_stream=bench.stream)
            bench.device.dequantise_half(coded, given[2], half, symbols=again[0], decoded=again[1],
                                         cuda_stream=bench.stream)
            equal &= bench.get(coded).tobytes() == checkerboard.gather(ours[0], half).tobytes()
        for plane, first, second in zip(ours, theirs, again, strict=True):
            equal &= plane.tobytes() == bench.get(first).tobytes() == bench.get(second).tobytes()
        found["x".join(map(str, shape))] = equal
    return {**found, "all_equal": all(found.values())}


def check_noise(bench: DeviceBench) -> dict[str, Any]:
    import numpy as np

    from duoview.kernels import noise

    equal = {}
    for offset in (0, 3):
        out = bench.put(np.zeros(bench.scale, np.float32))
        bench.device.normals(out, 7, stream=5, offset=offset, cuda_stream=bench.stream)
        expected = noise.normals(7, stream=5, offset=offset, count=bench.scale)
        equal[f"offset_{offset}"] = bench.get(out).tobytes() == expected.tobytes()
    return {"equal": equal, "all_equal": all(equal.values())}


def check_palette(bench: DeviceBench) -> dict[str, Any]:
    import numpy as np

    from duoview.kernels import palette

    equal = {}
    rng = np.random.default_rng(3)
    device, stream = bench.device, bench.stream
    status = bench.put(np.zeros(2, np.int64))
    count = bench.scale
    nodes, classes = rng.integers(0, 128, count, np.uint8), rng.integers(64, 192, count, np.uint8)
    out = bench.put(np.zeros(count, np.uint8))
    device.sample_child(
        bench.put(nodes), bench.put(classes), out, status, seed=1, stream=2, offset=8, cuda_stream=stream
    )
    device.check(status, cuda_stream=stream)
    equal["sample_child"] = bool(
        np.array_equal(bench.get(out), palette.sample_child(nodes, classes, seed=1, stream=2, offset=8))
    )
    for categories in (16, 64, 256, 37):
        count = max(1000, bench.scale // categories // 2)
        logits = rng.integers(-1500, 1500, (count, categories), np.int16)
        ways: list[tuple[Any, int]] = [(palette.Uniform(0.3, 0.5), categories)]
        if categories < 256:
            ways.append((palette.Absorbing(0.3, 0.5), categories + 1))
        if categories != 37:
            ways += [(palette.Tree(0), 1), (palette.Tree(2), 4), (palette.Tree(1, categories.bit_length() - 1), 2)]
        for transition, states in ways:
            given = rng.integers(0, states, count).astype(np.uint8)
            out = bench.put(np.zeros(count, np.uint8))
            device.posterior_sample(
                bench.put(logits),
                bench.put(given),
                out,
                status,
                transition,
                seed=1,
                stream=2,
                offset=3,
                cuda_stream=stream,
            )
            device.check(status, cuda_stream=stream)
            expected = palette.posterior_sample(logits, given, transition, seed=1, stream=2, offset=3)
            equal[f"posterior {categories} {transition}"] = bool(np.array_equal(bench.get(out), expected))
    vectors = rng.normal(0, 2, (max(1000, bench.scale // 100), 8)).astype(np.float32)
    leaves = rng.normal(0, 2, (64, 8)).astype(np.float32)
    out = bench.put(np.zeros(len(vectors), np.uint8))
    device.nearest(bench.put(vectors), bench.put(leaves), out, status, cuda_stream=stream)
    device.check(status, cuda_stream=stream)
    equal["nearest"] = bool(np.array_equal(bench.get(out), palette.nearest(vectors, leaves)))
    return {"equal": equal, "all_equal": all(equal.values())}


def check_tree(bench: DeviceBench) -> dict[str, Any]:
    import numpy as np

    from duoview.kernels import palette

    equal = {}
    rng = np.random.default_rng(4)
    for count, channels, depth in ((max(500, bench.scale // 500), 8, 6), (max(100, bench.scale // 20000), 100, 8)):
        vectors = rng.normal(0, 2, (count, channels)).astype(np.float32)
        expected = palette.build_tree(vectors, depth)
        nodes = bench.put(np.zeros((2 ** (depth + 1) - 1, channels), np.float32))
        populations = bench.put(np.zeros(2 ** (depth + 1) - 1, np.int64))
        status = bench.put(np.zeros(2, np.int64))
        scratch = bench.bytes(bench.device.tree_scratch_bytes(count, channels, depth))
        bench.device.build_tree(
            bench.put(vectors),
            depth,
            nodes,
            populations,
            status,
            scratch,
            step=expected.step,
            cuda_stream=bench.stream,
        )
        bench.device.check(status, cuda_stream=bench.stream)
        same = bench.get(nodes).tobytes() == np.concatenate(expected.nodes).tobytes()
        equal[f"{count} x {channels}, depth {depth}"] = same and bool(
            np.array_equal(bench.get(populations), np.concatenate(expected.populations))
        )
    return {"equal": equal, "all_equal": all(equal.values())}


def verdict(work: Callable[[], np.ndarray]) -> tuple[str, bytes]:
    from duoview.kernels.errors import BitstreamError

    try:
        return "accepted", work().tobytes()
    except BitstreamError:
        return "refused", b""


def check_damage(bench: DeviceBench) -> dict[str, Any]:
    """Streams with a few altered bytes, or cut off: the CPU's verdict, and no error of the driver."""
    import numpy as np

    from bench.device import Coder, draw
    from duoview.kernels import rans

    rng = np.random.default_rng(5)
    symbols, classes = draw("mixed", 20000, 2)
    unlike: list[int] = []
    accepted = 0
    streams = [
        rans.encode(symbols, classes, lanes=lanes, chunk=chunk)
        for lanes, chunk in ((32, 1024), (4, 1024), (1, 1 << 20), (32, 1 << 20))
    ]
    coder = Coder(bench, symbols, classes, 32, 32)
    for number in range(bench.mutations):
        data = bytearray(streams[number % len(streams)])
        reach = 200 if number % 3 == 0 else len(data)  # many in the header
        for place in rng.integers(0, reach, rng.integers(1, 4)):
            data[place] ^= int(rng.integers(1, 256))
        if number % 5 == 0:
            del data[int(rng.integers(0, len(data))) :]

        def on_cpu(data: bytes = bytes(data)) -> np.ndarray:
            decoder = rans.Decoder(data)
            parts = [decoder.decode(classes[:7000]), decoder.decode(classes[7000:])]
            decoder.finish()
            return np.concatenate(parts)

        def on_device(data: bytes = bytes(data)) -> np.ndarray:
            coder.open(bench.put(np.frombuffer(data, np.uint8)))
            coder.decode(0, 7000)
            coder.decode(7000)
            coder.check()
            return bench.get(coder.decoded)

        expected = verdict(on_cpu)
        accepted += expected[0] == "accepted"
        if verdict(on_device) != expected:
            unlike.append(number)
    return {
        "mutations": bench.mutations,
        "accepted_by_both": accepted,
        "unlike_the_cpu": unlike,
        "all_equal": not unlike,
    }


def check_layers(bench: DeviceBench) -> dict[str, Any]:
    """Texture, windows, pictures and gain maps: bytes and microseconds of every program."""
    from bench.device_programs import compare

    return compare(bench)


def check_graph(bench: DeviceBench) -> dict[str, Any]:
    """Encoding, opening, decoding and finishing captured once and replayed on other symbols."""
    if bench.dry:
        return {"skipped": "there are no graphs on the CPU", "all_equal": True}
    import numpy as np

    from bench.device import Coder, draw
    from duoview.kernels import rans

    torch = bench.torch
    first = draw("mixed", 1_000_000, 1)
    coder = Coder(bench, *first, 32, 8192)
    coder.encode_scratch = bench.bytes(bench.device.encode_scratch_bytes(coder.count, 8192))
    coder.output = bench.bytes(bench.device.encode_output_bytes(coder.count, 8192))

    def whole() -> None:
        stream = bench.stream
        coder.encode()
        coder.decoder = bench.device.decoder(coder.output, coder.state, size=coder.result, cuda_stream=stream)
        coder.decode()
        coder.decoder.finish(cuda_stream=stream)

    whole()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        whole()
    equal = []
    for seed in (2, 3):
        symbols, classes = draw("mixed", coder.count, seed)
        coder.symbols.copy_(torch.from_numpy(symbols))
        coder.classes.copy_(torch.from_numpy(classes))
        graph.replay()
        torch.cuda.synchronize()
        expected = rans.encode(symbols, classes, lanes=32, chunk=8192)
        coder.decoder.check(cuda_stream=bench.stream)
        equal.append(
            bench.get(coder.output)[: coder.size()].tobytes() == expected
            and bool(np.array_equal(bench.get(coder.decoded), symbols))
        )
    return {"replays_equal": equal, "all_equal": all(equal)}


def measure_speed(bench: DeviceBench) -> dict[str, Any]:
    import numpy as np

    from bench.device import Coder, draw
    from duoview.kernels import palette

    found: dict[str, Any] = {}
    for kind in ("codec", "uniform"):
        symbols, classes = draw(kind, bench.scale, 1)
        for chunk in (2048, 8192, 32768, 131072):
            coder = Coder(bench, symbols, classes, 32, chunk)
            encode = bench.seconds(coder.encode)
            data = coder.output[: coder.size()]
            decode = bench.seconds(coder.decode, prepare=lambda c=coder, d=data: c.open(d))  # type: ignore[misc]
            opened = bench.seconds(lambda c=coder, d=data: (c.open(d), c.decode()))  # type: ignore[misc]
            coder.check()
            found[f"rans.{kind}.chunk_{chunk}"] = {
                "encode_gsym_s": coder.count / encode / 1e9,
                "decode_gsym_s": coder.count / decode / 1e9,
                "open_and_decode_gsym_s": coder.count / opened / 1e9,
                "bits_per_symbol": 8 * len(data) / coder.count,
            }
            print(kind, chunk, found[f"rans.{kind}.chunk_{chunk}"], flush=True)
    size = bench.scale * 10
    source, target = bench.bytes(size), bench.bytes(size)
    copied = bench.seconds(lambda: target.__setitem__(slice(None), source))
    bandwidth = 2 * size / copied
    found["copy_tb_s"] = bandwidth / 1e12
    rng = np.random.default_rng(1)
    status = bench.put(np.zeros(2, np.int64))
    for categories in (16, 64, 256):
        count = max(640, bench.scale * 8 // categories)
        logits, states = bench.put(rng.integers(-1500, 1500, (count, categories), np.int16)), bench.bytes(count)
        out = bench.bytes(count)
        for name, transition, state in (
            ("uniform", palette.Uniform(0.3, 0.5), 3),
            ("tree", palette.Tree(0), 0),
            ("absorbing", palette.Absorbing(0.3, 0.5), categories),
        ):
            if name == "absorbing" and categories == 256:
                continue
            states[:] = state
            if name == "uniform":
                states[:] = bench.put(rng.integers(0, categories, count).astype(np.uint8))
            taken = bench.seconds(
                lambda t=transition, a=logits, b=states, c=out: bench.device.posterior_sample(  # type: ignore[misc]
                    a, b, c, status, t, seed=1, stream=2, cuda_stream=bench.stream
                )
            )
            bench.device.check(status, cuda_stream=bench.stream)
            found[f"posterior.{name}.k{categories}"] = {
                "gpos_s": count / taken / 1e9,
                "of_copy": count * (2 * categories + 2) / taken / bandwidth,
            }
            print(name, categories, found[f"posterior.{name}.k{categories}"], flush=True)
    normals = bench.put(np.zeros(bench.scale, np.float32))
    taken = bench.seconds(lambda: bench.device.normals(normals, 1, stream=2, offset=0, cuda_stream=bench.stream))
    found["normals_g_s"] = bench.scale / taken / 1e9
    return found


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
    from bench.device import DeviceBench

    bench = DeviceBench(options)
    path = options.out / "kernels.json"
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "rans": lambda: check_rans(bench),
        "planes": lambda: check_planes(bench),
        "noise": lambda: check_noise(bench),
        "palette": lambda: check_palette(bench),
        "tree": lambda: check_tree(bench),
        "damage": lambda: check_damage(bench),
        "layers": lambda: check_layers(bench),
        "graph": lambda: check_graph(bench),
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
