"""What of a picture the texture layer codes: a float transform from z and its base to components, a linear one back.

The base is E of the machine view, not z_m. That was trained to be decoded, not to be z: the two differ by an offset
that D does not mind, and that is half of the energy of z - z_m in the picture's metric; coding it first makes pictures
worse before it makes them better. Components are trained for the picture that D makes of the base plus what is known of
them, at every state of knowledge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duoview.models.autoencoder import LatentDecoder
from duoview.models.layers import SLOPE, Block, QualityTable, exact_float, pointwise
from duoview.models.loop import Loop
from duoview.models.network import lagrangian
from duoview.models.texture_palettes import scales
from duoview.models.texture_palettes import transform as first_transform
from duoview.models.texture_samples import TextureSamples

#: Noise power of what is known of the components, from nearly all to nearly nothing.
_NOISE = (0.3, 100.0)
#: How much finer than the machine layer, in quality indices, texture trades error for bits.
_FINER = 24
#: Power of a component at which it stands for coding noise of the same power.
_START_GAIN = 3.0


class TextureAnalysis(nn.Module):
    """z, base (N, latent, h, w), q (N,) -> components (N, latent, h, w), in units of coding noise."""

    def __init__(self, latent: int, width: int = 128) -> None:
        super().__init__()
        self.direct = pointwise(latent, latent)
        self.enter = pointwise(2 * latent, width)
        self.modulation = QualityTable(width, 1.0, 1.0)
        self.block = Block(width, expansion=1)
        self.leave = pointwise(width, latent)
        self.gain = QualityTable(latent, 1.0, 1.0)
        nn.init.normal_(self.leave.weight, std=0.02 * width**-0.5)

    def forward(self, z: Tensor, base: Tensor, q: Tensor) -> Tensor:
        x = F.leaky_relu(self.enter(torch.cat([z, base], 1)) * self.modulation(q), SLOPE)
        found: Tensor = (self.direct(z - base) + exact_float(self.leave, self.block(x))) * self.gain(q)
        return found


class TextureSynthesis(nn.Module):
    """Components (N, latent, h, w), q -> what is added to the base; linear."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.inverse_gain = QualityTable(latent, 1.0, 1.0)
        self.matrix = nn.Conv2d(latent, latent, 1, bias=False)

    def forward(self, components: Tensor, q: Tensor) -> Tensor:
        found: Tensor = self.matrix(components * self.inverse_gain(q))
        return found


class TextureTransform(nn.Module):
    """Both, from a first transform (latent, latent) by statistics and a typical length of its result by quality index.

    forward: rows of the linear transform that ``TextureAnalysis.direct`` begins with. scale: (64,).
    """

    def __init__(self, latent: int, forward: np.ndarray | None = None, scale: np.ndarray | None = None) -> None:
        super().__init__()
        self.analysis, self.synthesis = TextureAnalysis(latent), TextureSynthesis(latent)
        if forward is not None and scale is not None:
            anchors = self.analysis.gain.log_anchors.shape[0]
            at = np.linspace(0, 63, anchors).round().astype(int)
            logs = torch.from_numpy(np.log(_START_GAIN / scale[at])).float()[:, None]
            with torch.no_grad():
                self.analysis.direct.weight.copy_(torch.from_numpy(forward)[:, :, None, None])
                self.analysis.gain.log_anchors.copy_(logs.expand_as(self.analysis.gain.log_anchors))
                self.synthesis.inverse_gain.log_anchors.copy_(-logs.expand_as(self.analysis.gain.log_anchors))
                inverse = np.linalg.inv(forward.astype(np.float64)).astype(np.float32)
                self.synthesis.matrix.weight.copy_(torch.from_numpy(inverse)[:, :, None, None])


@dataclass(frozen=True)
class AnalysisTraining:
    """Options. ``minutes`` bounds wall time over all runs."""

    minutes: float = 8.0
    batch: int = 8
    rate: float = 1.0e-3
    seed: int = 1
    device: str = "cpu"


def known(components: Tensor, noise: Tensor) -> Tensor:
    """The best guess at components that are known up to noise of a power (N, 1, 1, 1): Wiener's."""
    power = components.detach().square().mean((2, 3), keepdim=True)
    return (components + torch.randn_like(components) * noise.sqrt()) * power / (power + noise)


def component_bits(components: Tensor) -> Tensor:
    """Bits a position, (N,), at coding noise of power 1, were they Gaussian with the variance of their surroundings."""
    power = F.avg_pool2d(components.square(), 3, 1, 1, count_include_pad=False)
    return torch.log2(1 + power).sum(1).mean((1, 2)) / 2


