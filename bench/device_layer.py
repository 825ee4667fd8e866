"""The machine layer of one stream on a device, as it is measured: sections, views, and the state behind them."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from duoview.device import DeviceNetworks
from duoview.device.machine import DeviceMachineLayer


class DeviceLayer:
    """An encoder or a decoder of sections for pictures of one size, without decisions on what is worth its bits.

    networks: by torch, which pictures are tensors of. width, height: in pixels. motion: an encoder looks for it.
    """

    def __init__(self, networks: DeviceNetworks, width: int, height: int, q: int, *, motion: bool = True) -> None:
        self.layer, self.networks = DeviceMachineLayer(networks, motion=motion), networks
        self._of: dict[str, Any] = {"q": q, "width": width, "height": height}

    def encode(self, picture: Tensor, *, key: bool) -> bytes:
        """The section of a picture (1, 3, H, W) uint8 on the device. The state moves on."""
        return self.layer.encode(picture if picture.is_cuda else picture.numpy(), key=key, **self._of)

    def decode(self, section: bytes, *, key: bool) -> Any:
        """The view, (1, 3, H, W) uint8 padded to 64 pixels, on the device. The state moves on.

        Raises BitstreamError.
        """
        (view,) = self.networks["decoder"](z=self.layer.decode(section, key=key, **self._of))
        return view

    def is_where(self, other: Self) -> bool:
        """True where both have the same state, bit by bit."""
        return bool(torch.equal(torch.as_tensor(self.layer.z_m), torch.as_tensor(other.layer.z_m)))
