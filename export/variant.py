"""A profile at another precision: every network that may change is changed as far as a tolerance allows.

Exact networks, tables, and the two networks that make what is handed on from frame to frame are copied byte for byte,
so that streams of the two profiles are the same streams (``duoview.precision_base``). With ``state`` those two are
changed as well, into exact ones (``export.exact_synthesis``): every machine hands on the same numbers then, and the
profile has streams of its own. The machine layer's exact networks are written in 8 bits there, in which they give the
same integers (``export.exact_eight_bits``).
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from duoview.backends import Backend, CpuBackend, Network
from duoview.export.calibration import QUALITIES, Clip, coded, distinct, in_motion, samples
from duoview.export.channels_last import rearranged
from duoview.export.exact_eight_bits import exact_in_8_bits
from duoview.export.exact_synthesis import LARGEST, exact
from duoview.export.golden_vectors import golden_digests
from duoview.export.half_precision import halved
from duoview.export.precision import LARGE, PLANS, Plan, Sample, chosen, folded, quantised
from duoview.export.proof import proven
from duoview.golden import STATE_NETWORKS
from duoview.precision_base import shared_networks
from duoview.profile import EXACT, Profile

#: Networks that are tried in 8 bits: of the neural encoder, judged by bits at equal quality, and of the machine view.
#: ``encoder`` also makes the latents from which the human view of an inner stream begins; that view is not judged.
ENCODER_NETWORKS = ("encoder", "inter_analysis", "key_analysis")
VIEW_NETWORK = "decoder"
#: Nothing but P frames calls these.
P_FRAME_NETWORKS = ("inter_analysis", "inter_synthesis")
#: How what is handed on may be made exact, by network: that of P frames in 8 bits if it can be. Of key frames it stays
#: in float32: their synthesis is one frame in many, and in 8 bits costs 4 to 7 % of theirs.
STATE_PLANS: Mapping[str, Plan | None] = {"inter_synthesis": LARGE, "key_synthesis": None}
#: Convolutions of their plans that stay in float32, those whose 8 bits make most of their errors: of the P frames'
#: synthesis one does, for an eighth of what 8 bits save of its time.
SPARED = 1
#: Why one of them is not taken where the other is refused.
OTHER_REFUSED = "the other network that makes what is handed on could not be taken"
#: What is tried of networks that give the same integers in 8 bits.
SAME = "the same in 8 bits"
#: Calls of a network that it is calibrated with, at least where there are as many, and timed with. Steps that are
#: powers of two are a matter of which calls these are where they are few: the error differed by a third either way.
CALIBRATION_CALLS, EXACT_CALIBRATION_CALLS, TIMED_CALLS = 24, 120, 5
#: Share of what is left of the tolerance of bits that one network may take: the others find room as well.
ALLOWANCE = 0.5
#: Frames that a picture to calibrate with is made into, whose view moves over it.
STILL_FRAMES = 4


@dataclass(frozen=True)
class Tolerance:
    """What a network in 8 bits may cost.

    bits: change of the rate at equal PSNR of the machine view, a share, of all changed networks together, of which each
    may take ALLOWANCE of what those before it left. view: least
    PSNR in dB of machine views against those of the base profile.
    """

    bits: float = 0.01
    view: float = 45.0


@dataclass(frozen=True)
class Trial:
    """One network under one plan: what it cost and brought.

    bits: change of the rate at equal PSNR, with those changed before it; None for networks that no stream is made
    with. view: least PSNR in dB against the base's views; None for all but the network of the view. speed: processor
    time of the base's network over its own, by number of threads. refused: why the plan could not be made or judged.
    """

    network: str
    plan: str
    bits: float | None
    view: float | None
    speed: dict[str, float]
    accepted: bool
    refused: str = ""


class Replaced:
    """A backend that loads other files in place of some of a profile's, through a backend of their own."""

    def __init__(self, backend: Backend, files: Mapping[str, Path], changed: Backend) -> None:
        self.backend, self.files, self.changed, self.name = backend, files, changed, backend.name

    def load(self, path: Path) -> Network:
        other = self.files.get(path.stem)
        return self.backend.load(path) if other is None else self.changed.load(other)


