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
    """What an error e of the latent is worth: quadratic forms W, e^T W e is the picture's squared error in 8-bit steps.

    (2, latent, latent): for errors without and with a common value at neighbouring positions. Measured on training
    crops with steps of ``size``, about that of coded latents: one pattern of white noise in every channel, so that what
    channels add together counts, and a constant.
    """
    z = still.encoder(next(crops(material, 8, 128, seed=55)))
    base = still.decoder(z)
    noise = torch.randn(z[:, 0].shape, generator=torch.Generator().manual_seed(6))
    forms = []
    for pattern in (noise, torch.ones_like(noise)):
        seen = []
        for channel in range(z.shape[1]):
            moved = z.clone()
            moved[:, channel] += size * pattern
            seen.append(((still.decoder(moved) - base) * (255 / size)).flatten())
        responses = torch.stack(seen)
        forms.append(responses @ responses.T / responses.shape[1] / pattern.square().mean())
    return torch.stack(forms)
