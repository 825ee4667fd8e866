"""Access units in, device pictures of the machine view out."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av

from duoview.decoder import Decoder, DecoderStats, FrameOrigin
from duoview.device.machine import DeviceMachineLayer
from duoview.device.networks import DeviceNetworks
from duoview.errors import BackendUnavailableError
from duoview.inner.player import UnitTimes
from duoview.machine import MachineLayer
from duoview.picture import DEFAULT_MAX_PIXELS
from duoview.profile import Profile
from duoview.sequence import SequenceHeader


@dataclass(frozen=True)
class DevicePicture:
    """A picture of the machine view on a device, and its times.

    array: (1, 3, H, W) uint8 RGB, H and W padded to multiples of 64, with ``__cuda_array_interface__``; numpy's where
    the device is the CPU. What is shown are its first `height` rows and `width` columns:
    ``torch.as_tensor(picture.array)[0, :, :picture.height, :picture.width]``. It stays as it is.
    """

    array: Any
    width: int
    height: int
    pts: int | None
    time_base: Fraction | None
    duration: int | None
    origin: FrameOrigin


class _Views(Decoder):
    """A decoder whose layer and pictures are those of a device."""

    def __init__(self, networks: DeviceNetworks, *, digest: bool, strict: bool, max_pixels: int) -> None:
        self._networks, self._counted = networks, digest  # first: the base class loads
        super().__init__(profile=networks.profile, device=networks.backend, strict=strict, max_pixels=max_pixels)

    def _load(self, profile: Profile, *, inner: bool) -> None:
        if inner:
            raise BackendUnavailableError("this stream's machine codec is a standard one (inner), which is decoded on "
                                          "the host; expected duoview.Decoder")
        layer = DeviceMachineLayer(self._networks, digest=self._counted)
        layer.digest = self._digest
        # It is asked to decode and to reset, with arrays that nothing looks into on the way to the decoder network.
        self._machine = cast(MachineLayer, layer)
        self._picture_network = self._networks["decoder"]
        self._profile, self._inner = profile, inner

    def _frame(self, times: UnitTimes, *, concealed: bool) -> av.VideoFrame:
        picture = DevicePicture(self._show(), *self._picture_size, times.pts, times.time_base, times.duration,
                                FrameOrigin(concealed))
        return cast(av.VideoFrame, picture)


class DeviceDecoder:
    """Decodes packets of the neural machine codec into pictures that stay on a device.

    Units, damage and concealment are as of ``duoview.Decoder``. Streams of the inner codec and frames with a gain map
    raise BackendUnavailableError; texture, captions and seeds are skipped.

    Args:
        networks: of the device and the stream's profile. digest: for ``symbols_sha256``; copies symbols to the host.
        strict: raise BitstreamError on damage instead of concealing. max_pixels: larger pictures are refused.
    """

    def __init__(self, networks: DeviceNetworks, *, digest: bool = False, strict: bool = False,
                 max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        self._counted = digest
        self._views = _Views(networks, digest=digest, strict=strict, max_pixels=max_pixels)

    @property
    def stats(self) -> DecoderStats:
        """Counts of access units."""
        return self._views.stats

    @property
    def sequence(self) -> SequenceHeader | None:
        """Of the last key unit."""
        return self._views.sequence

    def decode(self, packet: av.Packet | bytes | None, *, discard: bool = False) -> list[DevicePicture]:
        """The picture of one access unit, complete when this returns; None flushes and ends the stream.

        Raises as ``Decoder.decode`` does; BackendUnavailableError or DeviceError where the device fails.
        """
        return cast(list[DevicePicture], self._views.decode(packet, discard=discard))

    def reset(self) -> None:
        """Forget the state after a seek; units are skipped until the next key frame."""
        self._views.reset()

    def symbols_sha256(self) -> str:
        """Digest of all integers decoded so far. ValueError without ``digest``."""
        if not self._counted:
            raise ValueError("this decoder counts no symbols; expected DeviceDecoder(..., digest=True)")
        return self._views.symbols_sha256()
