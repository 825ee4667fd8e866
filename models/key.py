"""The key-frame codec of the machine layer: transforms g_a and g_s, and the exact networks that model its symbols."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duoview.models.fixed_point import (
    QUARTERS,
    SIXTEENTHS,
    FixedConv,
    Format,
    quality_conditions,
    quantise,
    round_through,
)
from duoview.models.layers import Block, QualityTable, exact_float, pointwise
from duoview.models.rate import CLASS_STEP, CLASSES, class_of_sigma, counted_bits, noisy_bits, sigma_of_class

#: Four class steps per unit keep the head's weights in range; 24 is the class around which a fresh head starts.
CLASS_FORMAT = Format(fraction=2, low=0, high=CLASSES - 1)
CLASS_START = 24
HYPER_LIMIT = 127
#: Half the bits that magnitude 1 costs more than 0 at sigma 1, at the high-rate slope of a unit quantiser.
STEP_SLOPE = 2 * math.log(2) / 12 * (math.log2(math.e) / 2) / 2
#: Table classes that a level of a gain map moves, as in ``duoview.gain_map``.
LEVEL_CLASSES = 2


def first_pass_mask(like: Tensor) -> Tensor:
    """1 where a symbol belongs to the first checkerboard half; the second half of the channels is shifted by one.

    So each position has half of its channels decoded first, and the context of the other half is complete
    (He et al., CVPR 2021, in the two-way form of DCVC-DC). Shapes: (N, C, H, W) -> (1, C, H, W).
    """
    _, channels, height, width = like.shape
    rows = torch.arange(height, device=like.device)[:, None]
    columns = torch.arange(width, device=like.device)[None, :]
    half = (torch.arange(channels, device=like.device) >= channels // 2).long()[:, None, None]
    return ((rows + columns + half) % 2 == 0).float()[None]


@dataclass
class Parameters:
    """What the coder needs per symbol: classes (integers 0..63 in float32) and means (multiples of 1/16)."""

    classes: Tensor
    means: Tensor


class ParameterHead(nn.Module):
    """The last exact layer: table classes and means from 8-bit features."""

    def __init__(self, inputs: int, outputs: int, start: int = CLASS_START) -> None:
        super().__init__()
        self.classes = FixedConv(inputs, outputs, target=CLASS_FORMAT, gain=0.5)
        self.means = FixedConv(inputs, outputs, target=SIXTEENTHS, gain=0.3)
        nn.init.constant_(self.classes.bias, start / 4)

    def forward(self, features: Tensor) -> Parameters:
        classes = self.classes(features) * 2.0**CLASS_FORMAT.fraction
        return Parameters(classes, self.means(features))


class HyperDecoder(nn.Module):
    """Exact: hyper symbols at 1/64 -> features at 1/16 and the parameters of the first pass."""

    def __init__(self, hyper: int, symbols: int, width: int) -> None:
        super().__init__()
        self.enter = FixedConv(hyper, width * 4, source=QUARTERS, conditions=4)
        self.mix = FixedConv(width, width, kernel=3)
        self.rise = FixedConv(width, width * 4)
        self.spread = FixedConv(width, width, kernel=3)
        self.features = FixedConv(width, width)
        self.head = ParameterHead(width, symbols)

    def forward(self, hyper: Tensor, q: Tensor) -> tuple[Tensor, Parameters]:
        # Hyper symbols are whole numbers; read as quarters they keep the accumulator small.
        x = F.pixel_shuffle(self.enter(hyper / 4, quality_conditions(q, QUARTERS.fraction)), 2)
        x = F.pixel_shuffle(self.rise(self.mix(x)), 2)
        features = self.features(self.spread(x))
        return features, self.head(features)


class ContextNetwork(nn.Module):
    """Exact: features and the decoded first half -> the parameters of the second half."""

    def __init__(self, symbols: int, features: int, width: int) -> None:
        super().__init__()
        self.neighbours = FixedConv(symbols, symbols, kernel=5, source=QUARTERS)
        self.gather = FixedConv(symbols + features, width)
        self.mix = FixedConv(width, width)
        self.head = ParameterHead(width, symbols)

    def forward(self, features: Tensor, decoded: Tensor) -> Parameters:
        near = self.neighbours(quantise(decoded, QUARTERS))
        return self.head(self.mix(self.gather(torch.cat([features, near], 1))))


def decide(values: Tensor, classes: Tensor, eagerness: Tensor | None) -> Tensor:
    """Mean-removed values to symbols as an encoder chooses them, with the gradient of the identity where one is coded.

    The rule of ``codec.decision.quantise`` (SymbolDecision), so that P frames are trained on the states that real
    encoders leave. values, classes: (N, C, H, W); eagerness: (N,), 0 rounds to the nearest integer.
    """
    live = (classes > 0.5).float()
    if eagerness is None:
        return round_through(values) * live
    magnitude = values.detach().abs()
    symbols = torch.floor(magnitude + 0.5)
    margin = STEP_SLOPE / sigma_of_class(classes.detach()) ** 2 * eagerness[:, None, None, None]
    symbols = symbols - ((magnitude < symbols - 0.5 + margin * (2 * symbols - 1)) & (symbols > 0)).float()
    return (values + (torch.copysign(symbols, values.detach()) - values).detach()) * live


def level_gain(levels: Tensor) -> Tensor:
    """What a level of a gain map multiplies differences from the mean by; elementwise."""
    return torch.exp(levels * (LEVEL_CLASSES * CLASS_STEP))


@dataclass
class Coded:
    """One frame through a machine codec in training."""

    z: Tensor
    bits: Tensor
    hyper_bits: Tensor
    symbols: Tensor
    decoded: Tensor


class SymbolModel(nn.Module):
    """Hyper analysis, hyper decoder and context network of one frame type: y -> decoded y and its rate."""

    def __init__(self, symbols: int, hyper: int, width: int, hyper_decoder: nn.Module | None = None) -> None:
        super().__init__()
        self.fold = pointwise(symbols * 4, 160)
        self.fold_mix = Block(160, expansion=1)
        self.hyper_head = pointwise(160 * 4, hyper)
        self.hyper_sigma = QualityTable(hyper, 1.0, 4.0)
        self.decoder = hyper_decoder if hyper_decoder is not None else HyperDecoder(hyper, symbols, width)
        self.context = ContextNetwork(symbols, width, 192)

    def analyse(self, y: Tensor) -> Tensor:
        """Unrounded hyper latents at 1/64 of the picture."""
        x = self.fold_mix(F.leaky_relu(self.fold(F.pixel_unshuffle(y, 2)), 0.1))
        return exact_float(self.hyper_head, F.pixel_unshuffle(F.leaky_relu(x, 0.1), 2))

    def forward(self, y: Tensor, q: Tensor, *extra: Tensor, eagerness: Tensor | None = None, counted: bool = False,
                levels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """y in units of the quantiser -> decoded y, bits of y (N,), bits of the hyper symbols (N,), symbols.

        eagerness: (N,), how eagerly the encoder lowers magnitudes to save bits (see ``decide``); None for not at all.
        counted: bits are those of the symbols that are coded, see ``counted_bits``, not those of values with noise.
        levels: of a gain map at the symbols' positions, (N, 1, H, W), see ``duoview.gain_map``; None for all 0.
        """
        hyper = self.analyse(y)
        gain = level_gain(levels) if levels is not None else torch.ones((), device=y.device)

        def scaled(parameters: Parameters) -> Tensor:
            if levels is None:
                return parameters.classes
            moved = torch.clamp(parameters.classes + LEVEL_CLASSES * levels, 1, CLASSES - 1)
            return torch.where(parameters.classes > 0.5, moved, parameters.classes)

        with torch.autocast(device_type=y.device.type, enabled=False):
            sigma = self.hyper_sigma(q)
            # Classes are integers in the stream; train on the sigma that the class will stand for.
            through = sigma_of_class(class_of_sigma(sigma)).detach()
            sigma = sigma + (through - sigma).detach()
            rounded = torch.clamp(round_through(hyper), -HYPER_LIMIT, HYPER_LIMIT)
            price = counted_bits if counted else noisy_bits
            hyper_bits = price(hyper, rounded, sigma).sum((1, 2, 3))
            features, first = self.decoder(rounded, q, *extra)
            mask = first_pass_mask(y)
            classes_first = scaled(first)
            symbols_first = decide((y - first.means) * gain, classes_first, eagerness)
            decoded_first = (symbols_first / gain + first.means) * mask
            second = self.context(features, decoded_first)
            classes_second = scaled(second)
            symbols_second = decide((y - second.means) * gain, classes_second, eagerness)
            decoded = decoded_first + (symbols_second / gain + second.means) * (1 - mask)
            means = first.means * mask + second.means * (1 - mask)
            classes = classes_first * mask + classes_second * (1 - mask)
            symbols = symbols_first * mask + symbols_second * (1 - mask)
            bits = price((y - means) * gain, symbols, sigma_of_class(classes)).sum((1, 2, 3))
        return decoded, bits, hyper_bits, symbols


class KeyCodec(nn.Module):
    """g_a, the symbol model and g_s of key frames: z -> z_m."""

    def __init__(self, latent: int, symbols: int, channels: int, hyper: int, width: int,
                 analysis_blocks: int = 3, synthesis_blocks: int = 4) -> None:
        super().__init__()
        self.analysis_in = pointwise(latent * 4, channels)
        self.analysis = nn.Sequential(*(Block(channels) for _ in range(analysis_blocks)))
        self.analysis_out = pointwise(channels, symbols)
        self.gain = QualityTable(symbols, 1.0, 16.0)
        self.model = SymbolModel(symbols, hyper, width)
        self.inverse_gain = QualityTable(symbols, 1.0, 1.0 / 16)
        self.synthesis_in = pointwise(symbols, channels)
        self.modulation = QualityTable(channels, 1.0, 1.0)
        self.synthesis = nn.Sequential(*(Block(channels) for _ in range(synthesis_blocks)))
        self.synthesis_out = pointwise(channels, latent * 4)

    def analyse(self, z: Tensor, q: Tensor) -> Tensor:
        x = self.analysis(self.analysis_in(F.pixel_unshuffle(z, 2)))
        return exact_float(self.analysis_out, x) * self.gain(q)

    def synthesise(self, decoded: Tensor, q: Tensor) -> Tensor:
        x = self.synthesis_in(decoded * self.inverse_gain(q)) * self.modulation(q)
        return F.pixel_shuffle(exact_float(self.synthesis_out, self.synthesis(x)), 2)

    def forward(self, z: Tensor, q: Tensor, eagerness: Tensor | None = None, *, counted: bool = False,
                levels: Tensor | None = None) -> Coded:
        y = self.analyse(z, q)
        decoded, bits, hyper_bits, symbols = self.model(y, q, eagerness=eagerness, counted=counted, levels=levels)
        return Coded(self.synthesise(decoded, q), bits, hyper_bits, symbols, decoded)
