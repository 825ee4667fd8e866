"""GPU backlog: backends on a CUDA device: tests, the matrix of pairs, frames a second, 64 streams, what limits them.

One call: builds the project from this checkout into a temporary folder, and writes ``backends.json`` to the output
folder after every part, so that what was found is there even if a later part fails.

    python bench/gpu/backends.py --out "$OUT" --wheels FOLDER   # pycuda, onnxruntime-gpu, av, ... as wheels from FOLDER
    python bench/gpu/backends.py --out "$OUT" --through torch   # without pycuda, as in kernels.py
    python bench/gpu/backends.py --out /tmp/dry --dry-run --installed    # on the CPU, tiny: the script works

Needs numpy, av, onnxruntime, onnx, torch with CUDA, and what the build needs; nothing is fetched. pytest is used where
it is. What the machine lacks (onnxruntime's CUDA provider, TensorRT) is listed as not run, with the reason.

doctor: its report for every device. tests: those of the repository that touch CUDA. kernels: bench/gpu/kernels.py.
matrix: bench/backend_matrix.py. frames: encoding and decoding at 1920x1080, entropy coding included, through each
backend and, with nothing but coded bytes on the host, through networks of torch and onnxruntime and our kernels, whole
access units too. views: those of texture and for people at 1920x1080, beside the CPU's, and texture's encoding.
streams: 64 of 1280x720 in turn, and at once in threads with a CUDA stream each, with batches too. hardware: frames of
NVDEC, compared with FFmpeg's, and through the encoder at 1920x1080. stages: milliseconds of each stage of a P frame on
the device, and which limits it, beside the least that arithmetic and memory allow. limits: the same for each network
and operator. What the device can do is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _tests
from _checkout import ROOT, commit, install

if TYPE_CHECKING:
    from bench.device_layer import DeviceLayer

CHILD = "DUOVIEW_BENCH_CHILD"
PARTS = ("doctor", "tests", "kernels", "matrix", "frames", "views", "streams", "hardware", "stages", "limits")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--wheels", type=Path, help="folder of wheels to install first")
    p.add_argument("--through", choices=["pycuda", "torch"], default="pycuda", help="who makes the context current")
    p.add_argument("--parts", default=",".join(PARTS))
    p.add_argument("--int8", type=Path, help="profile in 8 bits for the matrix")
    p.add_argument("--frames", type=int, default=200, help="of each measurement of speed")
    p.add_argument("--streams", type=int, default=64)
    p.add_argument("--matrix-frames", type=int, default=251, help="2001 shows a trend, and takes minutes")
    p.add_argument("--seconds", type=int, default=240, help="at most, for each of tests, kernels and matrix")
    p.add_argument("--dry-run", action="store_true", help="on the CPU with tiny sizes")
    p.add_argument("--installed", action="store_true", help="measure the installed duoview; build nothing")
    return p


def run(command: list[str], seconds: int, folder: Path) -> dict[str, Any]:
    """Exit code and last lines of a program of ours, which is ended after a while."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))}
    try:
        done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=seconds, cwd=folder, env=environment)
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        return {"exit": f"not done after {seconds} s", "tail": said[-3000:], "good": False}
    return {"exit": done.returncode, "tail": done.stdout[-3000:], "good": done.returncode == 0}


def run_doctor(options: argparse.Namespace) -> dict[str, Any]:
    """Not being able to use a device is a finding, no failure."""
    found: dict[str, Any] = {"good": True}
    for device in ("cpu", "cuda", "tensorrt"):
        done = subprocess.run([sys.executable, "-m", "duoview.pipelines", "doctor", "-device", device, "-of", "json"],
                              capture_output=True, text=True)
        found[device] = {"exit": done.returncode}
        try:
            found[device]["report"] = json.loads(done.stdout)
        except ValueError:
            found[device]["tail"] = (done.stdout + done.stderr)[-2000:]
            found["good"] = False
    found["good"] &= found["cpu"]["exit"] == 0
    return found


