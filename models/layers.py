"""Building blocks of the float networks: pointwise and depthwise convolutions at 1/8 and 1/16 of the picture.

The shape follows DCVC-RT (Jia et al., CVPR 2025): unshuffle first, then cheap blocks at low resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SLOPE = 0.1


class Block(nn.Module):
    """Residual block: depthwise 3x3, pointwise expansion, leaky rectifier, pointwise projection.

    Shapes: (N, C, H, W) -> (N, C, H, W).
    """

    def __init__(self, channels: int, expansion: int = 2, kernel: int = 3) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.expand = nn.Conv2d(channels, channels * expansion, 1)
        self.project = nn.Conv2d(channels * expansion, channels, 1)
        nn.init.kaiming_normal_(self.expand.weight, a=SLOPE)
        nn.init.normal_(self.project.weight, std=0.3 * (channels * expansion) ** -0.5)
        for layer in (self.depthwise, self.expand, self.project):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.leaky_relu(self.expand(self.depthwise(x)), SLOPE)
        return x + self.project(y)


def pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1x1 convolution with variance-preserving initial weights."""
    layer = nn.Conv2d(inputs, outputs, 1)
    nn.init.normal_(layer.weight, std=inputs**-0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def exact_float(layer: nn.Module, x: Tensor) -> Tensor:
    """Run a layer in float32 even under autocast: values beside quantisers need more than bfloat16's 8 bits."""
    with torch.autocast(device_type=x.device.type, enabled=False):
        out: Tensor = layer(x.float())
        return out


class QualityTable(nn.Module):
    """A positive vector per quality index 0..63, log-linear between learned anchors.

    Shapes: (N,) integers -> (N, channels, 1, 1).
    """

    LEVELS = 64

    def __init__(self, channels: int, first: float, last: float, anchors: int = 10) -> None:
        super().__init__()
        ramp = torch.linspace(0, 1, anchors)[:, None]
        start, stop = torch.tensor(first).log(), torch.tensor(last).log()
        self.log_anchors = nn.Parameter((start + (stop - start) * ramp).repeat(1, channels))

    def table(self) -> Tensor:
        """All 64 vectors: (64, channels)."""
        count = self.log_anchors.shape[0]
        at = torch.linspace(0, count - 1, self.LEVELS, device=self.log_anchors.device)
        low = at.floor().long().clamp(max=count - 2)
        part = (at - low)[:, None]
        return torch.exp(self.log_anchors[low] * (1 - part) + self.log_anchors[low + 1] * part)

    def forward(self, q: Tensor) -> Tensor:
        return self.table()[q][:, :, None, None]

    @torch.no_grad()
    def move(self, first: float, last: float) -> None:
        """Let 0..63 stand for what ``first``..``last`` stood for, log-linear beyond the old ends too."""
        count = self.log_anchors.shape[0]
        at = torch.linspace(first, last, count, device=self.log_anchors.device) / (self.LEVELS - 1) * (count - 1)
        low = at.floor().long().clamp(min=0, max=count - 2)
        part = (at - low)[:, None]
        self.log_anchors.copy_(self.log_anchors[low] * (1 - part) + self.log_anchors[low + 1] * part)
