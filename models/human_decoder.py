"""D_h: the decoder of human views, z_h -> picture, richer than D (docs/human_view.md).

D makes a picture from 1/8 of its size in one shuffle, so that what it cannot know comes out smooth, or woven where the
8x8 cells meet. D_h adds to D's picture what layers at 1/8, 1/4 and 1/2 of the size make of the same latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duoview.models.autoencoder import LatentDecoder
from duoview.models.layers import SLOPE, Block, exact_float, pointwise


@dataclass(frozen=True)
class HumanDecoderShape:
    """Channels and residual blocks at 1/8, 1/4 and 1/2 of the picture's size."""

    channels: tuple[int, int, int] = (256, 96, 48)
    blocks: tuple[int, int, int] = (5, 3, 2)

    def as_dict(self) -> dict[str, list[int]]:
        return {name: list(value) for name, value in asdict(self).items()}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> HumanDecoderShape:
        """From what a manifest holds. Raises ValueError for anything but three whole numbers of each."""
        if not isinstance(told, Mapping):
            raise ValueError(f"human_decoder: {told!r}; expected channels and blocks")
        found = []
        for name in ("channels", "blocks"):
            values = told.get(name)
            if not (isinstance(values, list) and len(values) == 3
                    and all(type(one) is int and 0 < one <= 4096 for one in values)):
                raise ValueError(f"human_decoder: {name}: {values!r}; expected three whole numbers from 1 to 4096")
            found.append((values[0], values[1], values[2]))
        return cls(*found)


class DenseBlock(nn.Module):
    """Residual block of two dense 3x3 convolutions with a leaky rectifier between them: (N, C, H, W), the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.first.weight, a=SLOPE)
        nn.init.normal_(self.second.weight, std=0.3 * (channels * 9) ** -0.5)
        for layer in (self.first, self.second):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(x), SLOPE))


class Grain(nn.Module):
    """Adds noise to features, as much as they ask for: (N, C, H, W), noise (N, K, H, W) -> (N, C, H, W).

    Karras et al. (StyleGAN, CVPR 2019) add noise of learned strength; here the strength depends on the place.
    """

    def __init__(self, noise: int, channels: int) -> None:
        super().__init__()
        self.noise = pointwise(noise, channels)
        self.amount = pointwise(channels, channels)
        nn.init.normal_(self.amount.weight, std=0.3 * channels**-0.5)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + self.noise(noise) * self.amount(x)


class HumanDecoder(nn.Module):
    """D_h: z and noise, (N, latent, H/8, W/8) -> RGB, (N, 3, H, W) float32, nominally in [0, 1], not clamped.

    noise: standard normals, those that the sampling of z began with. Without any, texture that nothing is known of
    comes out as a pattern that repeats itself.

    Args:
        base: D, frozen; a new D_h gives its pictures. Its latent must be a multiple of 16.

    Attributes:
        latent: channels of z, and of noise.
    """

    def __init__(self, base: LatentDecoder, shape: HumanDecoderShape) -> None:
        super().__init__()
        self.base, self.shape = base.requires_grad_(False), shape
        (eighth, quarter, half), counts = shape.channels, shape.blocks
        self.latent = latent = base.stem.in_channels
        if latent % 16:
            raise ValueError(f"a latent of {latent} channels; expected a multiple of 16, which noise is dealt out by")
        self.stem = pointwise(latent * 2, eighth)
        self.at_eighth = nn.Sequential(*(Block(eighth, kernel=5) for _ in range(counts[0])))
        self.to_quarter = pointwise(eighth, quarter * 4)
        self.quarter_grain = Grain(latent // 4, quarter)
        self.at_quarter = nn.Sequential(*(DenseBlock(quarter) for _ in range(counts[1])))
        self.to_half = pointwise(quarter, half * 4)
        self.half_grain = Grain(latent // 16, half)
        self.at_half = nn.Sequential(*(DenseBlock(half) for _ in range(counts[2])))
        self.leave = nn.Conv2d(half, 12, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    @torch.no_grad()
    def emphasise(self, times: float) -> None:
        """Add so many times what is added now to D's picture.

        Between 0, which is D, and 1 lies what serves both distance and naturalness (networks put together, Wang et al.,
        ESRGAN, 2018).
        """
        for weight in self.leave.parameters():
            weight.mul_(times)

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        x = self.at_eighth(self.stem(torch.cat([z, noise], 1)))
        x = F.pixel_shuffle(self.to_quarter(x), 2)
        x = self.at_quarter(self.quarter_grain(x, F.pixel_shuffle(noise, 2)))
        x = F.pixel_shuffle(self.to_half(x), 2)
        x = self.at_half(self.half_grain(x, F.pixel_shuffle(noise, 4)))
        picture: Tensor = self.base(z) + F.pixel_shuffle(exact_float(self.leave, x), 2)
        return picture
