"""Rate of symbols under the coder's Gaussian scale classes, differentiable for training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CLASSES = 64
SIGMA_FIRST, SIGMA_LAST = 0.11, 32.0
CLASS_STEP = math.log(SIGMA_LAST / SIGMA_FIRST) / (CLASSES - 2)
#: The coder's frequencies have 12 bits; a rarer symbol takes the escape, which costs about as much as this floor.
LIKELIHOOD_FLOOR = 2.0**-18


class _LowerBound(torch.autograd.Function):
    """``max(x, bound)`` whose gradient still pulls values below the bound upwards (Balle et al., 2018)."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound  # type: ignore[attr-defined]
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        grad = grads[0]
        return torch.where((x >= ctx.bound) | (grad < 0), grad, torch.zeros_like(grad)), None  # type: ignore[attr-defined]


def sigma_of_class(classes: Tensor) -> Tensor:
    """Standard deviation that a (real-valued) class index stands for; class 1 is 0.11, class 63 is 32."""
    return SIGMA_FIRST * torch.exp((classes - 1) * CLASS_STEP)


def class_of_sigma(sigma: Tensor) -> Tensor:
    """The nearest class index of a standard deviation, an integer in a float tensor within 0..63."""
    at = torch.log(sigma / SIGMA_FIRST) / CLASS_STEP + 1
    return torch.clamp(torch.floor(at + 0.5), 0, CLASSES - 1)


def gaussian_bits(values: Tensor, sigma: Tensor) -> Tensor:
    """Bits of a mean-removed value under a Gaussian convolved with the unit quantiser, elementwise, float32."""
    magnitude = values.abs()
    upper = torch.special.ndtr((0.5 - magnitude) / sigma)
    lower = torch.special.ndtr((-0.5 - magnitude) / sigma)
    likelihood = _LowerBound.apply(upper - lower, LIKELIHOOD_FLOOR)
    return -torch.log2(likelihood)


def noisy_bits(values: Tensor, symbols: Tensor, sigma: Tensor) -> Tensor:
    """Bits of mean-removed values with uniform noise for rounding (Balle et al., 2017); symbols do not count."""
    return gaussian_bits(values + (torch.rand_like(values) - 0.5), sigma)


def counted_bits(values: Tensor, symbols: Tensor, sigma: Tensor) -> Tensor:
    """Bits of the symbols that are coded for mean-removed values, with gradients that train both.

    Noise makes a value near zero cost a tenth of a bit where its symbol costs nothing, which is most of a small
    picture's rate. So sigma learns from the symbols; the values, through which no gradient of a rounded zero passes,
    learn from noise. Elementwise, float32.
    """
    coded = gaussian_bits(symbols.detach(), sigma)
    smooth = noisy_bits(values, symbols, sigma.detach())
    return coded + (smooth - smooth.detach())
