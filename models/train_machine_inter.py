"""The machine stage of P frames: trained on for what machines see, on their own rollouts, everything else frozen.

As stage 2 (`train_inter`), with the distances of the machine stage in place of squared error, and rates of the symbols
that are coded: most of a P frame's symbols are zero, and noise in place of rounding charges for each of them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duoview.models.agreement import Judge, agreement
from duoview.models.data import Material, Picture, to_tensor
from duoview.models.fixed_point import accumulator_share
from duoview.models.inter import InterCodec, bound_state
from duoview.models.loop import Loop, weights_sha256
from duoview.models.machine_fidelity import Eyes, FidelityWeights, check_zooms, distances, total
from duoview.models.machine_material import SURE, Look, RegionWeights
from duoview.models.motion_tracker import MotionTracker
from duoview.models.network import StillCodec
from duoview.models.object_labels import Found
from duoview.models.sequences import SequenceMix, Slots
from duoview.models.train_machine import COST_FLOOR, UNIT, machine_lagrangian, move_quality


@dataclass(frozen=True)
class MachineInterTraining:
    """Options of the stage: those of `MachineTraining`, and of `InterTraining` what concerns sequences."""

    minutes: float = 120.0
    steps: int | None = None
    batch: int = 8
    crop: int = 192
    rate: float = 8.0e-4
    seed: int = 32
    mix: SequenceMix = field(default_factory=SequenceMix)
    eagerness: float = 1.5
    lagrangian: tuple[float, float] = (8.0e-6, 3.0e-2)
    worth: float = 2.9
    weights: FidelityWeights = field(default_factory=FidelityWeights)
    regions: RegionWeights = field(default_factory=RegionWeights)
    zooms: tuple[float, float] = (1.0, 1.0)
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_zooms(self.zooms)
        if self.crop % UNIT or self.crop <= 0 or self.batch < 2:
            raise ValueError(f"crop={self.crop}, batch={self.batch}: expected a multiple of {UNIT}, and 2 or more")


class RegionTracker:
    """What of the frames of parallel sequences counts how much, from what is found in them and what moved.

    labels: a detector as `object_labels` makes it, quick enough to look at every frame.
    """

    def __init__(self, regions: RegionWeights, labels: Callable[[Picture], Found]) -> None:
        self.regions, self.labels = regions, labels
        self._before: dict[int, Picture] = {}

    def weights(self, frames: NDArray[np.uint8], started: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(N, 1, S, S) of frames (N, S, S, 3); where a sequence has just started nothing has moved."""
        out = np.empty((len(frames), 1, *frames.shape[1:3]), np.float32)
        for n, frame in enumerate(frames):
            boxes, strengths = self.labels(frame)
            before = None if started[n] else self._before.get(n)
            out[n, 0] = self.regions.of(Look("sequence", frame, before, boxes[strengths >= SURE]))
            self._before[n] = frame
        return out


