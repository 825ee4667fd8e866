"""Stage 3: the conditional denoiser, trained on residuals z - z_m of the frozen key-frame codec."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from duoview.models.data import Material, batches, crops, to_tensor
from duoview.models.denoiser import Denoiser
from duoview.models.inter import InterCodec, bound_state
from duoview.models.loop import Loop
from duoview.models.motion_tracker import MotionTracker
from duoview.models.network import StillCodec
from duoview.models.sequences import SequenceMix, Slots
from duoview.models.train_still import spectral_distance


@dataclass(frozen=True)
class DenoiserTraining:
    """Options of stage 3.

    From the share ``rollouts_from`` of the time on, every other step trains the last step of whole samplings:
    ``spectral`` times the distance of windowed Fourier magnitudes between the shown picture and the source, beside the
    flow's error.
    """

    minutes: float = 40.0
    batch: int = 16
    crop: int = 128
    rate: float = 2.0e-3
    seed: int = 3
    rollouts_from: float = 0.5
    spectral: float = 60.0
    device: str = "cpu"
    workers: int = 0


@torch.no_grad()
def residual_scale(still: StillCodec, material: Material, rounds: int = 8) -> Tensor:
    """Standard deviation of z - z_m by quality index and channel, (64, latent), smoothed between 16 levels."""
    device = next(still.parameters()).device
    source = crops(material, 8, 128, seed=77)
    levels = torch.linspace(0, 63, 16).round().long()
    total = torch.zeros(16, still.shape.latent, device=device)
    for _ in range(rounds):
        z = still.encoder(next(source).to(device))
        for n, level in enumerate(levels):
            z_m = bound_state(still.key(z, torch.full((len(z),), int(level), device=device)).z)
            total[n] += (z - z_m).square().mean((0, 2, 3)) / rounds
    at = torch.arange(64, device=device).float() / 63 * 15
    low = at.floor().long().clamp(max=14)
    part = (at - low)[:, None]
    log = total.clamp(min=1e-8).log() * 0.5
    return torch.exp(log[low] * (1 - part) + log[low + 1] * part)


def sample(denoiser: Denoiser, z_m: Tensor, q: Tensor, scale: Tensor, noise: Tensor, steps: int) -> Tensor:
    """z_h from pure noise by ``steps`` Euler steps of the flow; the reference of the runtime's sampler."""
    state = noise
    for n in range(steps):
        time_now, time_next = n / steps, (n + 1) / steps
        estimate = denoiser(state, z_m, torch.full((len(z_m),), time_now, device=z_m.device), q)
        state = state + (estimate - state) * ((time_next - time_now) / (1 - time_now))
    return z_m + state * scale[q][:, :, None, None]


