"""Stage 2: the P-frame codec, trained on its own rollouts with E, D and the key-frame codec frozen.

Each step advances a batch of sequences by one frame. The previous latent is the network's own, from as many frames
back as the sequence is old; no gradient passes between frames, so every frame is optimised for its own rate and
distortion and memory is that of one frame.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duoview.models.data import Material, Picture, to_tensor
from duoview.models.fixed_point import accumulator_share
from duoview.models.inter import InterCodec, bound_state
from duoview.models.loop import Loop
from duoview.models.motion_tracker import MotionTracker
from duoview.models.network import Shape, StillCodec, lagrangian
from duoview.models.sequences import SequenceMix, Slots

#: Added to a sequence's cost before its logarithm's slope is taken: what is cheaper than this weighs less.
COST_FLOOR = 0.02


@dataclass(frozen=True)
class InterTraining:
    """Options of stage 2. Each sequence is coded with an eagerness from 0 to ``eagerness`` (see ``decide``).

    steps: in place of minutes. counted: bits are those of the symbols as they are coded, not of values with noise.
    """

    minutes: float = 45.0
    steps: int | None = None
    counted: bool = True
    batch: int = 16
    crop: int = 128
    rate: float = 2.0e-3
    seed: int = 2
    mix: SequenceMix = field(default_factory=SequenceMix)
    eagerness: float = 1.5
    device: str = "cpu"


def new_inter_codec(shape: Shape) -> InterCodec:
    """A fresh P-frame codec of this profile's sizes."""
    return InterCodec(shape.latent, shape.symbols, shape.transform, shape.hyper, shape.parameters,
                      synthesis_blocks=shape.inter_blocks, fine=shape.inter_fine)


def pixels_of(picture: Tensor) -> int:
    """Pixels of one picture of a batch (N, 3, H, W)."""
    return picture.shape[2] * picture.shape[3]


