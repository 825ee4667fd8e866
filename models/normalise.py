"""Bring the latent space to zero mean and unit variance per channel, once E and D are trained."""

from __future__ import annotations

import torch

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
