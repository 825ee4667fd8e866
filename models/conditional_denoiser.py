"""The conditional denoiser of the human view, second generation, and the text encoder of its captions.

One U-Net for every start: it sees the state of the flow, z_m, what is known of the residual from texture, the noise
level that the flow began with, planes of the caption, and is told time, length of the step and quality. Each condition
is left out in part of the training, so any subset works. Flow and starts: ``duoview.human``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duoview.captions.caption import CLASSES, COUNTS, MOTIONS, PLACES
from duoview.generation import Generation
from duoview.models.layers import Block, exact_float, pointwise

#: Numbers of ``given``: whether z_m, the caption and the quality are there.
GIVEN = 3
FREQUENCIES = 8
_HIDDEN = 128


@dataclass(frozen=True)
class Conditions:
    """What the denoiser is told beside the state of the flow (N, latent, h, w), h and w multiples of 4.

    z_m, known: (N, latent, h, w). level: (N, 1, h, w). caption: (N, E, h/4, w/4), None for a denoiser without captions.
    q: (N,) integers. given: (N, GIVEN), 1 where z_m, caption and q count; where not, they must not matter.
    """

    z_m: Tensor
    known: Tensor
    level: Tensor
    caption: Tensor | None
    q: Tensor
    given: Tensor


def waves(x: Tensor) -> Tensor:
    """(N,) in 0..1 -> (N, 2 FREQUENCIES): sines and cosines, an octave apart."""
    octaves = 2.0 ** torch.arange(FREQUENCIES, device=x.device).float() * (math.pi / 4)
    angle = x.float()[:, None] * octaves
    return torch.cat([torch.sin(angle), torch.cos(angle)], 1)


class ModulatedBlock(nn.Module):
    """A residual block whose input is scaled and shifted by what the network is told: (N, C, h, w), (N, hidden)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(_HIDDEN, 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.block = Block(channels, kernel=kernel)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.modulation(told)[:, :, None, None].chunk(2, 1)
        changed: Tensor = self.block(x * (1 + scale) + shift)
        return changed


class ConditionalDenoiser(nn.Module):
    """U-Net over 1/8, 1/16 and 1/32: (state, Conditions, time (N,), span (N,)) -> estimate of the residual.

    State and estimate are in units of the residual's scale; the estimate is what is known and what the layers add.
    span: length of the step that is to be taken, 0 for the flow's own direction (Frans et al., ICLR 2025).
    """

    def __init__(self, latent: int, shape: Generation) -> None:
        super().__init__()
        self.latent, self.shape = latent, shape
        (fine, middle, coarse), counts = shape.channels, shape.blocks
        self.told = nn.Linear(6 * FREQUENCIES + GIVEN, _HIDDEN)
        self.enter = pointwise(latent * 3 + 1, fine)
        self.fine_down = self._blocks(fine, counts[0], 3)
        self.to_middle = pointwise(fine * 4, middle)
        self.middle_down = self._blocks(middle, counts[1], 5)
        self.to_coarse = pointwise(middle * 4, coarse)
        self.caption = pointwise(shape.caption, coarse) if shape.caption else None
        self.coarse = self._blocks(coarse, counts[2], 5)
        self.from_coarse = pointwise(coarse, middle * 4)
        self.middle_up = self._blocks(middle, counts[1], 5)
        self.from_middle = pointwise(middle, fine * 4)
        self.fine_up = self._blocks(fine, counts[0] + 1, 3)
        self.leave = pointwise(fine, latent)
        nn.init.normal_(self.leave.weight, std=0.1 * fine**-0.5)

    @staticmethod
    def _blocks(channels: int, count: int, kernel: int) -> nn.ModuleList:
        return nn.ModuleList(ModulatedBlock(channels, kernel) for _ in range(count))

    def forward(self, state: Tensor, conditions: Conditions, time: Tensor, span: Tensor) -> Tensor:
        given = conditions.given.float()
        quality = waves(conditions.q.float() / 63) * given[:, 2:3]
        told = F.silu(self.told(torch.cat([waves(time), waves(span), quality, given], 1)))
        z_m = conditions.z_m * given[:, :1, None, None]
        x = self.enter(torch.cat([state, z_m, conditions.known, conditions.level], 1))
        x = fine = self._run(x, self.fine_down, told)
        x = self.to_middle(F.pixel_unshuffle(x, 2))
        x = middle = self._run(x, self.middle_down, told)
        x = self.to_coarse(F.pixel_unshuffle(x, 2))
        if self.caption is not None and conditions.caption is not None:
            x = x + self.caption(conditions.caption) * given[:, 1:2, None, None]
        x = self._run(x, self.coarse, told)
        x = self._run(F.pixel_shuffle(self.from_coarse(x), 2) + middle, self.middle_up, told)
        x = self._run(F.pixel_shuffle(self.from_middle(x), 2) + fine, self.fine_up, told)
        # What texture knows is right already: only what it lacks has to be learned, and deep texture lacks little.
        return exact_float(self.leave, x) + conditions.known

    @staticmethod
    def _run(x: Tensor, layers: nn.ModuleList, told: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x, told)
        return x


class CaptionEncoder(nn.Module):
    """The text encoder of the grammar: phrases (P, 4) of class, count, place and motion -> vectors (P, E).

    What a phrase says is the sum of its words' vectors, through two layers; where it stands is laid out later.
    """

    WORDS = (len(CLASSES), len(COUNTS), len(PLACES), len(MOTIONS))

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.words = nn.ModuleList(nn.Embedding(count, numbers) for count in self.WORDS)
        self.hidden = nn.Linear(numbers, 2 * numbers)
        self.out = nn.Linear(2 * numbers, numbers)

    def forward(self, phrases: Tensor) -> Tensor:
        total = torch.stack([table(phrases[:, index]) for index, table in enumerate(self.words)]).sum(0)
        vectors: Tensor = self.out(F.silu(self.hidden(total)))
        return vectors
