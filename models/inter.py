"""The inter-frame codec of the machine layer: z given the previous z_m, with an exact temporal prior."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duoview.models.fixed_point import QUARTERS, FixedConv, quality_conditions, quantise
from duoview.models.key import Coded, ParameterHead, SymbolModel
from duoview.models.layers import Block, QualityTable, exact_float, pointwise

#: z_m is handed on from frame to frame: bounded, and on a grid so that small device differences do not add up.
STATE_LIMIT, STATE_GRID = 16.0, 64.0


def bound_state(z: Tensor) -> Tensor:
    """Clamp z_m and round it to the grid (straight-through gradient)."""
    clamped = z.clamp(-STATE_LIMIT, STATE_LIMIT)
    return clamped + (torch.floor(clamped * STATE_GRID + 0.5) / STATE_GRID - clamped).detach()


def update_mask(symbols: Tensor) -> Tensor:
    """1 at latent positions with a coded symbol in their 3x3 neighbourhood at 1/16, else 0.

    Where it is 0 the previous latent is kept untouched: a still region cannot drift, however long it stays still.
    Shapes: (N, C, H, W) -> (N, 1, 2H, 2W).
    """
    coded = (symbols.abs().amax(1, keepdim=True) > 0.5).float()
    return F.interpolate(F.max_pool2d(coded, 3, stride=1, padding=1), scale_factor=2, mode="nearest")


class TemporalHyperDecoder(nn.Module):
    """Exact: hyper symbols at 1/64 and the previous frame's decoded y -> features and first-pass parameters."""

    def __init__(self, hyper: int, symbols: int, width: int) -> None:
        super().__init__()
        self.enter = FixedConv(hyper, width * 4, source=QUARTERS, conditions=4)
        self.mix = FixedConv(width, width, kernel=3)
        self.rise = FixedConv(width, width * 4)
        self.spread = FixedConv(width, width, kernel=3)
        self.activity = FixedConv(symbols, symbols, kernel=5, source=QUARTERS)
        self.features = FixedConv(width + symbols, width)
        self.head = ParameterHead(width, symbols, start=10)

    def forward(self, hyper: Tensor, q: Tensor, previous: Tensor) -> tuple[Tensor, object]:
        x = F.pixel_shuffle(self.enter(hyper / 4, quality_conditions(q, QUARTERS.fraction)), 2)
        x = self.spread(F.pixel_shuffle(self.rise(self.mix(x)), 2))
        moving = self.activity(quantise(previous.abs(), QUARTERS))
        features = self.features(torch.cat([x, moving], 1))
        return features, self.head(features)


class InterCodec(nn.Module):
    """g_a, symbol model and g_s of P frames: (z, previous z_m, previous decoded y) -> z_m.

    fine: channels of the synthesis' stage at 1/8; 0 for none, so that ``synthesis_out`` gives the change of the latent.
    """

    def __init__(self, latent: int, symbols: int, channels: int, hyper: int, width: int,
                 analysis_blocks: int = 3, synthesis_blocks: int = 3, fine: int = 96, fine_blocks: int = 2) -> None:
        super().__init__()
        self.analysis_in = pointwise(latent * 8, channels)
        self.analysis = nn.Sequential(*(Block(channels) for _ in range(analysis_blocks)))
        self.analysis_out = pointwise(channels, symbols)
        self.gain = QualityTable(symbols, 1.0, 16.0)
        self.model = SymbolModel(symbols, hyper, width, TemporalHyperDecoder(hyper, symbols, width))
        self.inverse_gain = QualityTable(symbols, 1.0, 1.0 / 16)
        self.synthesis_in = pointwise(symbols + latent * 4, channels)
        self.modulation = QualityTable(channels, 1.0, 1.0)
        self.synthesis = nn.Sequential(*(Block(channels) for _ in range(synthesis_blocks)))
        self.has_fine_stage = fine > 0
        if not self.has_fine_stage:
            self.synthesis_out = pointwise(channels, latent * 4)
            nn.init.normal_(self.synthesis_out.weight, std=0.1 * channels**-0.5)
            return
        self.rise = pointwise(channels, 64 * 4)
        self.fine_in = pointwise(64 + latent, fine)
        self.fine = nn.Sequential(*(Block(fine) for _ in range(fine_blocks)))
        self.fine_out = pointwise(fine, latent)
        nn.init.normal_(self.fine_out.weight, std=0.1 * fine**-0.5)

    def analyse(self, z: Tensor, previous_z: Tensor, q: Tensor) -> Tensor:
        x = torch.cat([F.pixel_unshuffle(z - previous_z, 2), F.pixel_unshuffle(previous_z, 2)], 1)
        return exact_float(self.analysis_out, self.analysis(self.analysis_in(x))) * self.gain(q)

    def synthesise(self, decoded: Tensor, symbols: Tensor, previous_z: Tensor, q: Tensor) -> Tensor:
        x = torch.cat([decoded * self.inverse_gain(q), F.pixel_unshuffle(previous_z, 2)], 1)
        x = self.synthesis(self.synthesis_in(x) * self.modulation(q))
        if self.has_fine_stage:
            x = torch.cat([F.pixel_shuffle(self.rise(x), 2), previous_z], 1)
            change = exact_float(self.fine_out, self.fine(self.fine_in(x)))
        else:
            change = F.pixel_shuffle(exact_float(self.synthesis_out, x), 2)
        return bound_state(previous_z + change * update_mask(symbols))

    def forward(self, z: Tensor, previous_z: Tensor, previous_decoded: Tensor, q: Tensor,
                eagerness: Tensor | None = None, *, counted: bool = False) -> Coded:
        y = self.analyse(z, previous_z, q)
        decoded, bits, hyper_bits, symbols = self.model(y, q, previous_decoded, eagerness=eagerness, counted=counted)
        return Coded(self.synthesise(decoded, symbols, previous_z, q), bits, hyper_bits, symbols, decoded)
