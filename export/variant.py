"""A profile at another precision: every network that may change is changed as far as a tolerance allows.

Exact networks, tables, and the two networks that make what is handed on from frame to frame are copied byte for byte,
so that streams of the two profiles are the same streams (``duoview.precision_base``).
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from duoview.backends import Backend, CpuBackend, Network
from duoview.export.calibration import QUALITIES, Clip, coded, samples
from duoview.export.precision import PLANS, Sample, folded, quantised
from duoview.precision_base import shared_networks
from duoview.profile import Profile

#: Networks that are tried in 8 bits: of the neural encoder, judged by bits at equal quality, and of the machine view.
#: ``encoder`` also makes the latents from which the human view of an inner stream begins; that view is not judged.
ENCODER_NETWORKS = ("encoder", "key_analysis", "inter_analysis")
VIEW_NETWORK = "decoder"
#: Calls of a network that it is calibrated with, and timed with.
CALIBRATION_CALLS, TIMED_CALLS = 24, 5


@dataclass(frozen=True)
class Tolerance:
    """What a network in 8 bits may cost.

    bits: change of the rate at equal PSNR of the machine view, a share, of all changed networks together. view: least
    PSNR in dB of machine views against those of the base profile.
    """

    bits: float = 0.01
    view: float = 45.0


@dataclass(frozen=True)
class Trial:
    """One network under one plan: what it cost and brought.

    bits: change of the rate at equal PSNR, with those changed before it; None for the network of the view. view: least
    PSNR in dB against the base's views; None for the others. speed: processor time of the base's network over its own,
    by number of threads.
    """

    network: str
    plan: str
    bits: float | None
    view: float | None
    speed: dict[str, float]
    accepted: bool


class Replaced:
    """A backend that loads other files in place of some of a profile's."""

    def __init__(self, backend: Backend, files: Mapping[str, Path]) -> None:
        self.backend, self.files, self.name = backend, files, backend.name

    def load(self, path: Path) -> Network:
        return self.backend.load(self.files.get(path.stem, path))


#: Bytes and PSNR in dB at each of QUALITIES, for a clip.
Curve = list[tuple[float, float]]


def curve(profile: Profile, encoding: Backend, decoding: Backend, clip: Clip) -> Curve:
    """Bytes of a clip and PSNR of its machine view, by quality index."""
    points = []
    for q in QUALITIES:
        size, error = 0, 0.0
        views = coded(profile, encoding, decoding, clip, q)
        for (unit, view), source in zip(views, clip.pixels, strict=True):
            size += unit
            error += float(np.square(view.astype(np.float32) - source).mean())
        points.append((float(size), 10 * math.log10(255**2 * len(clip.frames) / max(error, 1e-9))))
    return points


def rate_change(base: Curve, other: Curve) -> float:
    """Mean change of bytes at equal PSNR over the range that both curves cover, logarithms joined by straight lines.

    Raises ValueError for curves that do not rise or have no range in common.
    """
    sides = [(np.array([db for _, db in side]), np.log([size for size, _ in side])) for side in (base, other)]
    if any((np.diff(db) <= 0).any() for db, _ in sides):
        raise ValueError(f"PSNR does not rise with the quality index: {base}, {other}")
    low, high = max(db[0] for db, _ in sides), min(db[-1] for db, _ in sides)
    if low >= high:
        raise ValueError(f"no PSNR in common: {base}, {other}")
    at = np.linspace(low, high, 64)
    first, second = (np.interp(at, *side) for side in sides)
    return float(np.expm1((second - first).mean()))


def processor_seconds(network: Network, sample: Sample) -> float:
    """Least processor time of a call, all threads together."""
    network(**sample)
    best = math.inf
    for _ in range(TIMED_CALLS):
        began = time.process_time()
        network(**sample)
        best = min(best, time.process_time() - began)
    return best