@torch.no_grad()
def validate(transform: TextureTransform, decoder: LatentDecoder, held: TextureSamples) -> dict[str, float]:
    """PSNR of held-back crops by what is known of their components, from nothing (the machine view) on; their bits."""
    if not len(held):
        return {}
    sums = np.zeros(5)
    count = min(24, len(held))
    torch.manual_seed(4)
    for n in range(count):
        picture, z, base, q = tensors(held, np.array([n]))
        components = transform.analysis(z, base, q)
        shown = [base] + [base + transform.synthesis(known(components, torch.full((1, 1, 1, 1), noise)), q)
                         for noise in (30.0, 3.0, 0.3)]
        errors = [float((decoder(one).clamp(0, 1) - picture).square().mean()) for one in shown]
        sums += [*(-10 * math.log10(max(error, 1e-9)) for error in errors), float(component_bits(components))]
    names = ("machine", "noise_30", "noise_3", "noise_0.3", "bits")
    return {name: round(float(value), 3) for name, value in zip(names, sums / count, strict=True)}


def tensors(samples: TextureSamples, chosen: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures (N, 3, H, W) in [0, 1], z, base, q of chosen samples."""
    picture = torch.from_numpy(samples.pictures[chosen]).permute(0, 3, 1, 2).float() / 255
    z, base = (torch.from_numpy(part[chosen].astype(np.float32)) for part in (samples.z, samples.base))
    return picture, z, base, torch.from_numpy(samples.q[chosen])


@torch.no_grad()
def components_of(transform: TextureTransform, samples: TextureSamples) -> np.ndarray:
    """Components of all samples, (N, latent, h, w) float32."""
    found = []
    for start in range(0, len(samples), 16):
        _, z, base, q = tensors(samples, np.arange(start, min(start + 16, len(samples))))
        found.append(transform.analysis(z, base, q).numpy())
    return np.concatenate(found) if found else np.zeros((0, *samples.z.shape[1:]), np.float32)


@torch.no_grad()
def error_table(transform: TextureTransform, decoder: LatentDecoder, samples: TextureSamples) -> np.ndarray:
    """What a squared error of 1 of a position's components costs the picture, in 8-bit steps squared: (64,) float32."""
    levels, costs = [], []
    torch.manual_seed(7)
    for n in range(0, len(samples), max(1, len(samples) // 48)):
        _, z, base, q = tensors(samples, np.array([n]))
        components = transform.analysis(z, base, q)
        clean, noisy = (decoder(base + transform.synthesis(one, q))
                        for one in (components, components + torch.randn_like(components)))
        levels.append(int(q))
        costs.append(float((noisy - clean).square().mean()) * 255**2 / components.shape[1])
    fitted = np.polyfit(levels, np.log(np.maximum(costs, 1e-9)), 2 if len(set(levels)) > 2 else 0)
    return np.exp(np.polyval(fitted, np.arange(64))).astype(np.float32)


def new_transform(samples: TextureSamples, weight: np.ndarray, groups: int) -> TextureTransform:
    """A transform to start training from. weight: as in ``texture_palettes.transform``."""
    apart = samples.z.astype(np.float32) - samples.base
    channels = apart.shape[1]
    flat = apart.transpose(0, 2, 3, 1).reshape(-1, channels)
    forward = first_transform(flat, weight, groups)
    lengths = ((flat - flat.mean(0)) @ forward.T).astype(np.float64) ** 2
    levels = samples.q.repeat(len(flat) // len(samples))
    return TextureTransform(channels, forward, scales(lengths.mean(1, keepdims=True), levels)[:, 0])


def train(first: TextureTransform, decoder: LatentDecoder, samples: TextureSamples, held: TextureSamples,
          options: AnalysisTraining, folder: Path) -> TextureTransform:
    """Train, or go on from ``texture_analysis.pt`` in ``folder``; D is frozen. Returns the averaged transform."""
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    decoder = decoder.to(device).requires_grad_(False)
    # Adam alone: the first transform's directions are not to be shaken.
    loop: Loop[TextureTransform] = Loop("transform", first.to(device), folder / "texture_analysis.pt",
                                        minutes=options.minutes, rate=options.rate, muon=False, report_seconds=60,
                                        save_seconds=120)
    random = np.random.default_rng(options.seed + loop.step)
    low, high = (math.log(power) for power in _NOISE)
    for _ in loop.rounds(lambda: validate(loop.average, decoder, held)):
        picture, z, base, q = (part.to(device) for part in tensors(samples, random.integers(0, len(samples),
                                                                                           options.batch)))
        components = first.analysis(z, base, q)
        # A third at the noise that the rate is counted for, the others anywhere between all and nothing.
        noise = torch.exp(torch.rand(len(q), device=device) * (high - low) + low)
        noise[::3] = 1
        shown = decoder(base + first.synthesis(known(components, noise[:, None, None, None]), q))
        error = (shown - picture).square().mean((1, 2, 3)) * 255**2
        weight = lagrangian((q + _FINER).clamp(max=63))
        bits = component_bits(components) / 64
        loss = ((weight * error + bits * (noise == 1)) * weight**-0.4 * 0.1).mean()
        loop.update(loss, error=error.mean(), bits=bits.mean() * 64)
    return loop.average
