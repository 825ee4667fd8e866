"""The saliency network: where a picture holds what detectors look at. Small enough to run before any encoder.

A U of depthwise and pointwise convolutions over 1/8, 1/16 and 1/32 of the picture, which it sees at half its size:
about 0.3 GMAC for 640x360. Beside the picture it sees how far that is from the background, since what moves before a
fixed camera is what small and distant objects can be told by; without a background that plane is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duoview.models.layers import Block, pointwise

#: The picture's mean that is taken away first.
GREY = 0.45


class Saliency(nn.Module):
    """RGB in [0, 1] and distance from the background, at half size (N, 4, H, W) -> logits (N, 1, H/4, W/4).

    H and W are multiples of 16. A logit stands for 8x8 pixels of the picture at its full size.
    """

    def __init__(self, channels: tuple[int, int, int] = (40, 80, 128), blocks: tuple[int, int, int] = (2, 4, 5)
                 ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.channels, self.depths = channels, blocks
        self.enter = pointwise(64, fine)
        self.fine = nn.Sequential(*(Block(fine, kernel=5) for _ in range(blocks[0])))
        self.to_middle = pointwise(4 * fine, middle)
        self.middle = nn.Sequential(*(Block(middle, kernel=5) for _ in range(blocks[1])))
        self.to_coarse = pointwise(4 * middle, coarse)
        self.coarse = nn.Sequential(*(Block(coarse, kernel=7) for _ in range(blocks[2])))
        self.from_coarse = pointwise(coarse, middle)
        self.join_middle = Block(middle, kernel=5)
        self.from_middle = pointwise(middle, fine)
        self.join_fine = nn.Sequential(Block(fine, kernel=5), Block(fine, kernel=5))
        self.leave = nn.Conv2d(fine, 1, 1)
        nn.init.normal_(self.leave.weight, std=0.01)
        assert self.leave.bias is not None
        nn.init.constant_(self.leave.bias, -2.0)  # most of a picture is background

    def forward(self, x: Tensor) -> Tensor:
        offset = x.new_tensor([GREY, GREY, GREY, 0.0])[:, None, None]
        fine = self.fine(self.enter(F.pixel_unshuffle((x - offset) * 4, 4)))
        middle = self.middle(self.to_middle(F.pixel_unshuffle(fine, 2)))
        coarse = self.coarse(self.to_coarse(F.pixel_unshuffle(middle, 2)))
        middle = self.join_middle(middle + F.interpolate(self.from_coarse(coarse), scale_factor=2.0, mode="nearest"))
        fine = self.join_fine(fine + F.interpolate(self.from_middle(middle), scale_factor=2.0, mode="nearest"))
        logits: Tensor = self.leave(fine)
        return logits


def distance(small: Tensor, background: Tensor) -> Tensor:
    """How far a picture is from its background, (N, 3, H, W) both -> (N, 1, H, W), the mean over colours."""
    return (small - background).abs().mean(1, keepdim=True)


def half_size(picture: Tensor) -> Tensor:
    """RGB in [0, 1] (N, 3, H, W) -> averaged over 2x2 pixels."""
    return F.avg_pool2d(picture[:, :, :picture.shape[2] // 2 * 2, :picture.shape[3] // 2 * 2], 2)


@torch.no_grad()
def saliency_map(network: Saliency, picture: Tensor, background: Tensor | None) -> Tensor:
    """Probabilities (H/8, W/8), rounded up, of one picture (1, 3, H, W)."""
    small = half_size(picture)
    apart = distance(small, half_size(background)) if background is not None else torch.zeros_like(small[:, :1])
    right, below = -small.shape[3] % 16, -small.shape[2] % 16
    x = torch.cat([F.pad(small, (0, right, 0, below), value=GREY), F.pad(apart, (0, right, 0, below))], 1)
    return torch.sigmoid(network(x))[0, 0]