def run_tests(options: argparse.Namespace) -> dict[str, Any]:
    """Skipped tests count as not run; where none passes, the part is not good."""
    absent = _tests.absent()
    if absent:
        return {"not_run": f"{', '.join(absent)}: absent", "good": False}
    report = options.out / "tests.xml"
    with tempfile.TemporaryDirectory() as folder:
        found = run(_tests.command(_tests.CUDA[:2] if options.dry_run else _tests.CUDA, report), options.seconds,
                    Path(folder))
    try:
        counted = _tests.counted(report)
    except ValueError as error:
        return {**found, "failed": str(error), "good": False}
    return {**found, **counted, "good": found["good"] and counted["good"]}


def run_kernels(options: argparse.Namespace) -> dict[str, Any]:
    words = [str(ROOT / "bench" / "gpu" / "kernels.py"), "--out", str(options.out), "--installed"]
    words += ["--dry-run", "--parts", "rans,planes"] if options.dry_run else ["--through", options.through]
    return run(words, options.seconds, options.out) | {"results": "kernels.json"}


def run_matrix(options: argparse.Namespace) -> dict[str, Any]:
    small = ["--width", "64", "--height", "64", "--frames", "4"] if options.dry_run else [
        "--frames", str(options.matrix_frames)]
    int8 = ["--int8", str(options.int8.resolve())] if options.int8 else []
    path = options.out / "backend_matrix.json"
    found = run(["-m", "bench.backend_matrix", *small, *int8, "--out", str(path)], options.seconds, options.out)
    if path.exists():
        found["results"] = json.loads(path.read_text())["results"]
    return found


