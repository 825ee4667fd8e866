"""The way from nodes back into the latent, one for every depth: linear, trained for the picture that D makes of it.

D answers to what is added to a latent in its own way: means of coarse palettes, put where fine ones belong, can make a
picture worse than the machine view. So each depth has its own matrix and gains.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from duoview.models.autoencoder import LatentDecoder
from duoview.models.loop import Loop
from duoview.models.texture_analysis import TextureSynthesis, tensors
from duoview.models.texture_palettes import STEP, Palettes
from duoview.models.texture_samples import TextureSamples

LEVELS = 64
_ANCHORS = 10


class DepthSynthesis(nn.Module):
    """Components that nodes of a depth stand for (N, C, h, w) -> what is added to the base; linear."""

    def __init__(self, channels: int, depth: int, start: TextureSynthesis | None = None) -> None:
        super().__init__()
        matrix, gain = torch.eye(channels), torch.ones(_ANCHORS, channels)
        if start is not None:
            matrix = start.matrix.weight.detach()[:, :, 0, 0]
            gain = start.inverse_gain.table().detach()[torch.linspace(0, LEVELS - 1, _ANCHORS).round().long()]
        self.matrix = nn.Parameter(matrix.repeat(depth, 1, 1))
        # A share of the start's gain, so that one learning rate serves all channels.
        self.start: Tensor
        self.register_buffer("start", gain[:, None].repeat(1, depth, 1))
        self.share = nn.Parameter(torch.ones(_ANCHORS, depth, channels))

    def gains(self) -> Tensor:
        """(64, D, C), linear in q between anchors."""
        anchors = self.share * self.start
        at = torch.linspace(0, _ANCHORS - 1, LEVELS, device=anchors.device)
        low = at.floor().long().clamp(max=_ANCHORS - 2)
        part = (at - low)[:, None, None]
        return anchors[low] * (1 - part) + anchors[low + 1] * part

    def forward(self, components: Tensor, depth: Tensor, q: Tensor) -> Tensor:
        """depth, q: (N,), integers; depth from 1 on."""
        scaled = components * self.gains()[q, depth - 1][:, :, None, None]
        return torch.einsum("ndc,nchw->ndhw", self.matrix[depth - 1], scaled)


@dataclass(frozen=True)
class SynthesisTraining:
    """Options. ``minutes`` bounds wall time over all runs."""

    minutes: float = 6.0
    batch: int = 6
    rate: float = 1.0e-3
    seed: int = 1
    device: str = "cpu"


def node_components(palettes: Palettes, leaves: NDArray[np.uint8], depth: int, q: int) -> Tensor:
    """What the ancestors at ``depth`` of leaves (G, h, w) stand for: (C, h, w)."""
    groups, height, width = leaves.shape
    nodes = (leaves >> (palettes.depth - depth)).reshape(groups, -1)
    vectors = palettes.nodes[depth][np.arange(groups)[:, None], nodes].astype(np.float32) * np.float32(STEP)
    scaled = vectors * palettes.scale[q][:, None, None]
    return torch.from_numpy(scaled.transpose(0, 2, 1).reshape(-1, height, width).astype(np.float32))


@torch.no_grad()
def validate(synthesis: DepthSynthesis, decoder: LatentDecoder, palettes: Palettes, samples: TextureSamples,
             leaves: NDArray[np.uint8]) -> dict[str, float]:
    """Mean PSNR of held-back crops by depth; psnr_0 is the machine view."""
    count = min(24, len(samples))
    if not count:
        return {}
    sums = np.zeros(palettes.depth + 1)
    for n in range(count):
        picture, _, base, q = tensors(samples, np.array([n]))
        for depth in range(palettes.depth + 1):
            z = base
            if depth:
                found = node_components(palettes, leaves[n], depth, int(q))[None]
                z = base + synthesis(found, torch.tensor([depth]), q)
            sums[depth] -= 10 * np.log10(max(float((decoder(z).clamp(0, 1) - picture).square().mean()), 1e-9))
    return {f"psnr_{depth}": round(float(value), 3) for depth, value in enumerate(sums / count)}


def train(start: TextureSynthesis, decoder: LatentDecoder, palettes: Palettes,
          data: tuple[TextureSamples, NDArray[np.uint8]], held: tuple[TextureSamples, NDArray[np.uint8]],
          options: SynthesisTraining, folder: Path) -> DepthSynthesis:
    """Train, or go on from ``texture_synthesis.pt`` in ``folder``; D is frozen. Returns the averaged synthesis.

    data, held: samples and their leaves (N, G, h, w).
    """
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    decoder = decoder.to(device).requires_grad_(False)
    samples, leaves = data
    network = DepthSynthesis(samples.z.shape[1], palettes.depth, start).to(device)
    loop: Loop[DepthSynthesis] = Loop("synthesis", network, folder / "texture_synthesis.pt", minutes=options.minutes,
                                      rate=options.rate, muon=False, report_seconds=90, save_seconds=120,
                                      of={"palettes": palettes.sha256})
    random = np.random.default_rng(options.seed + loop.step)
    for _ in loop.rounds(lambda: validate(loop.average, decoder, palettes, *held)):
        chosen = random.integers(0, len(samples), options.batch)
        depth = random.integers(1, palettes.depth + 1, options.batch)
        picture, _, base, q = (part.to(device) for part in tensors(samples, chosen))
        found = torch.stack([node_components(palettes, leaves[n], int(d), int(samples.q[n]))
                             for n, d in zip(chosen, depth, strict=True)]).to(device)
        shown = decoder(base + network(found, torch.from_numpy(depth).to(device), q))
        error = (shown - picture).square().mean((1, 2, 3))
        # Logarithms: a decibel counts the same at every quality.
        loop.update(torch.log(error + 1e-5).mean(), error=error.mean() * 255**2)
    return loop.average