#: Bytes and PSNR in dB at each quality index, for a clip.
Curve = list[tuple[float, float]]


def curve(profile: Profile, encoding: Backend, decoding: Backend, clip: Clip, qualities: Sequence[int] = QUALITIES
          ) -> Curve:
    """Bytes of a clip and PSNR of its machine view, by quality index."""
    points = []
    for q in qualities:
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


@dataclass(frozen=True)
class Attempt:
    """One way to change a network. make: raises ValueError where it cannot; the next way is tried then."""

    plan: str
    make: Callable[[onnx.ModelProto], onnx.ModelProto]


class Search:
    """Chooses the precision of one network after another, each with those chosen before it.

    Args:
        attempts: by network, from what is wanted most; the first within the tolerance is taken. held: clips to judge
            with; without them nothing is judged and all is taken. changed: runs the changed networks.
        timing: inputs of each network to be timed with; none: not timed. tell: is given every trial when it is done.
    """

    def __init__(self, profile: Profile, attempts: Mapping[str, Sequence[Attempt]], held: Sequence[Clip],
                 tolerance: Tolerance, work: Path, tell: Callable[[Trial], None], *, changed: Backend,
                 timing: Mapping[str, Sample]) -> None:
        self.profile, self.attempts, self.held, self.tolerance = profile, attempts, held, tolerance
        self.work, self.tell, self.timing = work, tell, timing
        self.backend, self.changed = CpuBackend(1), changed
        self.files: dict[str, Path] = {}
        self.trials: list[Trial] = []
        self._base = [curve(profile, self.backend, self.backend, clip) for clip in held]
        self._spent = 0.0

    def run(self) -> dict[str, Path]:
        """Files of the networks that were accepted. Networks of the state are changed both or not at all."""
        refused = False
        for network, attempts in self.attempts.items():
            if network in STATE_NETWORKS and refused:
                self.trials.append(Trial(network, attempts[0].plan, None, None, {}, False, OTHER_REFUSED))
                self.tell(self.trials[-1])
                continue
            for attempt in attempts:
                path = self.work / f"{network}.{attempt.plan.replace(' ', '_')}.onnx"
                try:
                    if network in P_FRAME_NETWORKS and self.held and all(len(clip.frames) < 2 for clip in self.held):
                        raise ValueError("only P frames call it, and what is judged with has none; expected a clip "
                                         "of two frames or more among it")
                    onnx.save(attempt.make(onnx.load(str(self.profile.path(network)))), str(path))
                    trial = self._trial(network, attempt.plan, path)
                except ValueError as error:
                    # One plan that cannot be made or judged says nothing about the others.
                    trial = Trial(network, attempt.plan, None, None, {}, False, str(error))
                self.trials.append(trial)
                self.tell(trial)
                if trial.accepted:
                    self.files[network] = path
                    self._spent = self._spent if trial.bits is None else trial.bits
                    break
            if network in STATE_NETWORKS and network not in self.files:
                refused = True
                self._drop_state()
        return self.files

    def take(self, network: str, make: Callable[[], onnx.ModelProto], path: Path, timing: Sample) -> bool:
        """One that gives the same as that of the profile, which there is nothing to judge of but its speed.

        False where ``make`` cannot make it (ValueError): it stays as it is then.
        """
        self.timing = {**self.timing, network: timing}
        try:
            onnx.save(make(), str(path))
            trial = Trial(network, SAME, None, None, self._speed(network, path), True)
        except ValueError as error:
            trial = Trial(network, SAME, None, None, {}, False, str(error))
        self.trials.append(trial)
        self.tell(trial)
        return trial.accepted

    def _drop_state(self) -> None:
        """One network of the state alone would drift as before, in other streams: what was taken of it is not."""
        for number, trial in enumerate(self.trials):
            if trial.network in STATE_NETWORKS and trial.accepted:
                self.trials[number] = replace(trial, accepted=False, refused=OTHER_REFUSED)
                self.tell(self.trials[number])
                del self.files[trial.network]
                self._spent = 0.0

    def _trial(self, network: str, plan: str, path: Path) -> Trial:
        files = {**self.files, network: path}
        changed = Replaced(self.backend, files, self.changed)
        # Both sides hand on the same: a changed synthesis is the decoder's as well.
        state = {name: file for name, file in files.items() if name in STATE_NETWORKS}
        decoding = Replaced(self.backend, state, self.changed)
        bits = view = None
        accepted = True
        if self.held and network == VIEW_NETWORK:
            view = min(view_agreement(self.profile, decoding, changed, clip) for clip in self.held)
            accepted = view >= self.tolerance.view
        elif self.held and network in (*ENCODER_NETWORKS, *STATE_NETWORKS):
            curves = [curve(self.profile, changed, decoding, clip) for clip in self.held]
            bits = float(np.mean([rate_change(a, b) for a, b in zip(self._base, curves, strict=True)]))
            accepted = bits <= min(self.tolerance.bits, self._spent + ALLOWANCE * (self.tolerance.bits - self._spent))
        return Trial(network, plan, bits, view, self._speed(network, path), accepted)

    def _speed(self, network: str, path: Path) -> dict[str, float]:
        if network not in self.timing:
            return {}
        found = {}
        for threads in (1, 2):
            backend = CpuBackend(threads)
            base, ours = (processor_seconds(backend.load(p), self.timing[network])
                          for p in (self.profile.path(network), path))
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
    check_output(profile, folder)
    made = {name: folded(onnx.load(str(profile.path(name)))).SerializeToString()
            for name in profile.manifest["networks"] if name not in shared_networks(profile.manifest)}
    return _write(profile, folder, made, "fp32", [])