class Bench:
    """Device, kernels and profile of the measurements."""

    def __init__(self, options: argparse.Namespace) -> None:
        import torch

        from bench.device import DeviceBench
        from duoview import Profile
        from duoview.export.torch_device import TorchDeviceNetworks

        self.torch, self.dry = torch, options.dry_run
        self.device = "cpu" if options.dry_run else "cuda"
        arguments = argparse.Namespace(dry_run=options.dry_run, symbols=1000, repeats=5, mutations=0,
                                       through=options.through)
        self.kernels = DeviceBench(arguments)
        self.profile = Profile("s")
        self.networks = TorchDeviceNetworks(self.profile, self.device, kernels=self.kernels.device)

    def wait(self) -> float:
        if not self.dry:
            self.torch.cuda.synchronize()
        return time.perf_counter()

    def pictures(self, width: int, height: int, count: int = 8) -> list[Any]:
        """Frames of a drifting texture, padded to 64 pixels, on the device."""
        import numpy as np

        rng = np.random.default_rng(2)
        rows, columns = -(-height // 64) * 64, -(-width // 64) * 64
        small = rng.integers(0, 256, (1, 3, rows // 8, columns // 8), np.uint8).repeat(8, 2).repeat(8, 3)
        return [self.torch.from_numpy(np.roll(small, 5 * n, 3).copy()).to(self.device) for n in range(count)]

    def codec(self, picture: Any, *, motion: bool = True) -> DeviceLayer:
        from bench.device_layer import DeviceLayer

        return DeviceLayer(self.networks, picture.shape[3], picture.shape[2], q=30, motion=motion)


def on_device(bench: Bench, width: int, height: int, count: int, *, motion: bool = True) -> dict[str, Any]:
    """P frames a second with pictures that are on the device already, and views that stay there."""
    pictures = bench.pictures(width, height)
    encoder, decoder = bench.codec(pictures[0], motion=motion), bench.codec(pictures[0], motion=False)
    sections = [encoder.encode(pictures[0], key=True)]
    sections += [encoder.encode(pictures[n % len(pictures)], key=False) for n in range(1, 4)]  # kernels are chosen
    began = bench.wait()
    for n in range(count):
        sections.append(encoder.encode(pictures[n % len(pictures)], key=False))
    encoding = bench.wait() - began
    for n in range(4):
        decoder.decode(sections[n], key=n == 0)
    began = bench.wait()
    for section in sections[4:]:
        view = decoder.decode(section, key=False)
    decoding = bench.wait() - began
    return {"what": "torch's networks in float32 without TF32 and our CUDA kernels; pictures and views stay on the "
                    "device, coded bytes on the host; without decisions on what is worth its bits",
            "looks_for_motion": motion, "frames": count, "bytes_a_frame": sum(map(len, sections[4:])) / count,
            "encode_fps": count / encoding, "decode_fps": count / decoding,
            "same_state": encoder.is_where(decoder), "view": list(view.shape)}


def whole_units(bench: Bench, networks: Any, width: int, height: int, count: int) -> dict[str, Any]:
    """P frames a second of DeviceEncoder and DeviceDecoder: pictures and views on the device, access units on the host.

    The units have to give the same symbols to duoview.Decoder, on the CPU.
    """
    from duoview import Decoder
    from duoview.device import DeviceDecoder, DeviceEncoder

    pictures = [one[0, :, :height, :width].contiguous() for one in bench.pictures(width, height)]
    given = [one if one.is_cuda else one.numpy() for one in pictures]
    bench.wait()
    encoder = DeviceEncoder(networks, width, height, q=30, gop=1 << 20)
    units = [bytes(encoder.encode(given[n % len(given)])) for n in range(4)]
    began = bench.wait()
    for n in range(count):
        units.append(bytes(encoder.encode(given[n % len(given)])))
    encoding = bench.wait() - began
    decoder = DeviceDecoder(networks, strict=True)
    for unit in units[:4]:
        decoder.decode(unit)
    began = bench.wait()
    shown = sum(len(decoder.decode(unit)) for unit in units[4:])
    decoding = bench.wait() - began
    counting, host = DeviceDecoder(networks, strict=True, digest=True), Decoder(strict=True)
    for unit in units[:4]:
        counting.decode(unit)
        host.decode(unit)
    return {"what": f"duoview.device on {networks.backend.name}: pictures and views stay on the device",
            "frames": count, "bytes_a_frame": sum(map(len, units[4:])) / count, "encode_fps": count / encoding,
            "decode_fps": shown / decoding, "same_symbols": counting.symbols_sha256() == host.symbols_sha256()}


def through_backend(name: str, backend: Any, width: int, height: int, count: int) -> dict[str, Any]:
    """P frames a second through duoview.Encoder and Decoder: pictures and entropy coding on the host."""
    import av
    import numpy as np

    from duoview import Decoder, Encoder

    rng = np.random.default_rng(2)
    small = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8).repeat(8, 0).repeat(8, 1)
    frames = [av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(small, 5 * n, 1)[:height, :width]),
                                         format="rgb24") for n in range(4)]
    encoder = Encoder(width, height, q=30, gop=1 << 20, device=backend)
    packets = [packet for frame in frames[:2] for packet in encoder.encode(frame)]
    began = time.perf_counter()
    for n in range(count):
        packets += encoder.encode(frames[n % len(frames)])
    encoding = time.perf_counter() - began
    decoder = Decoder(device=backend, strict=True)
    for packet in packets[:2]:
        decoder.decode(packet)
    began = time.perf_counter()
    shown = sum(len(decoder.decode(packet)) for packet in packets[2:])
    decoding = time.perf_counter() - began
    return {"what": f"duoview.Encoder and Decoder, device {name}; pictures and entropy coding on the host",
            "frames": count, "encode_fps": count / encoding, "decode_fps": shown / decoding}


