"""Exact networks: convolutions whose every value is an integer in a float32 tensor.

Entropy coding needs the same integers on every device. These layers keep weights and activations on power-of-two
grids during training (straight-through rounding), so the exported integer network computes the very same numbers:
scaling by a power of two is exact in binary floating point. Only pointwise and depthwise convolutions are offered,
because a backend may evaluate dense k x k ones by Winograd transforms, whose rounding error is not bounded by 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WEIGHT_LIMIT = 127
ACCUMULATOR_LIMIT = 1 << 22


def round_through(x: Tensor) -> Tensor:
    """``floor(x + 0.5)`` with the gradient of the identity (straight-through estimator, Bengio et al. 2013)."""
    return x + (torch.floor(x + 0.5) - x).detach()


@dataclass(frozen=True)
class Format:
    """A fixed-point format: integers in [low, high] that stand for ``integer / 2**fraction``."""

    fraction: int
    low: int
    high: int


UNSIGNED = Format(fraction=4, low=0, high=255)
SIGNED = Format(fraction=4, low=-128, high=127)
#: Decoded latents, in quarters: what the context and the temporal prior see of a sixteenth-precise value.
QUARTERS = Format(fraction=2, low=-127, high=127)
#: Means leave the network in sixteenths and feed nothing but the coder, so they may be wider than 8 bits.
SIXTEENTHS = Format(fraction=4, low=-2047, high=2047)


def quantise(x: Tensor, form: Format) -> Tensor:
    """Round real values to ``form`` and clamp; the gradient is that of the clamp."""
    scale = float(2**form.fraction)
    return torch.clamp(round_through(x * scale), form.low, form.high) / scale


class FixedConv(nn.Module):
    """Pointwise (``kernel`` 1) or depthwise convolution with 8-bit weights and an optional per-image bias input.

    Args:
        source: format of the input. target: format of the output (its lower clamp at 0 is the rectifier).
        weight_fraction: weights are multiples of ``2**-weight_fraction`` within +-127 of them.
    Shapes: (N, in, H, W) float32 -> (N, out, H, W) float32, all values on the grids of the formats.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, source: Format = UNSIGNED,
                 target: Format = UNSIGNED, weight_fraction: int | None = None, conditions: int = 0,
                 gain: float = 1.0) -> None:
        super().__init__()
        if kernel != 1 and inputs != outputs:
            raise ValueError(f"kernel={kernel}: only depthwise convolutions may be wider than 1x1 "
                             f"(inputs {inputs} must equal outputs {outputs})")
        self.groups = inputs if kernel != 1 else 1
        self.kernel, self.source, self.target = kernel, source, target
        self.weight_fraction = weight_fraction if weight_fraction is not None else (6 if kernel != 1 else 7)
        fan = kernel * kernel if kernel != 1 else inputs
        weight = torch.randn(outputs, inputs // self.groups, kernel, kernel) * (gain * (1.5 / fan) ** 0.5)
        if kernel != 1:
            weight[:, :, kernel // 2, kernel // 2] += 0.7
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(outputs))
        # Conditions (the quality index as a few piecewise-linear integers) shift the accumulator, like a bias.
        self.condition = nn.Parameter(torch.randn(outputs, conditions, 1, 1) * 0.05) if conditions else None

    @property
    def accumulator_fraction(self) -> int:
        return self.source.fraction + self.weight_fraction

    def integer_weight(self) -> Tensor:
        """Weights as integers in a float tensor, differentiable by straight-through rounding."""
        return torch.clamp(round_through(self.weight * 2.0**self.weight_fraction), -WEIGHT_LIMIT, WEIGHT_LIMIT)

    def integer_condition(self) -> Tensor:
        if self.condition is None:
            raise ValueError("this layer takes no conditions")
        return torch.clamp(round_through(self.condition * 2.0**self.weight_fraction), -WEIGHT_LIMIT, WEIGHT_LIMIT)

    def integer_bias(self) -> Tensor:
        """Bias in units of the accumulator, integers in a float tensor."""
        return round_through(self.bias * 2.0**self.accumulator_fraction)

    def accumulate(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        weight = self.integer_weight() / 2.0**self.weight_fraction
        bias = self.integer_bias() / 2.0**self.accumulator_fraction
        out = F.conv2d(x, weight, bias, padding=self.kernel // 2, groups=self.groups)
        if condition is not None:
            # Conditions have the fraction of the source, so their products land on the same accumulator grid.
            out = out + F.conv2d(condition, self.integer_condition() / 2.0**self.weight_fraction)
        return out

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return quantise(self.accumulate(x, condition), self.target)

    def channel_bounds(self) -> Tensor:
        """Largest magnitude that the integer accumulator of each output channel can reach, by L1 norms: (outputs,)."""
        with torch.no_grad():
            reach = max(abs(self.source.low), abs(self.source.high))
            bounds = self.integer_weight().abs().flatten(1).sum(1) * reach + self.integer_bias().abs()
            if self.condition is not None:
                bounds = bounds + self.integer_condition().abs().flatten(1).sum(1) * 63
            return bounds

    def accumulator_bound(self) -> int:
        """Largest magnitude that an integer accumulator of this layer can reach."""
        return int(self.channel_bounds().max())


@torch.no_grad()
def keep_accumulators_in_range(module: nn.Module, limit: int = ACCUMULATOR_LIMIT * 7 // 8) -> None:
    """Shrink output channels of fixed-point layers whose accumulator could pass ``limit``, so that they stay exact.

    What rounding adds after shrinking stays within the eighth that the default leaves below ``ACCUMULATOR_LIMIT``.
    """
    for layer in module.modules():
        if not isinstance(layer, FixedConv):
            continue
        bounds = layer.channel_bounds()
        over = bounds > limit
        if not over.any():
            continue
        shrink = limit / bounds[over]
        # A weight far beyond the range of its integer would shrink without the integer getting any smaller.
        furthest = WEIGHT_LIMIT / 2.0**layer.weight_fraction
        for parameter in (layer.weight, layer.condition):
            if parameter is not None:
                parameter[over] = parameter[over].clamp(-furthest, furthest) * shrink[:, None, None, None]
        layer.bias[over] = layer.bias[over] * shrink


def accumulator_share(module: nn.Module) -> float:
    """Largest accumulator bound of the fixed-point layers of a network, as a share of ``ACCUMULATOR_LIMIT``.

    Raises ValueError where there is no such layer. From 1 on the network cannot be exported.
    """
    bounds = [layer.accumulator_bound() for layer in module.modules() if isinstance(layer, FixedConv)]
    if not bounds:
        raise ValueError(f"{type(module).__name__} has no fixed-point layer")
    return max(bounds) / ACCUMULATOR_LIMIT


def quality_conditions(q: Tensor, fraction: int = 4) -> Tensor:
    """Piecewise-linear integers of the quality index: q and its excess over 16, 32, 48.

    Shapes: (N,) integers 0..63 -> (N, 4, 1, 1) float32 on a grid of ``2**-fraction``.
    """
    steps = torch.stack([torch.clamp(q - knot, min=0) for knot in (0, 16, 32, 48)], dim=1).float()
    return steps[:, :, None, None] / 2.0**fraction