def write_fp16(profile: Profile, folder: Path, held: Sequence[Clip], tolerance: Tolerance, work: Path,
               tell: Callable[[Trial], None] = lambda _: None) -> tuple[str, list[Trial]]:
    """The profile with networks that compute in float16, for GPUs; returns its sha256 and what was tried.

    Without ``held`` nothing is judged. What is judged runs in torch: onnxruntime's CPU computes such files in float32.
    """
    from duoview.export.torch_backend import TorchBackend  # torch is needed for this alone

    check_output(profile, folder)
    free = [name for name in sorted(profile.manifest["networks"]) if name not in shared_networks(profile.manifest)]
    order = [*filter(free.__contains__, (*ENCODER_NETWORKS, VIEW_NETWORK))]
    order += [name for name in free if name not in order]
    attempts = {name: [Attempt("float16", halved)] for name in order if has_convolutions(profile, name)}
    search = Search(profile, attempts, held, tolerance, work, tell, changed=TorchBackend(), timing={})
    made = {name: path.read_bytes() for name, path in search.run().items()}
    return _write(profile, folder, made, "fp16", search.trials), search.trials


def write_int8(profile: Profile, folder: Path, clips: Sequence[Clip], held: Sequence[Clip],
               tolerance: Tolerance, work: Path, tell: Callable[[Trial], None] = lambda _: None, *,
               signed: bool = False, state: bool = False, steps: int = 0) -> tuple[str, list[Trial]]:
    """The profile with 8-bit networks where the tolerance allows; returns its sha256 and what was tried.

    clips: to calibrate with. held: to judge with, at best others. signed: activations as TensorRT takes them. state:
    those that make what is handed on as well, exact, with golden vectors. Where they are taken, the profile is its own,
    named with ``-int8``: no other decodes its streams, and it decodes no others. steps: of tuning (``export.tuning``),
    which needs torch; 0 leaves it out.

    What networks are given when the clips are coded is held in memory beside the clips: without tuning, of a frame of
    448 x 256 pixels some 7 MB; with it, of one network after another, 2.5 GB at most.
    """
    check_output(profile, folder)
    if not clips or not held:
        raise ValueError("8 bits need clips to calibrate with and others to judge with")
    # What brings most comes first, while there is most room: the synthesis of P frames, of which some have two.
    order = (*(STATE_PLANS if state else ()), *ENCODER_NETWORKS, VIEW_NETWORK)
    timed = [in_motion(clips[0], 2)] if steps else [in_motion(clip, STILL_FRAMES) for clip in clips]
    given = {name: distinct(found) for name, found in samples(profile, timed, only=order).items()}
    calls: Callable[[str], Sequence[Sample]] = given.__getitem__
    if steps:
        from duoview.export.scenes import material, recorded  # torch is needed for this alone

        of = material(clips)
        kept: dict[str, Sequence[Sample]] = {}

        def of_scenes(name: str) -> Sequence[Sample]:
            if name not in kept:  # plans of a network follow one another, and what it was given is large
                kept.clear()
                kept[name] = recorded(profile, name, of, views=name == VIEW_NETWORK,
                                      changing=name in STATE_PLANS)
            return kept[name]

        calls = of_scenes
    attempts = {}
    for name in order:
        make = partial(_exactly if name in STATE_PLANS else _in_8_bits, base=profile.path(name),
                       calls=partial(calls, name), signed=signed, steps=steps)
        if name in STATE_PLANS:
            of_state = STATE_PLANS[name]
            attempts[name] = [Attempt(f"exact {of_state.name}" if of_state else "exact", partial(make, plan=of_state))]
        else:
            attempts[name] = [Attempt(plan.name, partial(make, plan=plan, clipped=name in ENCODER_NETWORKS))
                              for plan in distinct_plans(onnx.load(str(profile.path(name))))]
    search = Search(profile, attempts, held, tolerance, work, tell, changed=CpuBackend(1),
                    timing={name: found[-1] for name, found in given.items() if found})
    files = dict(search.run())
    if not signed and set(STATE_NETWORKS) <= set(files):  # with streams of its own, and not for TensorRT
        for name in EXACT:
            path = work / f"{name}.exact.onnx"
            if search.take(name, partial(_the_same, profile.path(name)), path, profile.golden_inputs(name)[-1]):
                files[name] = path
    made = {name: path.read_bytes() for name, path in files.items()}
    return _write(profile, folder, made, "int8", search.trials), search.trials


