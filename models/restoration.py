"""The restoration network: what a standard codec took from a picture and machines miss, put back after decoding.

It works at 1/4 and 1/8 of the picture. Beside the decoded picture it sees how the two pictures decoded before it differ
from it, which tells it what stood still long enough to be had more sharply, and what quality index the pictures were
coded with. What it gives is added to the picture. It remembers nothing of its own, so that decoding can begin anywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duoview.models.layers import Block, QualityTable, pointwise

#: Pictures are cut into cells of this many pixels a side; sizes are multiples of twice as much.
CELL = 4
#: The picture's mean that is taken away first, and what makes the rest about as wide as the weights expect.
GREY, GAIN = 0.45, 4.0
#: Differences between pictures are smaller than pictures.
DIFFERENCE_GAIN = 8.0
#: What is added to a picture is small: so large is one that comes out of the last layer as 1.
REACH = 0.1
#: Quality indices are shown as q / MAX_Q.
MAX_Q = 63


class Restoration(nn.Module):
    """Pictures (N, 3, H, W) RGB in [0, 1], the two decoded before them, and q (N,) -> pictures, not clipped.

    H and W are multiples of 8. At the start of a group the earliest picture that there is stands for those before it.
    With new weights it returns the picture as it is.

    Args:
        channels: at 1/4 and at 1/8. blocks: at 1/4 on the way down, at 1/8, and at 1/4 on the way up.
    """

    def __init__(self, channels: tuple[int, int] = (48, 80), blocks: tuple[int, int, int] = (1, 4, 2)) -> None:
        super().__init__()
        fine, coarse = channels
        self.channels, self.blocks = channels, blocks
        self.enter = nn.Conv2d(9, fine, CELL, stride=CELL)
        nn.init.normal_(self.enter.weight, std=(9 * CELL**2) ** -0.5)
        assert self.enter.bias is not None
        nn.init.zeros_(self.enter.bias)
        self.level = pointwise(1, fine)
        self.gain = QualityTable(fine, 1.0, 1.0)
        self.fine = nn.Sequential(*(Block(fine) for _ in range(blocks[0])))
        self.down = nn.Conv2d(fine, coarse, 2, stride=2)
        nn.init.normal_(self.down.weight, std=(4 * fine) ** -0.5)
        assert self.down.bias is not None
        nn.init.zeros_(self.down.bias)
        self.coarse = nn.Sequential(*(Block(coarse, kernel=5) for _ in range(blocks[1])))
        self.up = pointwise(coarse, fine)
        self.join = nn.Sequential(*(Block(fine) for _ in range(blocks[2])))
        self.leave = nn.Conv2d(fine, 3 * CELL**2, 1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    def forward(self, picture: Tensor, earlier: Tensor, earliest: Tensor, q: Tensor) -> Tensor:
        seen = torch.cat([(picture - GREY) * GAIN, (earlier - picture) * DIFFERENCE_GAIN,
                          (earliest - picture) * DIFFERENCE_GAIN], 1)
        x = self.enter(seen) + self.level(q.to(seen.dtype)[:, None, None, None] / MAX_Q)
        fine = self.fine(x * self.gain(q))
        coarse = self.coarse(self.down(fine))
        fine = self.join(fine + F.interpolate(self.up(coarse), scale_factor=2.0, mode="nearest"))
        residual = F.pixel_shuffle(self.leave(fine), CELL)
        return picture + REACH * residual.to(picture.dtype)

    def cost(self) -> float:
        """Multiplications and additions per pixel of the picture."""
        (fine, coarse), (first, middle, last) = self.channels, self.blocks
        at_fine = fine * (9 * CELL**2 + 3 * CELL**2) + (first + last) * fine * (9 + 4 * fine)
        at_coarse = 4 * fine * coarse + coarse * fine + middle * coarse * (25 + 4 * coarse)
        return at_fine / CELL**2 + at_coarse / (2 * CELL) ** 2
