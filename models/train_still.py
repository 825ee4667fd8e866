"""Stage 1: E, D and the key-frame codec, trained together for squared error and rate, and a perceptual term.

The perceptual term compares magnitudes of windowed Fourier transforms, which do not change under small shifts
(the descriptor of Guo et al., ACM MM 2023, in its simplest form).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from duoview.models.data import Material, Picture, batches, to_tensor
from duoview.models.fixed_point import accumulator_share
from duoview.models.loop import Loop
from duoview.models.network import Shape, StillCodec, lagrangian


@dataclass(frozen=True)
class StillTraining:
    """Options of stage 1. ``minutes`` bounds wall time over all runs; the learning rate falls to zero at its end.

    steps: in place of minutes. counted: bits are those of the symbols as they are coded, not of values with noise.
    """

    minutes: float = 60.0
    steps: int | None = None
    counted: bool = True
    batch: int = 24
    crop: int = 128
    rate: float = 2.0e-3
    seed: int = 1
    direct_share: float = 0.125
    spectral: float = 0.05
    muon: bool = True
    freeze_latent: bool = False
    device: str = "cpu"
    workers: int = 0


def spectral_distance(a: Tensor, b: Tensor, window: int = 16, *, colour: bool = False) -> Tensor:
    """Mean absolute difference of windowed Fourier magnitudes per picture: (N, 3, H, W) twice -> (N,).

    Of the mean of the three channels; with ``colour`` also of green less red and of blue less the mean. Windows overlap
    by half and start at a random place, so that nothing can settle on their grid.
    """
    taper = torch.hann_window(window, periodic=False, device=a.device)
    taper = taper[:, None] * taper[None, :]
    top, left = (int(n) for n in torch.randint(0, window // 2, (2,)))

    def magnitudes(x: Tensor) -> Tensor:
        x = x[:, :, top:, left:].float()
        luma = x.mean(1, keepdim=True)
        planes = torch.cat([luma, x[:, 1:2] - x[:, :1], x[:, 2:] - luma], 1) if colour else luma
        planes = planes.reshape(-1, 1, *planes.shape[2:])
        tiles = F.unfold(planes, window, stride=window // 2).transpose(1, 2).reshape(-1, window, window)
        return torch.log1p(torch.fft.rfft2(tiles * taper).abs() * 4)

    return (magnitudes(a) - magnitudes(b)).abs().reshape(len(a), -1).mean(1)


def draw_quality(count: int, device: torch.device, favoured: range = range(14, 55), share: float = 0.7) -> Tensor:
    """Quality indices (count,): a share from the favoured ones, the rest from all.

    As it stands: seven in ten from the range where still pictures are used most.
    """
    some = torch.randint(favoured.start, favoured.stop, (count,), device=device)
    anywhere = torch.randint(0, 64, (count,), device=device)
    return torch.where(torch.rand(count, device=device) < share, some, anywhere)


def latent_pass(codec: StillCodec, picture: Tensor, q: Tensor, direct: int, *, counted: bool = True
                ) -> tuple[Tensor, Tensor, Tensor]:
    """Decoded pictures, bits per pixel of y and of the hyper symbols; the first ``direct`` skip the codec."""
    z = codec.encoder(picture)
    coded = codec.key(z[direct:], q[direct:], counted=counted)
    pixels = picture.shape[2] * picture.shape[3]
    decoded = codec.decoder(torch.cat([z[:direct], coded.z.to(z.dtype)]) if direct else coded.z)
    return decoded, coded.bits / pixels, coded.hyper_bits / pixels


@torch.no_grad()
def validate(codec: StillCodec, pictures: list[Picture], levels: tuple[int, ...] = (16, 24, 36, 48)
             ) -> dict[str, float]:
    """Bits per pixel and PSNR (RGB) on centre crops of held-back pictures, by quality index, and of D(E(x)).

    Nothing where no picture is held back, as happens with a handful of them.
    """
    out: dict[str, float] = {}
    tiles = []
    for p in pictures:
        top, left = (p.shape[0] - 128) // 2, (p.shape[1] - 128) // 2
        if top >= 0 and left >= 0:
            tiles.append(p[top:top + 128, left:left + 128])
    if not tiles:
        return out
    codec.eval()
    device = next(codec.parameters()).device
    batch = to_tensor(np.stack(tiles[:96])).to(device)
    direct = codec.decoder(codec.encoder(batch))
    psnr = -10 * torch.log10((direct.clamp(0, 1) - batch).square().mean((1, 2, 3)))
    out["direct_psnr"] = round(float(psnr.mean()), 3)
    for level in levels:
        q = torch.full((len(batch),), level, device=device)
        decoded, bits, hyper = latent_pass(codec, batch, q, 0)
        psnr = -10 * torch.log10((decoded.clamp(0, 1) - batch).square().mean((1, 2, 3)))
        out[f"q{level}_bpp"] = round(float((bits + hyper).mean()), 4)
        out[f"q{level}_hyper"] = round(float(hyper.mean()), 4)
        out[f"q{level}_psnr"] = round(float(psnr.mean()), 3)
    codec.train()
    return out


def train(material: Material, shape: Shape, options: StillTraining, folder: Path) -> StillCodec:
    """Train, or go on from ``folder/still.pt``; writes checkpoints and ``still.jsonl`` there. Returns the average."""
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    codec = StillCodec(shape).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.freeze_latent:
        codec.encoder.requires_grad_(False)
        codec.decoder.requires_grad_(False)
    loop: Loop[StillCodec] = Loop("codec", codec, folder / "still.pt", minutes=options.minutes, rate=options.rate,
                                  steps=options.steps, muon=options.muon, report_seconds=120)
    loop.kept["shape"] = shape.as_dict()
    source = batches(material, options.batch, options.crop, options.seed + loop.step, device, options.workers)
    direct = max(1, round(options.batch * options.direct_share))

    def measure() -> dict[str, float]:
        return {"crops": loop.step * options.batch, **validate(loop.average, material.held_pictures),
                "accumulator_share": round(accumulator_share(loop.average), 4)}

    for done in loop.rounds(measure):
        picture = next(source)
        q = draw_quality(options.batch, device)
        weight = lagrangian(q)
        with torch.autocast(device.type, torch.bfloat16):
            decoded, bits, hyper = latent_pass(codec, picture, q, direct, counted=options.counted)
        error = (decoded.float() - picture).square().mean((1, 2, 3))
        balance = weight[direct:] ** -0.4 * 0.1
        loss = ((weight[direct:] * 255**2 * error[direct:] + bits + hyper) * balance).sum() / options.batch
        # Uncoded latents: the ceiling of every view, at a Lagrangian from the upper part of the range (q 52).
        loss = loss + (0.03 * 255**2 * error[:direct]).sum() * 0.4 / options.batch
        if options.spectral and done > 0.5:
            spectral = spectral_distance(decoded, picture)
            loss = loss + options.spectral * spectral.mean()
        loop.update(loss)
    return loop.average