@torch.no_grad()
def validate(denoiser: Denoiser, still: StillCodec, scale: Tensor, pictures: list[np.ndarray], level: int = 24,
             steps: int = 4) -> dict[str, float]:
    """Sharpness and distance of 4-step samples against the machine view, on held-back pictures.

    ``detail``: energy of the high-frequency part relative to the source's (1 is right, below 1 is blurred).
    Nothing where no picture is held back.
    """
    if not pictures:
        return {}
    tiles = [p[(p.shape[0] - 128) // 2:][:128, (p.shape[1] - 128) // 2:][:, :128] for p in pictures]
    device = scale.device
    batch = to_tensor(np.stack(tiles[:48])).to(device)
    q = torch.full((len(batch),), level, device=device)
    z = still.encoder(batch)
    z_m = bound_state(still.key(z, q).z)
    noise = torch.randn(z_m.shape, generator=torch.Generator().manual_seed(5)).to(device)
    z_h = sample(denoiser, z_m, q, scale, noise, steps)
    machine, human = still.decoder(z_m).clamp(0, 1), still.decoder(z_h).clamp(0, 1)

    def detail(x: Tensor) -> float:
        return float((x - torch.nn.functional.avg_pool2d(x, 5, 1, 2)).square().mean())

    def psnr(x: Tensor) -> float:
        return float((-10 * torch.log10((x - batch).square().mean((1, 2, 3)))).mean())

    return {"machine_psnr": round(psnr(machine), 2), "human_psnr": round(psnr(human), 2),
            "machine_detail": round(detail(machine) / detail(batch), 3),
            "human_detail": round(detail(human) / detail(batch), 3)}


def last_estimate(denoiser: Denoiser, z_m: Tensor, q: Tensor, steps: int) -> Tensor:
    """The residual, in units of its scale, that ``steps`` Euler steps from pure noise end at; gradient of the last one.

    A flow's last step returns the mean of what may be, which is too smooth by what it cannot know; trained on its own
    states for the right amount of detail instead, it keeps noise where texture belongs and drops it where it does not.
    """
    state = torch.randn_like(z_m)
    with torch.autocast(z_m.device.type, torch.bfloat16):
        with torch.no_grad():
            for n in range(steps - 1):
                moment = torch.full((len(z_m),), n / steps, device=z_m.device)
                state = state + (denoiser(state, z_m, moment, q).float() - state) / (steps - n)
        moment = torch.full((len(z_m),), (steps - 1) / steps, device=z_m.device)
        return denoiser(state, z_m, moment, q).float()


class Rollouts:
    """Latents of P frames as a decoder has them, from sequences that are played on and on.

    Without them the denoiser takes what P frames leave behind, a faint mesh in the dark, for texture and adds to it.
    """

    def __init__(self, material: Material, still: StillCodec, inter: InterCodec, options: DenoiserTraining, seed: int,
                 motion: MotionTracker | None = None) -> None:
        self.motion = motion
        self.still, self.inter, self.device = still, inter, torch.device(options.device)
        self.slots = Slots(material, options.batch, options.crop, SequenceMix(), seed)
        shape, size = still.shape, options.crop
        self.z_m = torch.zeros(options.batch, shape.latent, size // 8, size // 8, device=self.device)
        self.decoded = torch.zeros(options.batch, shape.symbols, size // 16, size // 16, device=self.device)
        self.q = torch.zeros(options.batch, dtype=torch.long, device=self.device)

    @torch.no_grad()
    def advance(self) -> tuple[Tensor, Tensor, Tensor]:
        """Clean pictures (N, 3, H, W) of the next frames, z_m of their noisy versions, and q."""
        noisy_array, clean_array, started = self.slots.advance()
        noisy = to_tensor(noisy_array).to(self.device, memory_format=torch.channels_last)
        fresh = torch.from_numpy(started).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            z = self.still.encoder(noisy)
            if started.any():
                self.q[fresh] = torch.randint(0, 64, (int(fresh.sum()),), device=self.device)
                self.z_m[fresh] = bound_state(self.still.key(z[fresh], self.q[fresh]).z.float())
                self.decoded[fresh] = 0
                if self.motion is not None:
                    self.motion.start(np.flatnonzero(started).tolist(), noisy_array[started])
            live = ~fresh
            if live.any():
                eagerness = torch.full((int(live.sum()),), 0.5, device=self.device)
                before, numbers = self.z_m[live], np.flatnonzero(~started).tolist()
                if self.motion is not None:
                    before = self.motion.compensate(numbers, noisy_array[~started], z[live], before, self.q[live])
                coded = self.inter(z[live], before, self.decoded[live], self.q[live], eagerness)
                if self.motion is not None:
                    self.motion.finish(numbers, coded.symbols)
                self.z_m[live], self.decoded[live] = coded.z.float(), coded.decoded.float()
        return to_tensor(clean_array).to(self.device), self.z_m.clone(), self.q.clone()


def train(material: Material, still: StillCodec, inter: InterCodec, options: DenoiserTraining, folder: Path,
          motion: MotionTracker | None = None) -> tuple[Denoiser, Tensor]:
    """Train, or go on from ``folder/denoiser.pt``; writes ``denoiser.jsonl`` there.

    Returns the averaged weights and the residual scale, which is measured once and stays with the checkpoint.
    """
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    still = copy.deepcopy(still).requires_grad_(False).to(device)
    denoiser = Denoiser(still.shape.latent).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loop: Loop[Denoiser] = Loop("denoiser", denoiser, folder / "denoiser.pt", minutes=options.minutes,
                                rate=options.rate)
    if "scale" not in loop.kept:
        loop.kept["scale"] = residual_scale(still, material)
    scale: Tensor = loop.kept["scale"]
    source = batches(material, options.batch, options.crop, options.seed + loop.step, device, options.workers, 0.2)
    rollouts = Rollouts(material, still, copy.deepcopy(inter).requires_grad_(False).to(device), options,
                        options.seed + loop.step, motion)
    for done in loop.rounds(lambda: validate(loop.average, still, scale, material.held_pictures)):
        if loop.step // 2 % 2:
            picture, z_m, q = rollouts.advance()
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                z = still.encoder(picture).float()
        else:
            picture = next(source)
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                q = torch.randint(0, 64, (options.batch,), device=device)
                z = still.encoder(picture).float()
                z_m = bound_state(still.key(z, q).z.float())
        size = scale[q][:, :, None, None]
        residual = (z - z_m) / size
        if done > options.rollouts_from and loop.step % 2:
            estimate = last_estimate(denoiser, z_m, q, steps=2 + loop.step // 2 % 5)
            with torch.autocast(device.type, torch.bfloat16):
                shown = still.decoder(z_m + estimate * size)
            error = (estimate - residual).square().mean()
            distance = spectral_distance(shown, picture, colour=True).mean()
            loop.update(error + options.spectral * distance, spectral=distance)
            continue
        # Few steps are the rule, so early times (almost pure noise) matter as much as late ones.
        moment = torch.rand(options.batch, device=device)
        noise = torch.randn_like(residual)
        part = moment[:, None, None, None]
        with torch.autocast(device.type, torch.bfloat16):
            estimate = denoiser((1 - part) * noise + part * residual, z_m, moment, q)
        weight = 1 / (1 - moment).clamp(min=0.15)
        loop.update(((estimate.float() - residual).square().mean((1, 2, 3)) * weight).mean())
    return loop.average, scale
