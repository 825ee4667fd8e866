"""The conditional denoiser of the human view: a U-Net on the residual z - z_m, conditioned on z_m.

Rectified flow (Liu et al., ICLR 2023) with x-prediction: at time t the state is ``(1 - t) * noise + t * residual``
and the network returns the residual. Residuals are normalised per channel and quality index, so that pure noise has
their scale; nothing but z_m and noise enters, so the view costs no bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duoview.models.layers import Block, QualityTable, exact_float, pointwise


class TimeModulation(nn.Module):
    """Per-channel scale and shift from diffusion time: (N,) in [0, 1] -> two (N, C, 1, 1)."""

    FREQUENCIES = 8

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * self.FREQUENCIES, 64)
        self.out = nn.Linear(64, 2 * channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, time: Tensor) -> tuple[Tensor, Tensor]:
        octave = 2.0 ** torch.arange(self.FREQUENCIES, device=time.device).float() * (math.pi / 4)
        angle = time.float()[:, None] * octave
        waves = torch.cat([torch.sin(angle), torch.cos(angle)], 1)
        scale, shift = self.out(F.silu(self.hidden(waves)))[:, :, None, None].chunk(2, 1)
        return scale, shift


class TimedBlock(nn.Module):
    """A residual block whose input is scaled and shifted by diffusion time."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.modulation = TimeModulation(channels)
        self.block = Block(channels, kernel=kernel)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.modulation(time)
        changed: Tensor = self.block(x * (1 + scale) + shift)
        return changed


class Denoiser(nn.Module):
    """U-Net over 1/8, 1/16 and 1/32. (state, z_m: (N, latent, H, W); time: (N,); q: (N,)) -> residual estimate.

    H and W are multiples of 4 latent positions. State and result are in units of the residual's scale.
    """

    def __init__(self, latent: int, channels: tuple[int, int, int] = (128, 192, 256)) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.enter = pointwise(latent * 2, fine)
        self.quality = QualityTable(fine, 1.0, 1.0)
        self.fine_down = nn.ModuleList(TimedBlock(fine, 3) for _ in range(2))
        self.to_middle = pointwise(fine * 4, middle)
        self.middle_down = nn.ModuleList(TimedBlock(middle, 5) for _ in range(2))
        self.to_coarse = pointwise(middle * 4, coarse)
        self.coarse = nn.ModuleList(TimedBlock(coarse, 5) for _ in range(3))
        self.from_coarse = pointwise(coarse, middle * 4)
        self.middle_up = nn.ModuleList(TimedBlock(middle, 5) for _ in range(2))
        self.from_middle = pointwise(middle, fine * 4)
        self.fine_up = nn.ModuleList(TimedBlock(fine, 3) for _ in range(3))
        self.leave = pointwise(fine, latent)
        nn.init.normal_(self.leave.weight, std=0.1 * fine**-0.5)

    def forward(self, state: Tensor, z_m: Tensor, time: Tensor, q: Tensor) -> Tensor:
        x = self.enter(torch.cat([state, z_m], 1)) * self.quality(q)
        for block in self.fine_down:
            x = block(x, time)
        fine = x
        x = self.to_middle(F.pixel_unshuffle(x, 2))
        for block in self.middle_down:
            x = block(x, time)
        middle = x
        x = self.to_coarse(F.pixel_unshuffle(x, 2))
        for block in self.coarse:
            x = block(x, time)
        x = F.pixel_shuffle(self.from_coarse(x), 2) + middle
        for block in self.middle_up:
            x = block(x, time)
        x = F.pixel_shuffle(self.from_middle(x), 2) + fine
        for block in self.fine_up:
            x = block(x, time)
        return exact_float(self.leave, x)