@torch.no_grad()
def validate(still: StillCodec, inter: InterCodec, clips: Mapping[str, NDArray[np.uint8]], judges: Mapping[str, Judge],
             levels: Sequence[int] = (16, 28, 40), frames: int = 12, motion: MotionTracker | None = None
             ) -> dict[str, float]:
    """Bits per pixel, PSNR, and agreement of detectors with the source, over P frames of held-back clips.

    motion: compensates as an encoder does; the bits of its vectors are not counted.

    Clips (T, H, W, 3) are cut to multiples of 64. A clip in which a judge sees nothing is left out of its agreement.
    """
    shown: dict[str, float] = {}
    device = next(inter.parameters()).device
    for level in levels:
        rates, errors, agreed = [], [], []
        for clip in clips.values():
            height, width = (side // UNIT * UNIT for side in clip.shape[1:3])
            window = np.ascontiguousarray(clip[:frames + 1, :height, :width])
            q, decoded_frames = torch.tensor([level], device=device), []
            z_m, decoded = torch.empty(0), torch.empty(0)
            for n, frame in enumerate(window):
                x = to_tensor(frame[None]).to(device)
                with torch.autocast(device.type, torch.bfloat16):
                    z = still.encoder(x)
                    if n and motion is not None:
                        z_m = motion.compensate([-1], [frame], z, z_m, q)
                    coded = inter(z, z_m, decoded, q, counted=True) if n else still.key(z, q, counted=True)
                    picture = still.decoder(coded.z)
                if motion is not None and n:
                    motion.finish([-1], coded.symbols)
                elif motion is not None:
                    motion.start([-1], [frame])
                z_m = coded.z if n else bound_state(coded.z.float())
                decoded = coded.decoded if n else torch.zeros_like(coded.decoded)
                if n:
                    rates.append(float(coded.bits + coded.hyper_bits) / (height * width))
                    errors.append(float((picture.float().clamp(0, 1) - x).square().mean()))
                    eight_bit = (picture[0].float() * 255 + 0.5).clamp(0, 255).to(torch.uint8)
                    decoded_frames.append(eight_bit.permute(1, 2, 0).cpu().numpy())
            for judge in judges.values():
                try:
                    agreed.append(agreement(judge(decoded_frames), judge(list(window[1:])), 0.5))
                except ValueError:  # nothing in the source
                    continue
        shown[f"q{level}_bpp"] = round(float(np.mean(rates)), 5)
        shown[f"q{level}_psnr"] = round(float(np.mean([-10 * math.log10(max(e, 1e-9)) for e in errors])), 3)
        if agreed:
            shown[f"q{level}_agree50"] = round(float(np.mean(agreed)), 4)
    return shown


def train(material: Material, still: StillCodec, start: InterCodec, eyes: Eyes, labels: Callable[[Picture], Found],
          options: MachineInterTraining, folder: Path, *, judges: Mapping[str, Judge] | None = None,
          report_seconds: float = 600.0, motion: MotionTracker | None = None) -> InterCodec:
    """Train on from ``start``, or from ``folder/machine_inter.pt`` where it is; the averaged weights.

    still: with the key-frame codec that these P frames follow. judges: detectors by name, for the log. motion: for P
    frames with motion compensation.
    """
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    still = copy.deepcopy(still).requires_grad_(False).to(device)
    inter = start.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.worth:
        move_quality(inter, options.lagrangian, options.worth)
    loop: Loop[InterCodec] = Loop("inter", inter, folder / "machine_inter.pt", minutes=options.minutes,
                                  rate=options.rate, steps=options.steps, report_seconds=report_seconds,
                                  of={"E and D": weights_sha256(still.encoder, still.decoder)})
    loop.kept["shape"] = still.shape.as_dict()
    slots = Slots(material, options.batch, options.crop, options.mix, options.seed + loop.step)
    random = np.random.default_rng([options.seed, loop.step])
    tracker = RegionTracker(options.regions, labels)
    size, shape = options.crop, still.shape
    z_m = torch.zeros(options.batch, shape.latent, size // 8, size // 8, device=device)
    decoded = torch.zeros(options.batch, shape.symbols, size // 16, size // 16, device=device)
    q = torch.randint(0, 64, (options.batch,), device=device)
    eagerness = torch.zeros(options.batch, device=device)

    def measure() -> dict[str, float]:
        clips = material.held_clips
        shown = validate(still, loop.average, clips, judges or {}, motion=motion) if clips else {}
        return shown | {"accumulator_share": round(accumulator_share(loop.average), 4)}

    def on_device(frames: NDArray[np.uint8]) -> Tensor:
        return to_tensor(frames).to(device, memory_format=torch.channels_last)

    for _ in loop.rounds(measure):
        noisy_array, clean_array, started = slots.advance()
        weight = torch.from_numpy(tracker.weights(clean_array, started)).to(device)
        noisy, fresh = on_device(noisy_array), torch.from_numpy(started).to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            if started.any():
                q[fresh] = torch.randint(0, 64, (int(fresh.sum()),), device=device)
                eagerness[fresh] = torch.rand(int(fresh.sum()), device=device) * options.eagerness
                z_m[fresh] = bound_state(still.key(still.encoder(noisy[fresh]), q[fresh]).z.float())
                decoded[fresh] = 0
                if motion is not None:
                    motion.start(np.flatnonzero(started).tolist(), noisy_array[started])
            live = ~fresh
            if int(live.sum()) < 2:  # features are relative to their variance over the batch
                continue
            z = still.encoder(noisy[live])
            before = z_m[live]
            numbers = np.flatnonzero(~started).tolist()
            if motion is not None:
                before = motion.compensate(numbers, noisy_array[~started], z, before, q[live])
        with torch.autocast(device.type, torch.bfloat16):
            coded = inter(z, before, decoded[live], q[live], eagerness[live], counted=True)
            picture = still.decoder(coded.z)
        found = distances(options.weights, eyes.drawn(random, options.zooms), on_device(clean_array)[live],
                          picture.float(), z, coded.z, weight[live])
        bits = (coded.bits + coded.hyper_bits) / size**2
        cost = machine_lagrangian(q[live], options.lagrangian) * total(options.weights, found) + bits
        loss = (cost / (cost.detach() + COST_FLOOR)).sum() / options.batch
        shown = {name: value.mean() for name, value in found.items()}
        if loop.update(loss, **shown, bpp=bits.mean(), log_cost=cost.log().mean()):
            z_m[live] = coded.z.detach().float()
            decoded[live] = coded.decoded.detach().float()
            if motion is not None:
                motion.finish(numbers, coded.symbols)
    return loop.average
