"""Motion compensation in the training of P frames: what encoders would choose, for parallel sequences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duoview.kernels import luma
from duoview.machine import touched
from duoview.motion_compensation import ShiftOperators
from duoview.motion_field import CELL, MotionField
from duoview.motion_search import MotionSearch, Reference
from duoview.profile import Profile


class MotionTracker:
    """The motion of sequences by number, frames (H, W, 3) uint8 of one size each, H and W multiples of 64.

    Args:
        operators: of the E that latents come from. weight: (2, latent, latent) as ``Profile.latent_weight``.
        lagrangian: (64,), what a squared error of one 8-bit step is worth in bits per pixel.
    """

    def __init__(self, operators: ShiftOperators, weight: NDArray[np.float32], lagrangian: NDArray[np.float32]) -> None:
        self._operators, self._lagrangian = operators, lagrangian
        self._search = MotionSearch(operators, weight)
        self._references: dict[int, Reference] = {}
        self._fields: dict[int, MotionField] = {}
        self._planes: dict[int, NDArray[np.uint8]] = {}

    @classmethod
    def of(cls, profile: Profile) -> MotionTracker | None:
        """That of a profile; None for one without shift operators."""
        if not profile.has_motion:
            return None
        return cls(profile.motion(), profile.latent_weight, profile.lagrangian)

    def start(self, numbers: Sequence[int], frames: Iterable[NDArray[np.uint8]]) -> None:
        """These sequences begin with key frames."""
        for number, frame in zip(numbers, frames, strict=True):
            plane = _plane(frame)
            self._references[number] = Reference()
            self._references[number].update(plane, np.ones((1, 1), np.bool_))
            self._fields[number] = MotionField.still(*(side // CELL for side in plane.shape))

    def compensate(self, numbers: Sequence[int], frames: Iterable[NDArray[np.uint8]], z: Tensor, z_m: Tensor, q: Tensor
                   ) -> Tensor:
        """z_m (N, C, h, w) of the frames before, moved as encoders would for these frames, whose latents are z."""
        given = zip(numbers, frames, z, z_m, q.tolist(), strict=True)
        return torch.stack([self._compensate(*one) for one in given])

    def _compensate(self, number: int, frame: NDArray[np.uint8], z: Tensor, z_m: Tensor, q: int) -> Tensor:
        plane, reference = _plane(frame), self._references[number].plane
        assert reference is not None
        now, before = (np.ascontiguousarray(one.detach().float().cpu().numpy()[None]) for one in (z, z_m))
        field = self._search.field(reference, plane, now, before, self._fields[number], float(self._lagrangian[q]))
        self._fields[number], self._planes[number] = field, plane
        if not field.moving.any():
            return z_m
        return torch.from_numpy(self._operators.compensate(before, field)[0]).to(z_m)

    def finish(self, numbers: Sequence[int], symbols: Tensor) -> None:
        """What the symbols (N, C, H / 16, W / 16) of those frames changed."""
        for number, coded in zip(numbers, symbols.detach().cpu().numpy().astype(np.int16), strict=True):
            moving = self._fields[number].moving.repeat(2, 0).repeat(2, 1)
            self._references[number].update(self._planes[number], touched(coded) | moving)


def _plane(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return luma(np.ascontiguousarray(frame.transpose(2, 0, 1)))