class Search:
    """Chooses the precision of one network after another, each with those chosen before it.

    Args:
        clips: to calibrate with. held: to judge with, at best others. tell: is given every trial when it is done.
    """

    def __init__(self, profile: Profile, clips: Sequence[Clip], held: Sequence[Clip], tolerance: Tolerance,
                 work: Path, tell: Callable[[Trial], None]) -> None:
        if not clips or not held:
            raise ValueError("8 bits need clips to calibrate with and others to judge with")
        self.profile, self.held, self.tolerance = profile, held, tolerance
        self.work, self.tell = work, tell
        self.backend = CpuBackend(1)
        found = samples(profile, clips)
        self.samples = {name: calls[::max(1, len(calls) // CALIBRATION_CALLS)] for name, calls in found.items()}
        self.files: dict[str, Path] = {}
        self.trials: list[Trial] = []
        self._base = [curve(profile, self.backend, self.backend, clip) for clip in held]

    def run(self) -> dict[str, Path]:
        """Files of the networks that were accepted."""
        for network in (*ENCODER_NETWORKS, VIEW_NETWORK):
            for plan in PLANS:
                path = self.work / f"{network}.{plan.name}.onnx"
                model = onnx.load(str(self.profile.path(network)))
                onnx.save(quantised(model, self.samples[network], plan), str(path))
                trial = self._trial(network, plan.name, path)
                self.trials.append(trial)
                self.tell(trial)
                if trial.accepted:
                    self.files[network] = path
                    break
        return self.files

    def _trial(self, network: str, plan: str, path: Path) -> Trial:
        changed = Replaced(self.backend, {**self.files, network: path})
        bits = view = None
        if network == VIEW_NETWORK:
            view = min(view_agreement(self.profile, self.backend, changed, clip) for clip in self.held)
            accepted = view >= self.tolerance.view
        else:
            curves = [curve(self.profile, changed, self.backend, clip) for clip in self.held]
            bits = float(np.mean([rate_change(a, b) for a, b in zip(self._base, curves, strict=True)]))
            accepted = bits <= self.tolerance.bits
        return Trial(network, plan, bits, view, self._speed(network, path), accepted)

    def _speed(self, network: str, path: Path) -> dict[str, float]:
        sample = self.samples[network][-1]
        found = {}
        for threads in (1, 2):
            backend = CpuBackend(threads)
            base, ours = (processor_seconds(backend.load(p), sample) for p in (self.profile.path(network), path))
            found[str(threads)] = round(base / ours, 2)
        return found


def view_agreement(profile: Profile, first: Backend, second: Backend, clip: Clip) -> float:
    """Least PSNR in dB, over the frames and QUALITIES, between what two backends show of the first one's streams."""
    least = math.inf
    for q in QUALITIES:
        views: list[list[NDArray[np.uint8]]] = [
            [view for _, view in coded(profile, first, decoding, clip, q)] for decoding in (first, second)]
        for a, b in zip(*views, strict=True):
            error = float(np.square(a.astype(np.float32) - b).mean())
            least = min(least, math.inf if error == 0 else 10 * math.log10(255**2 / error))
    return least


def write_fp32(profile: Profile, folder: Path) -> str:
    """The profile with float32 constants in place of stored float16 ones; returns its sha256."""
    made = {name: folded(onnx.load(str(profile.path(name)))).SerializeToString()
            for name in profile.manifest["networks"] if name not in shared_networks(profile.manifest)}
    return _write(profile, folder, made, "fp32", [])


def write_int8(profile: Profile, folder: Path, clips: Sequence[Clip], held: Sequence[Clip],
               tolerance: Tolerance, work: Path, tell: Callable[[Trial], None] = lambda _: None
               ) -> tuple[str, list[Trial]]:
    """The profile with 8-bit networks where the tolerance allows; returns its sha256 and what was tried."""
    search = Search(profile, clips, held, tolerance, work, tell)
    made = {name: path.read_bytes() for name, path in search.run().items()}
    return _write(profile, folder, made, "int8", search.trials), search.trials


def _write(profile: Profile, folder: Path, made: Mapping[str, bytes], precision: str, trials: Sequence[Trial]) -> str:
    if "base" in profile.manifest:
        raise ValueError(f"{profile.folder}: is at another precision itself; export from its own base")
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() == profile.folder.resolve():
        raise ValueError(f"{folder}: the output folder is that of the profile it is made of")
    manifest: dict[str, Any] = json.loads(json.dumps(profile.manifest))
    for name, entry in manifest["networks"].items():
        data = made.get(name)
        if data is None:
            shutil.copyfile(profile.path(name), folder / entry["file"])
            continue
        (folder / entry["file"]).write_bytes(data)
        entry["sha256"] = hashlib.sha256(data).hexdigest()
    for key in ("tables", "texture"):
        if key in manifest:
            shutil.copyfile(profile.folder / manifest[key]["file"], folder / manifest[key]["file"])
    card = profile.folder / "MODEL_CARD.md"
    if card.is_file():
        shutil.copyfile(card, folder / card.name)
    shutil.copyfile(profile.folder / "profile.json", folder / "base.json")
    manifest["base"] = {"file": "base.json", "sha256": profile.sha256.hex()}
    manifest["precision"] = {"is": precision, "networks": {
        name: precision if name in made else "as in the base" for name in sorted(manifest["networks"])}}
    (folder / "precision.json").write_text(json.dumps([asdict(trial) for trial in trials], indent=1) + "\n")
    (folder / "profile.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    written = Profile(folder)
    failed = [f"{result.network}/{result.case}" for result in written.verify() if not result.passed]
    if failed:
        raise ValueError(f"{folder}: golden vectors came out wrong: {', '.join(failed)}")
    return written.sha256.hex()
