"""Motion compensation in the training of P frames: what encoders would choose, for parallel sequences."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duoview.machine import touched
from duoview.motion_field import CELL, MotionField
from duoview.motion_search import MotionSearch, Reference, luma
from duoview.profile import Profile


class MotionTracker:
    """The motion of sequences of one size each, by number.

    Raises ProfileError for a profile without shift operators.
    """

    def __init__(self, profile: Profile) -> None:
        self._operators = profile.motion()
        self._search = MotionSearch(self._operators, profile.latent_weight)
        self._lagrangian = profile.lagrangian
        self._references: dict[int, Reference] = {}
        self._fields: dict[int, MotionField] = {}
        self._plane: dict[int, NDArray[np.uint8]] = {}

    def start(self, number: int, frame: NDArray[np.uint8]) -> None:
        """A sequence begins with a key frame of (H, W, 3), H and W multiples of 64."""
        plane = _plane(frame)
        self._references[number] = Reference()
        self._references[number].update(plane, np.ones((1, 1), np.bool_))
        self._fields[number] = MotionField.still(*(side // CELL for side in plane.shape))

    def compensate(self, number: int, frame: NDArray[np.uint8], z: Tensor, z_m: Tensor, q: int) -> Tensor:
        """z_m (C, h, w) of the frame before, moved as an encoder would for this frame, whose latent is z."""
        plane, reference = _plane(frame), self._references[number].plane
        assert reference is not None
        before = np.ascontiguousarray(z_m.detach().float().cpu().numpy()[None])
        now = np.ascontiguousarray(z.detach().float().cpu().numpy()[None])
        field = self._search.field(reference, plane, now, before, self._fields[number], float(self._lagrangian[q]))
        self._fields[number], self._plane[number] = field, plane
        if not field.moving.any():
            return z_m
        return torch.from_numpy(self._operators.compensate(before, field)[0]).to(z_m)

    def finish(self, number: int, symbols: Tensor) -> None:
        """What the symbols (C, H / 16, W / 16) of that frame changed."""
        changed = touched(symbols.detach().cpu().numpy().astype(np.int16))
        moving = self._fields[number].moving.repeat(2, 0).repeat(2, 1)
        self._references[number].update(self._plane[number], changed | moving)


def _plane(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(luma(frame.transpose(2, 0, 1)[None]))
