"""What tells shown pictures from true ones while D_h is trained; it never leaves the training.

Two looks. Patches of pixels beside what machines see, on which the judgement depends, as in HiFiC (Mentzer et al.,
NeurIPS 2020). And the features of frozen networks with small trained heads, as in Projected GANs (Sauer et al.,
NeurIPS 2021), which learn from few pictures. Hinge loss; weights are kept from growing by spectral norm (Miyato et al.,
ICLR 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

_SLOPE = 0.2


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    layer: nn.Module = spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2))
    return layer


class Discriminator(nn.Module):
    """(pictures, machine views, features of the pictures) -> logits of every place of every look.

    Args:
        widths: channels of the features that will be given, see ``perceptual.Eye``. channels: of the look at pixels.
    """

    def __init__(self, widths: Sequence[int], channels: int = 48, head: int = 64) -> None:
        super().__init__()
        steps = [6, channels, channels * 2, channels * 4]
        patches: list[nn.Module] = []
        for inputs, outputs in pairwise(steps):
            patches += [_layer(inputs, outputs, 4, 2), nn.LeakyReLU(_SLOPE)]
        self.patches = nn.Sequential(*patches, _layer(steps[-1], 1, 3))
        self.heads = nn.ModuleList(
            nn.Sequential(_layer(width, head, 1), nn.LeakyReLU(_SLOPE), _layer(head, head, 3), nn.LeakyReLU(_SLOPE),
                          _layer(head, 1, 1)) for width in widths)

    def forward(self, pictures: Tensor, machine: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
        """pictures, machine: (N, 3, H, W) in [0, 1]; features: (N, C, h, w) each, of length 1 at every place."""
        found = [self.patches(torch.cat([pictures, machine], 1) * 2 - 1).float()]
        for head, layer in zip(self.heads, features, strict=True):
            # Of length 1, so a mean square of 1/C: brought to 1, which is what layers are made for.
            found.append(head(layer * layer.shape[1] ** 0.5).float())
        return found


def hinge(true: Sequence[Tensor], shown: Sequence[Tensor]) -> Tensor:
    """The discriminator's loss, mean over its looks."""
    return torch.stack([F.relu(1 - a).mean() + F.relu(1 + b).mean()
                        for a, b in zip(true, shown, strict=True)]).mean()


def adversarial(shown: Sequence[Tensor]) -> Tensor:
    """What the generator is told: shown pictures are to be taken for true ones; mean over the looks."""
    return torch.stack([-logits.mean() for logits in shown]).mean()
