"""Shift operators of motion compensation, by least squares: from E of pictures to E of the same pictures, moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from duoview.models.autoencoder import LatentEncoder
from duoview.models.data import Material, crops
from duoview.motion_compensation import PIXELS, REACH, SHIFTS, SIDE, WEIGHT_BITS

#: Latent positions that are left out at the edges of crops, where E sees padding.
_EDGE = 3
#: Of the mean energy of an input, added to that of all: keeps weights small where inputs say the same.
_RIDGE = 1e-4
#: Side of crops, and how many are taken at once.
CROP, _BATCH = 128, 8


@dataclass(frozen=True)
class Fit:
    """What was fitted.

    weights: as `ShiftOperators` takes them. left: (SHIFTS, SHIFTS), share of the latent's energy that a shift by so
    many pixels leaves unexplained on pictures that were not fitted to; None where there were none.
    """

    weights: NDArray[np.int16]
    left: NDArray[np.float64] | None


def _latents(encoder: LatentEncoder, pictures: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    """E of crops of ``size`` of pictures (N, 3, size + PIXELS, ...), by shift: (its number, (N, C, h, w))."""
    for number in range(SHIFTS**2):
        y, x = divmod(number, SHIFTS)
        with torch.autocast(pictures.device.type, enabled=False):
            yield number, encoder(pictures[:, :, y:y + size, x:x + size])


def _inputs(z: Tensor) -> Tensor:
    """Neighbourhoods (positions, channels * SIDE * SIDE) of what is inside of z (N, C, h, w)."""
    cut = z[:, :, _EDGE - 1:1 - _EDGE, _EDGE - 1:1 - _EDGE]
    return F.unfold(cut, SIDE).transpose(1, 2).reshape(-1, z.shape[1] * SIDE * SIDE).double()


def _targets(z: Tensor) -> Tensor:
    return z[:, :, _EDGE:-_EDGE, _EDGE:-_EDGE].permute(0, 2, 3, 1).reshape(-1, z.shape[1]).double()


@torch.no_grad()
def fit(encoder: LatentEncoder, batches: Iterator[Tensor], count: int, held: Tensor | None = None) -> Fit:
    """Operators from ``count`` batches of crops (N, 3, S + PIXELS, S + PIXELS) in [0, 1], S a multiple of 64.

    held: crops of the same form to measure on.
    """
    latent = encoder.head.out_channels
    wide = latent * SIDE * SIDE
    device = next(encoder.parameters()).device
    energy = torch.zeros(wide, wide, dtype=torch.float64, device=device)
    crossed = torch.zeros(SHIFTS**2, wide, latent, dtype=torch.float64, device=device)
    middle = SHIFTS**2 // 2
    for _ in range(count):
        pictures = next(batches).to(device)
        size = pictures.shape[2] - PIXELS
        inputs = _inputs(encoder(pictures[:, :, REACH:REACH + size, REACH:REACH + size]))
        energy += inputs.T @ inputs
        for number, z in _latents(encoder, pictures, size):
            crossed[number] += inputs.T @ _targets(z)
    energy += torch.eye(wide, dtype=torch.float64, device=device) * (energy.diagonal().mean() * _RIDGE)
    factor = torch.linalg.cholesky(energy)
    solved = torch.stack([torch.cholesky_solve(one, factor) for one in crossed])
    solved[middle] = 0  # no shift is the identity
    places = torch.arange(latent, device=device)
    solved[middle, places * SIDE * SIDE + SIDE * SIDE // 2, places] = 1
    weights = torch.round(solved * 2.0**WEIGHT_BITS).clamp(-32768, 32767)
    left = _left(encoder, held.to(device), weights) if held is not None else None
    return Fit(weights.to(torch.int16).reshape(SHIFTS, SHIFTS, wide, latent).cpu().numpy(), left)


def fit_material(material: Material, count: int, side: int = CROP) -> Material:
    """What of material so many crops to fit to can be cut from: each is PIXELS larger than ``side``.

    Raises ValueError for fewer than eight crops, and where nothing is large enough.
    """
    if count < _BATCH:
        raise ValueError(f"{count} crops to fit shift operators to: expected {_BATCH} or more")
    wide = side + PIXELS
    pictures, held = ([one for one in some if min(one.shape[:2]) >= wide]
                      for some in (material.pictures, material.held_pictures))
    clips = {name: clip for name, clip in material.clips.items() if min(clip.shape[1:3]) >= wide}
    pictures = pictures or [clip[0] for clip in clips.values()]
    if not pictures:
        raise ValueError(f"no picture and no clip of {wide}x{wide} pixels or more to fit shift operators to")
    return Material(pictures, clips, held)


def fit_to(encoder: LatentEncoder, material: Material, count: int, side: int = CROP) -> Fit:
    """Operators from so many crops of material, eight a batch; measured on some of its held-back pictures.

    Raises ValueError as ``fit_material``.
    """
    wide, fitting = side + PIXELS, fit_material(material, count, side)
    held = fitting.held_pictures
    measured = next(crops(Material(held), 3 * _BATCH, wide, seed=91)) if held else None
    return fit(encoder, crops(fitting, _BATCH, wide, seed=90), count // _BATCH, measured)


def _left(encoder: LatentEncoder, pictures: Tensor, weights: Tensor) -> NDArray[np.float64]:
    size = pictures.shape[2] - PIXELS
    inputs = _inputs(encoder(pictures[:, :, REACH:REACH + size, REACH:REACH + size]))
    left = np.zeros(SHIFTS**2)
    for number, z in _latents(encoder, pictures, size):
        targets = _targets(z)
        error = inputs @ (weights[number] / 2.0**WEIGHT_BITS) - targets
        left[number] = float(error.square().mean() / targets.square().mean())
    return left.reshape(SHIFTS, SHIFTS)
