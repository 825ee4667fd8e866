"""A picture that a decoder shows, on a device."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from duoview.frame_origin import FrameOrigin


@dataclass(frozen=True)
class DevicePicture:
    """A picture of a view on a device, and its times.

    array: with ``__cuda_array_interface__``; numpy's where the device is the CPU. (1, 3, H, W) uint8 RGB, or, of a
    decoder of ``nv12``, (3 H / 2, W) uint8: luma, and behind its H rows those of pairs of chroma. H and W are multiples
    of 64; what is shown are the first `height` rows and `width` columns:
    ``torch.as_tensor(picture.array)[0, :, :picture.height, :picture.width]``. It stays as it is.
    """

    array: Any
    width: int
    height: int
    pts: int | None
    time_base: Fraction | None
    duration: int | None
    origin: FrameOrigin
