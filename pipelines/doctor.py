"""``duoview doctor``: what this machine can do, and why not more. It never crashes over what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

import duoview
from duoview import kernels
from duoview.backends import Backend, CpuBackend, nvidia, open_backend
from duoview.backends.engine import TOLERANCES
from duoview.backends.engine_cache import EngineCache
from duoview.backends.engine_shapes import BUILDABLE, drawn, golden
from duoview.backends.signature import Signature
from duoview.backends.tensorrt_cuda import TensorRtNetwork
from duoview.errors import Error, ProfileError
from duoview.profile import Profile, bundled_profiles

from .console import LEVELS
from .device_speed import measure
from .errors import UsageError, reason
from .filters import OUTPUT_FORMAT
from .options import ANYWHERE, COMMON_OPTIONS, CommandOption, help_lines, split

DEVICES = ("cpu", "cuda", "tensorrt")
TABLE = (
    *COMMON_OPTIONS,
    OUTPUT_FORMAT,
    CommandOption("device", "name", "fail unless this device can be used", ANYWHERE),
    CommandOption("profile", "name", "check this profile too, a bundled name or a folder", ANYWHERE),
    CommandOption("bench", "", "encode and decode for 5 seconds on the device, and say how fast", ANYWHERE),
)


@dataclass(frozen=True)
class DeviceReport:
    """One device: can networks run there, and the facts found or missing."""

    name: str
    usable: bool
    facts: tuple[str, ...]


@dataclass(frozen=True)
class ProfileReport:
    """One profile: its hash, and how many golden vectors of its exact networks came out right."""

    name: str
    usable: bool
    sha256: str
    golden: int
    passed: int
    problem: str


@dataclass(frozen=True)
class NetworkReport:
    """One network of a profile: the device that would run it, empty for none, and why each other one would not.

    exact: it was compared with its golden vectors on that device, before anything else could use it. The others were
    run there for a drawn picture of 128x64 pixels, engines for that of their own size, and compared with the CPU; on
    the CPU itself they were run, and what they give has the right shapes and is finite.
    """

    profile: str
    network: str
    exact: bool
    device: str
    why_not: dict[str, str]


def usage() -> str:
    """The help of the command."""
    return "\n".join(("duoview doctor [-of json] [-device name] [-profile name] [-bench]", "", *help_lines(TABLE)))


def main(arguments: Sequence[str]) -> int:
    """Run the command: 0 when the device asked for (cpu by default) runs every network of every profile, else 1.

    Of TensorRT only networks are asked for that engines are made of.
    """
    line = split(arguments, TABLE)
    if line.inputs or line.outputs:
        raise UsageError("doctor: takes no file")
    wanted = line.globals.get("device", "cpu")
    wanted = "cpu" if wanted == "auto" else wanted
    if wanted not in DEVICES:
        raise UsageError(f"-device {wanted}: expected auto, {', '.join(DEVICES)}")
    devices = [device_report(name) for name in DEVICES]
    names = [*bundled_profiles(), *([line.globals["profile"]] if "profile" in line.globals else [])]
    profiles = [profile_report(name) for name in dict.fromkeys(names)]
    device_works = any(item.usable for item in devices if item.name == wanted)
    networks = [item for name in dict.fromkeys(names) for item in network_reports(name, wanted)]
    healthy = (device_works and bool(profiles) and all(item.usable for item in profiles)
               and all(item.device == wanted for item in networks
                       if wanted != "tensorrt" or item.network in BUILDABLE))
    speed = None
    if line.globals.get("bench") and healthy:
        speed = measure(names[-1], wanted)
    if line.globals.get("of") == "json":
        document: dict[str, Any] = {
            "healthy": healthy,
            "versions": versions(),
            "kernels": {"paths": list(kernels.paths()), "tables_sha256": kernels.tables_digest()},
            "devices": [asdict(item) for item in devices],
            "profiles": [asdict(item) for item in profiles],
            "networks": [asdict(item) for item in networks],
            "bench": asdict(speed) if speed is not None else None,
        }
        print(json.dumps(document, indent=1))
    elif line.globals.get("loglevel", LEVELS["info"]) >= LEVELS["error"]:
        print(as_text(devices, profiles, networks))
        if line.globals.get("bench"):
            print(f"bench: {speed if speed is not None else 'not run, since not everything above works'}")
    return 0 if healthy else 1


def versions() -> dict[str, str]:
    """Versions of ours and of what is below."""
    found = {"duoview": duoview.__version__, "python": platform.python_version(), "av": av.__version__}
    for package in ("numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "pycuda"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["libavcodec"] = ".".join(map(str, av.library_versions["libavcodec"]))
    found["libavfilter"] = ".".join(map(str, av.library_versions["libavfilter"]))
    return found


def device_report(name: str) -> DeviceReport:
    """Ask the backend itself whether a device can be had, and gather what is there or missing."""
    facts = list(_cpu_facts() if name == "cpu" else _gpu_facts(tensorrt=name == "tensorrt"))
    try:
        open_backend(name)
    except (Error, ImportError) as error:
        return DeviceReport(name, False, (reason(error), *facts))
    return DeviceReport(name, True, tuple(facts))


def profile_report(name: str) -> ProfileReport:
    """Check a profile: its files' hashes, and its exact networks' golden vectors on the CPU."""
    digest = ""
    try:
        profile = Profile(name)
        digest = profile.sha256.hex()
        results = profile.verify()
    except ProfileError as error:
        return ProfileReport(name, False, digest, 0, 0, reason(error))
    passed = sum(result.passed for result in results)
    failed = [f"{result.network}/{result.case}" for result in results if not result.passed]
    problem = f"golden vectors came out wrong: {', '.join(failed)}" if failed else ""
    return ProfileReport(name, not failed and bool(results), digest, len(results), passed, problem)


def network_reports(name: str, wanted: str) -> list[NetworkReport]:
    """Load every network of a profile on every device, the one asked for first; none of an unusable profile."""
    try:
        profile = Profile(name)
    except ProfileError:
        return []  # its ProfileReport says why
    order = [wanted, *(device for device in DEVICES if device != wanted)]
    backends: dict[str, Backend | str] = {}
    for device in order:
        try:
            backends[device] = open_backend(device)
        except (Error, ImportError) as error:
            backends[device] = reason(error)
    return [_network_report(name, profile, network, backends) for network in sorted(profile.manifest["networks"])]


def _network_report(given: str, profile: Profile, network: str, backends: Mapping[str, Backend | str]) -> NetworkReport:
    used, why_not = "", {}
    for device, backend in backends.items():
        if isinstance(backend, str):
            why_not[device] = backend
            continue
        problem = _runs(profile, network, backend)
        if problem or used:
            why_not[device] = problem or f"it can; {used} goes before"
        else:
            used = device
    return NetworkReport(given, network, network in profile.manifest["golden"], used, why_not)


def _runs(profile: Profile, network: str, backend: Backend) -> str:
    """Why a backend cannot run a network, empty where it has done so."""
    try:
        loaded = profile.load(network, backend)
        if network in profile.manifest["golden"]:
            return ""  # loading it ran its golden vectors
        if isinstance(loaded, TensorRtNetwork):
            loaded.verify()
            return ""
        reference = CpuBackend(1).load(profile.path(network))
        if backend.name == CpuBackend.name:  # a comparison of the CPU with itself says nothing
            (inputs,) = drawn(network, reference.signature, 1, 2, exact=False).inputs()
            return _unsound(loaded(**inputs), reference.signature)
        expected = golden(network, reference, 1, 2, exact=False)
        return expected.problem([loaded(**inputs) for inputs in expected.inputs()], _precision(profile, network))
    except Exception as error:  # noqa: BLE001  doctor tells of whatever a runtime raises; their errors have no common base
        return reason(error)


def _precision(profile: Profile, network: str) -> str:
    """What a float network computes in, as its profile says; of a bundled one float32."""
    said = profile.manifest.get("precision", {}).get("networks", {}).get(network, "fp32")
    return said if said in TOLERANCES else "fp32"


def _unsound(outputs: Sequence[NDArray[Any]], signature: Signature) -> str:
    """Why outputs cannot be those of a network, empty where they may be."""
    if len(outputs) != len(signature.outputs):
        return f"gives {len(outputs)} outputs, expected {len(signature.outputs)}"
    for output, spec in zip(outputs, signature.outputs, strict=True):
        if len(output.shape) != len(spec.shape) or any(
                n not in (None, m) for n, m in zip(spec.shape, output.shape, strict=True)):
            return f"gives {spec.name} of shape {output.shape}, expected {spec}"
        if not np.isfinite(output).all():
            return f"gives {spec.name} with values that are not finite"
    return ""


def as_text(devices: Sequence[DeviceReport], profiles: Sequence[ProfileReport],
            networks: Sequence[NetworkReport]) -> str:
    """The report for people."""
    lines = [", ".join(f"{name} {number}" for name, number in versions().items())]
    lines.append(f"kernels: {', '.join(kernels.paths())}; coder tables {kernels.tables_digest()[:12]}...")
    for device in devices:
        lines.append(f"device {device.name}: {'usable' if device.usable else 'not usable'}")
        lines += [f"  {fact}" for fact in device.facts]
    for profile in profiles:
        state = "good" if profile.usable else f"not usable: {profile.problem}"
        lines.append(
            f"profile {profile.name}: {state} (sha256 {profile.sha256[:12]}..., "
            f"golden vectors {profile.passed} of {profile.golden})"
        )
        by_device: dict[str, list[str]] = {}
        for item in networks:
            if item.profile == profile.name:
                by_device.setdefault(item.device, []).append(item.network)
        lines += [f"  {f'on {device}' if device else 'on no device'}: {', '.join(held)}"
                  for device, held in by_device.items()]
    if not profiles:
        lines.append("profile: none is bundled; expected profile s; reinstall duoview or give -profile FOLDER")
    return "\n".join(lines)


def _cpu_facts() -> list[str]:
    if importlib.util.find_spec("onnxruntime") is None:
        return ["onnxruntime: not installed; pip install onnxruntime"]
    import onnxruntime

    cores = len(os.sched_getaffinity(0))
    providers = ", ".join(onnxruntime.get_available_providers())
    return [f"onnxruntime {onnxruntime.__version__} with {providers}; {cores} cores"]


def _gpu_facts(*, tensorrt: bool) -> list[str]:
    facts = [_driver_fact()]
    providers = _providers()
    wanted = "TensorrtExecutionProvider" if tensorrt else "CUDAExecutionProvider"
    facts.append(f"onnxruntime: {'has' if wanted in providers else 'lacks'} {wanted}" + _gpu_advice(wanted, providers))
    packages = ("tensorrt", "pycuda") if tensorrt else ("pycuda",)
    for package in packages:
        present = importlib.util.find_spec(package) is not None
        facts.append(f"{package}: {'installed' if present else 'not installed; pip install duoview[gpu]'}")
    facts.append(_engines_fact() if tensorrt else _pictures_fact())
    return facts


def _pictures_fact() -> str:
    """Whether pictures can stay on the first GPU: onnxruntime's provider, pycuda and our kernels, all of them."""
    try:
        from duoview.device import DeviceNetworks

        networks = DeviceNetworks(device="cuda")
    except (Error, ImportError) as error:
        return f"pictures on the device: no: {reason(error)}"
    return f"pictures on the device: duoview.device can, on {networks.kernels.name}"


def _engines_fact() -> str:
    try:
        cache = EngineCache()
        return f"engines: {len(cache.entries())} in {cache.folder}; duoview engines list"
    except Error as error:
        return f"engines: {reason(error)}"


def _providers() -> list[str]:
    if importlib.util.find_spec("onnxruntime") is None:
        return []
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _gpu_advice(wanted: str, providers: Sequence[str]) -> str:
    return "" if wanted in providers else "; pip install duoview[gpu] in an environment without plain onnxruntime"


def _driver_fact() -> str:
    found = nvidia.driver()
    return f"NVIDIA driver: {found.problem or f'present, {found.gpus} GPU(s), first {found.name}'}"