@torch.no_grad()
def validate(still: StillCodec, inter: InterCodec, clips: dict[str, NDArray[np.uint8]],
             levels: tuple[int, ...] = (24, 40), frames: int = 16, motion: MotionTracker | None = None
             ) -> dict[str, float]:
    """Bits per pixel and PSNR of P frames over held-back clips, key frame first; nothing where no clip is held back.

    motion: compensates as an encoder does; the bits of its vectors are not counted. The window is the centre 256x256,
    less where a clip is smaller, in multiples of the coding unit of 64.
    """
    out: dict[str, float] = {}
    if not clips:
        return out
    device = next(inter.parameters()).device
    for level in levels:
        bits_all, psnr_all, last_all, key_all = [], [], [], []
        for clip in clips.values():
            height, width = (min(256, side // 64 * 64) for side in clip.shape[1:3])
            top, left = (clip.shape[1] - height) // 2, (clip.shape[2] - width) // 2
            cut = np.ascontiguousarray(clip[:frames, top:top + height, left:left + width])
            window = to_tensor(cut).to(device)
            q = torch.full((1,), level, device=device)
            coded = still.key(still.encoder(window[:1]), q, counted=True)
            key_all.append(float(coded.bits + coded.hyper_bits) / (height * width))
            z_m, decoded = bound_state(coded.z), torch.zeros_like(coded.decoded)
            if motion is not None:
                motion.start([-1], cut[:1])
            for n in range(1, len(window)):
                with torch.autocast(device.type, torch.bfloat16):
                    z = still.encoder(window[n:n + 1])
                    if motion is not None:
                        z_m = motion.compensate([-1], cut[n:n + 1], z, z_m, q)
                    coded = inter(z, z_m, decoded, q, counted=True)
                if motion is not None:
                    motion.finish([-1], coded.symbols)
                z_m, decoded = coded.z, coded.decoded
                bits_all.append(float(coded.bits + coded.hyper_bits) / (height * width))
                error = (still.decoder(z_m).clamp(0, 1) - window[n:n + 1]).square().mean()
                psnr_all.append(-10 * math.log10(float(error)))
            last_all.append(psnr_all[-1])
        out[f"q{level}_key_bpp"] = round(float(np.mean(key_all)), 4)
        out[f"q{level}_bpp"] = round(float(np.mean(bits_all)), 4)
        out[f"q{level}_psnr"] = round(float(np.mean(psnr_all)), 3)
        out[f"q{level}_last_psnr"] = round(float(np.mean(last_all)), 3)
    return out


@torch.no_grad()
def validate_still_scenes(still: StillCodec, inter: InterCodec, pictures: list[Picture],
                          levels: tuple[int, ...] = (24, 40, 56), frames: int = 32) -> dict[str, float]:
    """Still scenes with camera noise (sigma 2) over ``frames`` P frames: change of PSNR in dB, and rate at their end.

    On centre crops of four held-back pictures; nothing where none is large enough.
    """
    tiles = [p[(p.shape[0] - 128) // 2:][:128, (p.shape[1] - 128) // 2:][:, :128] for p in pictures
             if min(p.shape[:2]) >= 128][:4]
    if not tiles:
        return {}
    device = next(inter.parameters()).device
    clean = to_tensor(np.stack(tiles)).to(device).repeat(len(levels), 1, 1, 1)
    q = torch.tensor(levels, device=device).repeat_interleave(len(tiles))
    eagerness = torch.full((len(q),), 0.5, device=device)
    noise = torch.Generator().manual_seed(4)
    z_m, decoded, first = torch.empty(0), torch.empty(0), torch.empty(0)
    for n in range(frames + 1):
        noisy = clean + torch.randn(clean.shape, generator=noise).to(device) * (2 / 255)
        with torch.autocast(device.type, torch.bfloat16):
            z = still.encoder(noisy.clamp(0, 1))
            coded = inter(z, z_m, decoded, q, eagerness, counted=True) if n else still.key(z, q, counted=True)
        z_m, decoded = coded.z, coded.decoded
        if n == 0:
            z_m, decoded = bound_state(z_m.float()), torch.zeros_like(decoded)
        if n in (0, frames):
            psnr = -10 * torch.log10((still.decoder(z_m).clamp(0, 1) - clean).square().mean((1, 2, 3)))
            first = psnr if n == 0 else psnr - first
    bits = (coded.bits + coded.hyper_bits) / pixels_of(clean)
    out: dict[str, float] = {}
    for n, level in enumerate(levels):
        part = slice(n * len(tiles), (n + 1) * len(tiles))
        out[f"still_q{level}_change"] = round(float(first[part].mean()), 3)
        out[f"still_q{level}_bpp"] = round(float(bits[part].mean()), 4)
    return out


def train(material: Material, still: StillCodec, options: InterTraining, folder: Path,
          motion: MotionTracker | None = None) -> InterCodec:
    """Train, or go on from ``folder/inter.pt``; writes ``inter.jsonl`` there. Returns the averaged weights.

    motion: for P frames with motion compensation.
    """
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    still = copy.deepcopy(still).requires_grad_(False).to(device)
    inter = new_inter_codec(still.shape).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loop: Loop[InterCodec] = Loop("inter", inter, folder / "inter.pt", minutes=options.minutes, rate=options.rate,
                                  steps=options.steps)
    slots = Slots(material, options.batch, options.crop, options.mix, options.seed + loop.step)
    size = options.crop
    z_m = torch.zeros(options.batch, still.shape.latent, size // 8, size // 8, device=device)
    decoded = torch.zeros(options.batch, still.shape.symbols, size // 16, size // 16, device=device)
    q = torch.randint(0, 64, (options.batch,), device=device)
    eagerness = torch.zeros(options.batch, device=device)

    def measure() -> dict[str, float]:
        return {**validate(still, loop.average, material.held_clips, motion=motion),
                **validate_still_scenes(still, loop.average, material.held_pictures),
                "accumulator_share": round(accumulator_share(loop.average), 4)}

    for _ in loop.rounds(measure):
        noisy_array, clean_array, started = slots.advance()
        noisy = to_tensor(noisy_array).to(device, memory_format=torch.channels_last)
        fresh = torch.from_numpy(started).to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            if started.any():
                q[fresh] = torch.randint(0, 64, (int(fresh.sum()),), device=device)
                eagerness[fresh] = torch.rand(int(fresh.sum()), device=device) * options.eagerness
                coded = still.key(still.encoder(noisy[fresh]), q[fresh])
                z_m[fresh] = bound_state(coded.z.float())
                decoded[fresh] = 0
                if motion is not None:
                    motion.start(np.flatnonzero(started).tolist(), noisy_array[started])
            if fresh.all():
                continue
            live = ~fresh
            z, before, numbers = still.encoder(noisy[live]), z_m[live], np.flatnonzero(~started).tolist()
            if motion is not None:
                before = motion.compensate(numbers, noisy_array[~started], z, before, q[live])
        weight = lagrangian(q[live])
        with torch.autocast(device.type, torch.bfloat16):
            coded = inter(z, before, decoded[live], q[live], eagerness[live], counted=options.counted)
            picture = still.decoder(coded.z)
        target = to_tensor(clean_array).to(device)[live]
        error = (picture.float() - target).square().mean((1, 2, 3))
        bits = (coded.bits + coded.hyper_bits) / size**2
        # The gradient of the logarithm: a still scene at high quality has a small cost and matters as much as a
        # moving one at low quality; with costs summed, its error grew from frame to frame.
        cost = weight * 255**2 * error + bits
        loss = (cost / (cost.detach() + COST_FLOOR)).sum() / options.batch
        if loop.update(loss, train_bpp=bits.mean(), log_cost=cost.log().mean()):
            z_m[live] = coded.z.detach().float()
            decoded[live] = coded.decoded.detach().float()
            if motion is not None:
                motion.finish(numbers, coded.symbols)
    return loop.average
