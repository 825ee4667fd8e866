"""Statistics of the latent space: its normalisation once E and D are trained, and what an error in it is worth."""

from __future__ import annotations

import torch
from torch import Tensor

from duoview.models.autoencoder import fold_latent_scale
from duoview.models.data import Material, crops
from duoview.models.network import StillCodec


@torch.no_grad()
def normalise_latent(still: StillCodec, material: Material, batches: int = 24) -> None:
    """Fold the statistics of z over training crops into the layers around it; pictures and symbols do not change.

    So the state that is handed from frame to frame has one bound for all channels, and noise one scale.
    """
    source = crops(material, 32, 128, seed=99)
    latents = [still.encoder(next(source)).permute(0, 2, 3, 1).reshape(-1, still.shape.latent) for _ in range(batches)]
    z = torch.cat(latents)
    mean, scale = z.mean(0), z.std(0).clamp(min=1e-4)
    fold_latent_scale(still.encoder, still.decoder, [still.key.analysis_in], [still.key.synthesis_out], mean, scale)


@torch.no_grad()
def latent_weight(still: StillCodec, material: Material, size: float = 0.3) -> Tensor:
    """Squared error of the picture (8-bit steps, mean) per mean squared error of each latent channel: (latent,).

    Measured with noise of standard deviation ``size``, about that of coded latents, on training crops.
    """
    z = still.encoder(next(crops(material, 32, 128, seed=55)))
    base = still.decoder(z)
    noise = torch.Generator().manual_seed(6)
    weights = []
    for channel in range(z.shape[1]):
        moved = z.clone()
        change = torch.randn(z[:, channel].shape, generator=noise) * size
        moved[:, channel] += change
        weights.append((still.decoder(moved) - base).square().mean() * 255**2 / change.square().mean())
    return torch.stack(weights)
