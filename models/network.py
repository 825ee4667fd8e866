"""The networks of one profile, their sizes, and the link between quality index and Lagrangian."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from duoview.models.autoencoder import LatentDecoder, LatentEncoder
from duoview.models.key import KeyCodec

#: Weight of the squared error (8-bit units) against bits per pixel at q 0 and q 63.
LAMBDA_FIRST, LAMBDA_LAST = 1.0e-4, 1.0e-1


def lagrangian(q: Tensor) -> Tensor:
    """Lambda of a quality index, log-linear: the loss is ``lambda * 255^2 * MSE + bits per pixel``."""
    return LAMBDA_FIRST * (LAMBDA_LAST / LAMBDA_FIRST) ** (q.float() / 63)


@dataclass(frozen=True)
class Shape:
    """Sizes of a profile's networks: channels unless said otherwise.

    inter_blocks: of the P frames' synthesis at 1/16. inter_fine: channels of its stage at 1/8, 0 for none; what the
    blocks at 1/16 give is the change of the latent then, as in key frames.
    """

    latent: int = 48
    encoder: int = 128
    encoder_blocks: int = 3
    decoder: int = 128
    decoder_blocks: int = 4
    symbols: int = 128
    transform: int = 192
    hyper: int = 32
    parameters: int = 160
    inter_blocks: int = 3
    inter_fine: int = 96

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class StillCodec(nn.Module):
    """E, the key-frame codec and D: what a single picture passes through."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = LatentEncoder(shape.latent, shape.encoder, shape.encoder_blocks)
        self.decoder = LatentDecoder(shape.latent, shape.decoder, shape.decoder_blocks)
        self.key = KeyCodec(shape.latent, shape.symbols, shape.transform, shape.hyper, shape.parameters)


def average_weights(average: nn.Module, current: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights, in place."""
    with torch.no_grad():
        for a, c in zip(average.parameters(), current.parameters(), strict=True):
            a.lerp_(c, 1 - decay)