def distinct_plans(model: onnx.ModelProto) -> list[Plan]:
    """PLANS without those that take the same convolutions as one before: they would be tuned for nothing."""
    wide = folded(model)
    for number, node in enumerate(wide.graph.node):
        node.name = str(number)
    found: dict[tuple[str, ...], Plan] = {}
    for plan in PLANS:
        try:
            found.setdefault(tuple(chosen(wide, plan)), plan)
        except ValueError:
            found.setdefault((plan.name,), plan)  # which takes none: that is said when its turn comes
    return list(found.values())


def _in_8_bits(model: onnx.ModelProto, *, base: Path, calls: Callable[[], Sequence[Sample]], plan: Plan, signed: bool,
               clipped: bool, steps: int) -> onnx.ModelProto:
    """A network under a plan, calibrated and tuned.

    clipped: by least error; what pictures are made with keeps its extremes: cut off, they would show.
    """
    samples = calls()
    made = quantised(model, samples[::max(1, len(samples) // CALIBRATION_CALLS)], plan, signed=signed, clipped=clipped)
    if not steps:
        return made
    from duoview.export.tuning import NARROW, WIDE, Tuning, tuned  # torch is needed for this alone

    return tuned(made, base, samples, Tuning(steps), limit=WIDE if signed else NARROW)


def _exactly(model: onnx.ModelProto, *, base: Path, calls: Callable[[], Sequence[Sample]], plan: Plan | None,
             signed: bool, steps: int) -> onnx.ModelProto:
    """A network of the state in exact numbers, tuned and proven; plan: of convolutions in 8 bits, None for none."""
    samples = calls()
    made = exact(model, samples[::max(1, len(samples) // EXACT_CALIBRATION_CALLS)], plan, signed=signed,
                 spared=SPARED)
    if steps:
        from duoview.export.tuning import Tuning, tuned  # torch is needed for this alone

        made = tuned(made, base, samples, Tuning(steps), limit=LARGEST)
    if not signed:  # which GPUs compute, without onnxruntime's layout
        made = rearranged(made, "previous")
    proven(made)
    return made


def _the_same(path: Path) -> onnx.ModelProto:
    return exact_in_8_bits(onnx.load(str(path)))


def has_convolutions(profile: Profile, network: str) -> bool:
    """True for a network with something to compute in another precision."""
    return any(node.op_type == "Conv" for node in onnx.load(str(profile.path(network))).graph.node)


def check_output(profile: Profile, folder: Path) -> None:
    """What can be refused before anything was computed. Raises ValueError."""
    if "precision" in profile.manifest:  # one with streams of its own has no base, and its networks are changed too
        raise ValueError(f"{profile.folder}: is at another precision itself; export from the profile it was made of")
    if profile.latent_diffusion is not None:
        raise ValueError(f"{profile.folder}: was made of a latent diffusion model, whose networks stay as they are; "
                         "expected a profile of this codec's own networks")
    if folder.resolve() == profile.folder.resolve():
        raise ValueError(f"{folder}: the output folder is that of the profile it is made of")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file; expected a folder, or nothing yet")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{folder}: nothing can be written there ({error.strerror})") from None


def _kind(network: str, precision: str) -> str:
    """What a manifest says of a changed network."""
    if network in EXACT:
        return f"the same, {precision}"
    if network not in STATE_NETWORKS:
        return precision
    return "exact" if STATE_PLANS[network] is None else f"exact, {precision}"


def _write(profile: Profile, folder: Path, made: Mapping[str, bytes], precision: str, trials: Sequence[Trial]) -> str:
    manifest: dict[str, Any] = json.loads(json.dumps(profile.manifest))
    own = bool(set(made) & set(shared_networks(profile.manifest)))
    (folder / "base.json").unlink(missing_ok=True)
    for name, entry in manifest["networks"].items():
        data = made.get(name)
        if data is None:
            shutil.copyfile(profile.path(name), folder / entry["file"])
            continue
        (folder / entry["file"]).write_bytes(data)
        entry["sha256"] = hashlib.sha256(data).hexdigest()
        if name in STATE_NETWORKS:
            manifest["golden"][name] = golden_digests(name, data, manifest["sizes"])
        elif name in manifest["golden"] and golden_digests(name, data, manifest["sizes"]) != manifest["golden"][name]:
            raise ValueError(f"{folder / entry['file']}: does not give the integers of {profile.path(name)}; expected "
                             "the same golden vectors")
    for key in ("tables", "texture", "motion"):
        if key in manifest:
            shutil.copyfile(profile.folder / manifest[key]["file"], folder / manifest[key]["file"])
    card = profile.folder / "MODEL_CARD.md"
    if card.is_file():
        shutil.copyfile(card, folder / card.name)
    if own:
        manifest["name"] = f"{profile.name}-{precision}"
    else:
        shutil.copyfile(profile.folder / "profile.json", folder / "base.json")
        manifest["base"] = {"file": "base.json", "sha256": profile.sha256.hex()}
    manifest["precision"] = {"is": precision, "networks": {
        name: _kind(name, precision) if name in made else "as in the base" for name in sorted(manifest["networks"])}}
    (folder / "precision.json").write_text(json.dumps([asdict(trial) for trial in trials], indent=1) + "\n")
    (folder / "profile.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    written = Profile(folder)
    failed = [f"{result.network}/{result.case}" for result in written.verify() if not result.passed]
    if failed:
        raise ValueError(f"{folder}: golden vectors came out wrong: {', '.join(failed)}")
    return written.sha256.hex()
