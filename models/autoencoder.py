"""The latent space that all views share: E (picture -> z at 1/8) and D (z -> picture)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duoview.models.layers import Block, exact_float, pointwise

UNSHUFFLE = 8


class LatentEncoder(nn.Module):
    """E: RGB in [0, 1], (N, 3, H, W) with H, W multiples of 8 -> z, (N, latent, H/8, W/8) float32."""

    def __init__(self, latent: int, channels: int, blocks: int) -> None:
        super().__init__()
        # Unshuffle by 8 and a pointwise convolution are one strided convolution.
        self.stem = nn.Conv2d(3, channels, UNSHUFFLE, stride=UNSHUFFLE)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.head = pointwise(channels, latent)

    def forward(self, picture: Tensor) -> Tensor:
        return exact_float(self.head, self.blocks(self.stem((picture - 0.5) * 2)))


class LatentDecoder(nn.Module):
    """D: z, (N, latent, H/8, W/8) -> RGB, (N, 3, H, W) float32, nominally in [0, 1], not clamped."""

    def __init__(self, latent: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.stem = pointwise(latent, channels)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.head = pointwise(channels, 3 * UNSHUFFLE**2)

    def forward(self, z: Tensor) -> Tensor:
        return F.pixel_shuffle(exact_float(self.head, self.blocks(self.stem(z))), UNSHUFFLE) * 0.5 + 0.5


def fold_latent_scale(encoder: LatentEncoder, decoder: LatentDecoder, inner_in: list[nn.Conv2d],
                      inner_out: list[nn.Conv2d], mean: Tensor, scale: Tensor) -> None:
    """Move a normalisation ``z' = (z - mean) / scale`` into the layers that write and read z, leaving pictures alone.

    ``inner_in`` read z after an unshuffle by 2 (so each latent channel feeds four inputs in a row), ``inner_out``
    write it before a shuffle by 2. mean, scale: (latent,).
    """
    with torch.no_grad():
        assert encoder.head.bias is not None and decoder.stem.bias is not None
        encoder.head.weight.div_(scale[:, None, None, None])
        encoder.head.bias.sub_(mean).div_(scale)
        decoder.stem.bias.add_(decoder.stem.weight[:, :, 0, 0] @ mean)
        decoder.stem.weight.mul_(scale[None, :, None, None])
        four_mean, four_scale = mean.repeat_interleave(4), scale.repeat_interleave(4)
        for layer in inner_in:
            assert layer.bias is not None
            layer.bias.add_(layer.weight[:, :, 0, 0] @ four_mean)
            layer.weight.mul_(four_scale[None, :, None, None])
        for layer in inner_out:
            assert layer.bias is not None
            layer.weight.div_(four_scale[:, None, None, None])
            layer.bias.sub_(four_mean).div_(four_scale)
