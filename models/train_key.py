"""The key-frame codec trained on for squared error and rate, E and D and everything else of a profile as they are.

Stage 1 trains E, D and the key-frame codec at once and mostly at middle rates. Once E and D are frozen the codec alone
is cheap to train, so it is trained on here: half of the quality indices drawn are low, where most streams are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from duoview.models.data import Material, Picture, batches
from duoview.models.fixed_point import accumulator_share
from duoview.models.loop import Loop, weights_sha256
from duoview.models.network import StillCodec, lagrangian
from duoview.models.train_machine import COST_FLOOR, code_picture
from duoview.models.train_still import draw_quality

#: Quality indices that half of the draws are from, and those that are measured.
LOW = range(2, 42)
MEASURED = (2, 10, 18, 26, 36, 46, 58)
#: Parts of ``MEASURED`` between which rates are compared.
_PARTS = {"low": (0, 2), "middle": (2, 4), "high": (4, 6)}
#: Values of quality at which rates are compared within a part.
_GRID = 30
#: Squared error in 8-bit steps below which a picture counts as shown without any.
_LEAST_ERROR = 1e-6

#: Natural logarithms of bits per pixel, and PSNR in dB, (quality indices, pictures) each.
Curves = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class KeyTraining:
    """Options of the stage.

    minutes, rate, seed: wall time over all runs, learning rate, seed. steps: as many in place of minutes. batch, crop:
    crops of a step, pixels of their sides, a multiple of 64.
    """

    minutes: float = 60.0
    steps: int | None = None
    batch: int = 8
    crop: int = 192
    rate: float = 1.0e-3
    seed: int = 77
    device: str = "cpu"


def curves(codec: StillCodec, pictures: Sequence[Picture]) -> Curves:
    """What pictures (H, W, 3) uint8 cost by the class model, and how they are shown, at the indices ``MEASURED``."""
    rates, qualities = (np.zeros((len(MEASURED), len(pictures))) for _ in range(2))
    for n, picture in enumerate(pictures):
        for at, q in enumerate(MEASURED):
            shown, bits = code_picture(codec, picture, q)
            error = float(np.square(shown.astype(np.float32) - picture).mean())
            rates[at, n] = math.log(bits / (picture.shape[0] * picture.shape[1]))
            # A picture of one colour may be shown without any error.
            qualities[at, n] = 10 * math.log10(255**2 / max(error, _LEAST_ERROR))
    return rates, qualities


def change_of_rate(before: Curves, after: Curves, first: int, last: int) -> float | None:
    """Percent of bits at an equal PSNR, the mean over pictures; where both curves reach between two of ``MEASURED``.

    A picture whose curves have no PSNR in common there is left out; None where all are.
    """
    changes = []
    for picture in range(before[0].shape[1]):
        # An index that shows less than one before it is worth what that one is: a curve has to rise.
        (rate, psnr), (new_rate, new_psnr) = ((a[:, picture], np.maximum.accumulate(b[:, picture]))
                                              for a, b in (before, after))
        low, high = max(psnr[first], new_psnr[first]), min(psnr[last], new_psnr[last])
        if low < high:
            grid = np.linspace(low, high, _GRID)
            changes.append(np.mean(np.interp(grid, new_psnr, new_rate) - np.interp(grid, psnr, rate)))
    return 100 * (math.exp(float(np.mean(changes))) - 1) if changes else None


def train(material: Material, start: StillCodec, options: KeyTraining, folder: Path, *,
          report_seconds: float = 240.0, check: int = 32) -> StillCodec:
    """Train on from ``start``, or from ``folder/key.pt`` where it is; the averaged weights.

    check: of the held-back pictures, as many are measured, 448 pixels of their sides at most; the log has the change of
    bits against the weights that training began with, which the checkpoint keeps. Raises ValueError for a checkpoint of
    another E or D.
    """
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    codec = start.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    held = [picture[:448, :448] for picture in material.held_pictures[:check]]
    begun = copy.deepcopy(codec)
    codec.requires_grad_(False)
    codec.key.requires_grad_(True)
    loop: Loop[StillCodec] = Loop("codec", codec, folder / "key.pt", minutes=options.minutes, rate=options.rate,
                                  steps=options.steps, report_seconds=report_seconds,
                                  of={"E and D": weights_sha256(codec.encoder, codec.decoder)})
    loop.kept["shape"] = codec.shape.as_dict()
    # A run that goes on may be given a profile with what it trained so far.
    begun.key.load_state_dict(loop.kept.setdefault("begun", begun.key.state_dict()))
    before = curves(begun, held) if held else None
    source = batches(material, options.batch, options.crop, options.seed + loop.step, device, 0)

    def measure() -> dict[str, float]:
        shown = {"accumulator_share": round(accumulator_share(loop.average), 4)}
        if before is None:
            return shown
        after = curves(loop.average, held)
        changes = {name: change_of_rate(before, after, *part) for name, part in _PARTS.items()}
        shown |= {f"bits_{name}": round(change, 2) for name, change in changes.items() if change is not None}
        for at, q in enumerate(MEASURED):
            shown |= {f"q{q}_bpp": round(float(np.exp(after[0][at]).mean()), 4),
                      f"q{q}_psnr": round(float(after[1][at].mean()), 3)}
        return shown

    for _ in loop.rounds(measure):
        picture = next(source)
        q = draw_quality(options.batch, device, LOW, 0.5)
        with torch.autocast(device.type, torch.bfloat16):
            with torch.no_grad():
                z = codec.encoder(picture)
            coded = codec.key(z, q, counted=True)
            decoded = codec.decoder(coded.z)
        error = (decoded.float() - picture).square().mean((1, 2, 3)) * 255**2
        bits = (coded.bits + coded.hyper_bits) / options.crop**2
        cost = lagrangian(q) * error + bits
        # The slope of the logarithm: every quality index and every picture matters by its own cost.
        loop.update((cost / (cost.detach() + COST_FLOOR)).mean(), bpp=bits.detach().mean(),
                    log_cost=cost.detach().log().mean())
    return loop.average