def measure_frames(options: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    from bench.backend_matrix import Settings, ways

    width, height, count = (128, 64, 3) if options.dry_run else (1920, 1080, options.frames)
    found: dict[str, Any] = {"size": f"{width}x{height}", "device": on_device(bench, width, height, count),
                             "device_without_motion": on_device(bench, width, height, count, motion=False)}
    names = ("onnxruntime-cpu",) if options.dry_run else (
        "onnxruntime-cuda", "onnxruntime-cuda-graphs", "onnxruntime-tensorrt", "tensorrt", "torch-cuda")
    with tempfile.TemporaryDirectory() as folder:
        there, lacking = ways(Settings(width, height), int8=None, cache=Path(folder), wanted=names)
        for way in there:
            found[way.name] = through_backend(way.name, way.backend, width, height, min(count, 50))
    found["not_run"] = {one.name: one.reason for one in lacking}
    from duoview.device import DeviceNetworks
    from duoview.errors import Error

    found["units"] = {"torch": whole_units(bench, bench.networks, width, height, count)}
    for name, graphs in (("onnxruntime", False), ("onnxruntime, CUDA graphs", True)):
        try:
            bound = DeviceNetworks(bench.profile, bench.device, graphs=graphs)
            found["units"][name] = whole_units(bench, bound, width, height, count)
        except Error as error:
            found["not_run"][f"units of {name}"] = str(error)
    found["aims"] = {"encode_fps": 200, "decode_fps": 200, "far": 1000}
    states = (found[name]["same_state"] for name in ("device", "device_without_motion"))
    found["good"] = all(states) and all(one["same_symbols"] for one in found["units"].values())
    return found


def measure_views(options: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """Of torch's networks and, where it has the device, of onnxruntime's."""
    from bench.device_views import views
    from duoview.device import DeviceNetworks
    from duoview.errors import Error

    width, height, count = (128, 64, 4) if options.dry_run else (1920, 1080, 40)
    pictures = [one[0, :, :height, :width].contiguous() for one in bench.pictures(width, height)]
    given = [one if one.is_cuda else one.numpy() for one in pictures]
    settings = {"width": width, "height": height, "count": count, "q": 30, "compared": 2}
    found: dict[str, Any] = {"torch": views(bench.networks, given, bench.wait, **settings)}
    try:
        bound = DeviceNetworks(bench.profile, bench.device)
    except Error as error:
        found["not_run"] = {"views of onnxruntime": str(error)}
    else:
        found["onnxruntime"] = views(bound, given, bench.wait, **settings)
    found["good"] = all(one["good"] for name, one in found.items() if name != "not_run")
    return found


def streams_at_once(options: argparse.Namespace, bench: Bench, pictures: list[Any], streams: int, width: int,
                    height: int) -> dict[str, Any]:
    """The same in threads, on CUDA streams of their own: more and more of them, and in batches."""
    from bench.device_streams import streams as measured
    from duoview.device import DeviceNetworks
    from duoview.errors import Error
    from duoview.export.torch_device import TorchDeviceNetworks
    from duoview.kernels.errors import DeviceError

    given = [one[0, :, :height, :width].contiguous() for one in pictures]
    given = [one if one.is_cuda else one.numpy() for one in given]
    bench.wait()
    rounds = 2 if options.dry_run else max(4, options.frames // 20)
    counts = [count for count in (1, 4, 16, 64) if count < streams] + [streams]
    ways: dict[str, tuple[Callable[[], DeviceNetworks], int]] = {
        "torch": (lambda: TorchDeviceNetworks(bench.profile, bench.device), 1),
        "onnxruntime": (lambda: DeviceNetworks(bench.profile, bench.device), 1),
        "onnxruntime, batches of 8": (lambda: DeviceNetworks(bench.profile, bench.device), 8)}
    found: dict[str, Any] = {}
    for name, (make, batch) in ways.items():
        for count in counts:
            try:
                found[f"{name}, {count} streams"] = measured(make(), given, count=count, rounds=rounds, batch=batch,
                                                             q=30)
            except (Error, DeviceError) as error:  # what the machine lacks, or has no memory for
                found[f"{name}, {count} streams"] = {"not_run": str(error)}
    return found


def measure_streams(options: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """Streams in turn, each with its own state and memory, on networks that all share; in one thread."""
    width, height, streams = (128, 64, 3) if options.dry_run else (1280, 720, options.streams)
    rounds = 2 if options.dry_run else max(2, options.frames // 20)
    pictures = bench.pictures(width, height)
    found: dict[str, Any] = {"size": f"{width}x{height}", "streams": streams, "rounds": rounds}
    encoders, decoders = ([bench.codec(pictures[0]) for _ in range(streams)] for _ in range(2))
    sections = [[codec.encode(pictures[n % len(pictures)], key=True)] for n, codec in enumerate(encoders)]
    began = bench.wait()
    for turn in range(1, rounds + 1):
        for n, codec in enumerate(encoders):
            sections[n].append(codec.encode(pictures[(n + turn) % len(pictures)], key=False))
    found["encode_fps_each"] = rounds / (bench.wait() - began)
    for codec, coded in zip(decoders, sections, strict=True):
        codec.decode(coded[0], key=True)
    began = bench.wait()
    for turn in range(1, rounds + 1):
        for codec, coded in zip(decoders, sections, strict=True):
            codec.decode(coded[turn], key=False)
    found["decode_fps_each"] = rounds / (bench.wait() - began)
    found["good"] = all(a.is_where(b) for a, b in zip(encoders, decoders, strict=True))
    found["aim_fps_each"] = 25
    found["at_once"] = streams_at_once(options, bench, pictures, streams, width, height)
    found["good"] &= all(one["good"] for one in found["at_once"].values() if "good" in one)
    if not bench.dry:
        free, whole = bench.torch.cuda.mem_get_info()  # what layers have beside torch's own counts too
        found["memory_gib"] = (whole - free) / 2**30
    return found


def measure_hardware(options: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """Of torch's networks, which every such machine has."""
    from bench.device_hardware import frames_of_hardware
    from duoview.errors import BackendUnavailableError

    width, height, count = (128, 64, 4) if options.dry_run else (1920, 1080, options.frames)
    with tempfile.TemporaryDirectory() as folder:
        try:
            return frames_of_hardware(bench.networks, Path(folder), bench.wait, width=width, height=height, count=count)
        except BackendUnavailableError as error:
            return {"not_run": str(error), "good": False}


def measure_stages(options: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    from bench.device_stages import stages
    from bench.limits import Floors

    width, height, count = (128, 64, 2) if options.dry_run else (1920, 1080, 40)
    floors = Floors.measured(bench.kernels.seconds, bench.device, small=options.dry_run)
    pictures = bench.pictures(width, height)
    return {"size": f"{width}x{height}",
            **stages(bench.networks, pictures, floors, frames=count, q=30)}


def measure_limits(options: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    from bench.limits import Floors, limits

    width, height = (128, 64) if options.dry_run else (1920, 1080)
    floors = Floors.measured(bench.kernels.seconds, bench.device, small=options.dry_run)
    return limits(bench.networks, bench.kernels.seconds, floors, width, height)


def measure(options: argparse.Namespace) -> int:
    sys.path.append(str(ROOT))
    path = options.out / "backends.json"
    result: dict[str, Any] = {"script": "backends", "commit": commit(), "dry_run": options.dry_run}
    try:
        import torch

        result["torch"] = torch.__version__
        result["gpu"] = "none: a dry run" if options.dry_run else torch.cuda.get_device_properties(0).name
    except Exception as error:  # noqa: BLE001  # no GPU, or no torch: said in the result
        result["gpu"] = f"none: {type(error).__name__}: {error}"
    opened: list[Bench] = []

    def bench() -> Bench:
        if not opened:
            opened.append(Bench(options))
        return opened[0]

    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "doctor": lambda: run_doctor(options), "tests": lambda: run_tests(options),
        "kernels": lambda: run_kernels(options), "matrix": lambda: run_matrix(options),
        "frames": lambda: measure_frames(options, bench()), "views": lambda: measure_views(options, bench()),
        "streams": lambda: measure_streams(options, bench()),
        "hardware": lambda: measure_hardware(options, bench()),
        "stages": lambda: measure_stages(options, bench()), "limits": lambda: measure_limits(options, bench())}
    code = 0
    for name in options.parts.split(","):
        began = time.perf_counter()
        try:
            result[name] = parts[name]()
        except Exception as error:  # noqa: BLE001  # one part that fails must not cost the others
            result[name] = {"failed": f"{type(error).__name__}: {error}", "good": False}
        result[name]["seconds"] = round(time.perf_counter() - began, 1)
        code |= not result[name].get("good", True)
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(name, json.dumps(result[name])[:1500], flush=True)
    return code


def main() -> int:
    options = parser().parse_args()
    unknown = sorted(set(options.parts.split(",")) - set(PARTS))
    if unknown:
        raise SystemExit(f"--parts {unknown[0]}: expected some of {','.join(PARTS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    options.out = options.out.resolve()
    if CHILD in os.environ or options.installed:
        return measure(options)
    with tempfile.TemporaryDirectory() as folder:
        environment = install(Path(folder, "site"), options.wheels, cuda=True, bench=True) | {CHILD: "1"}
        command = [sys.executable, __file__, *sys.argv[1:], "--out", str(options.out)]
        return subprocess.run(command, env=environment, cwd=folder).returncode


if __name__ == "__main__":
    raise SystemExit(main())
