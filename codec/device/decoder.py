"""Access units in, device pictures of a view out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import av
import numpy as np

from duoview.backends.batching import BatchingBackend
from duoview.captions import Caption
from duoview.decoder import Decoder
from duoview.decoder_stats import DecoderStats
from duoview.device.human import DeviceHumanView, Known
from duoview.device.machine import DeviceMachineLayer
from duoview.device.networks import DeviceNetworks
from duoview.device.nv12 import Nv12, check_pixel_format
from duoview.device.picture import DevicePicture
from duoview.device.texture import DeviceTextureDecoder, DeviceTextureView, Residual
from duoview.errors import BackendUnavailableError, ProfileError
from duoview.frame_origin import FrameOrigin
from duoview.human import HumanView
from duoview.inner.player import UnitTimes
from duoview.machine import MachineLayer
from duoview.picture import DEFAULT_MAX_PIXELS
from duoview.profile import Profile
from duoview.sequence import SequenceHeader
from duoview.texture.depths import Depths
from duoview.texture.view import TextureView

#: Opens the networks of a profile.
OpenNetworks: TypeAlias = Callable[[Profile], DeviceNetworks]


class _Views(Decoder):
    """A decoder whose layers and pictures are those of a device."""

    def __init__(self, networks: DeviceNetworks | OpenNetworks, *, digest: bool, pixel_format: str, **options: Any
                 ) -> None:
        check_pixel_format(pixel_format)
        self._pixel_format, self._counted = pixel_format, digest  # first: the base class loads
        self._open = None if isinstance(networks, DeviceNetworks) else networks
        #: The picture that was shown last, and it in NV12.
        self._converted: tuple[Any, Any] = (None, None)
        if isinstance(networks, DeviceNetworks):
            self._networks: DeviceNetworks = networks
            super().__init__(profile=networks.profile, device=networks.backend, **options)
            self._seat = cast(BatchingBackend, networks)
        else:
            super().__init__(**options)

    @property
    def networks(self) -> DeviceNetworks | None:
        """None before the stream has told its profile, where they are opened for it."""
        return getattr(self, "_networks", None)

    def _load(self, profile: Profile, *, inner: bool) -> None:
        if inner:
            raise BackendUnavailableError("this stream's machine codec is a standard one (inner), which is decoded on "
                                          "the host; expected duoview.Decoder, on the command line no -hwaccel")
        if self._open is None:
            self._use(profile, self._networks)
            return
        before = self.networks
        if before is not None:
            before.wait()  # the last picture may be shown again, by kernels on another stream
        networks = self._open(profile)
        try:
            if networks.profile.stream_hash != profile.stream_hash:
                raise ProfileError(f"networks that were opened for profile {profile.name!r} "
                                   f"{profile.stream_hash.hex()[:12]}... are those of {networks.profile.name!r} "
                                   f"{networks.profile.stream_hash.hex()[:12]}...; expected the profile's own")
            self._use(profile, networks)
        except BaseException:
            networks.leave()  # those of the profile before are the ones in use, if there are any
            raise
        if before is not None and before is not networks:
            before.leave()
        self._seat = cast(BatchingBackend, networks)
        networks.begin()  # the base class has begun this frame without them

    def _use(self, profile: Profile, networks: DeviceNetworks) -> None:
        """Make what a profile's views need; a profile that fails here must not be taken for the one in use."""
        human, texture, view = None, None, None
        if self.view == "human":
            human = DeviceHumanView(networks, start=self._start, steps=self._steps, seed=self._seed, noise=self._noise,
                                    tile=self._tile, text=self._text)
            if self._hint_reader.wanted and not human.accepts_captions:
                raise ProfileError(f"{self._hint_reader.wanted}: the denoiser of profile {profile.name!r} takes none; "
                                   "expected a profile that was trained with captions")
        if self._textured:
            texture = DeviceTextureDecoder(networks, limit=self._depths, fill=self._fill, seed=self._seed or 0)
            view = DeviceTextureView(networks)
        layer = DeviceMachineLayer(networks, digest=self._counted, motion=False)
        layer.digest, layer.watched = self._digest, texture is not None
        picture_network, total = networks["decoder"], networks.empty((1,), np.uint64)
        self._networks, self._total = networks, total
        self._nv12 = Nv12(networks) if self._pixel_format == "nv12" else None
        # They are asked to decode, to show and to reset, with arrays that nothing looks into in between.
        self._machine = cast(MachineLayer, layer)
        self._human, self._texture, self._texture_view = human, texture, cast(TextureView, view)
        self._picture_network, self._profile, self._inner = picture_network, profile, False

    def _generate(self, view: HumanView, machine: Any, z_m: Any, q: int) -> Any:
        assert isinstance(view, DeviceHumanView)
        known, coded = None, machine
        hints = self._hint_reader.chosen(self._hints, _no_frame)
        if self._texture_view is not None:
            base = self._texture_view.latent(machine)
            residual: Any = self._residual
            if isinstance(residual, Residual):
                known = Known(residual.planes, base, self._known_depths)
                coded = self._texture_view.show(machine, cast(Any, residual), base)
        picture = view.colour(view.picture(z_m, q, hints, known), machine)
        width, height = self._picture_size
        self._generated_share = self._networks.kernels.check_generated(
            picture, coded, self._total, height=height, width=width, cuda_stream=self._networks.stream)
        return picture

    def _frame(self, times: UnitTimes, *, concealed: bool) -> av.VideoFrame:
        shown: Any = self._show()
        if self._nv12 is not None:
            assert self.sequence is not None
            if self._converted[0] is not shown:
                # One that is repeated stays as it was: a key unit that was lost may have brought another matrix.
                self._converted = shown, self._nv12.of(shown, self.sequence.colour)
            shown = self._converted[1]
        origin = FrameOrigin(concealed, self._provenance, self._generated_share)
        picture = DevicePicture(shown, *self._picture_size, times.pts, times.time_base, times.duration, origin)
        return cast(av.VideoFrame, picture)


def _no_frame() -> av.VideoFrame:
    raise BackendUnavailableError("a detector sees frames of the host; expected duoview.Decoder")


class DeviceDecoder:
    """Decodes packets of the neural machine codec into pictures of one view that stay on a device.

    Units, damage and concealment are as of ``duoview.Decoder``. Streams of the inner codec raise
    BackendUnavailableError.

    Args:
        networks: of the device and the stream's profile; or what opens those of a profile, which is called when the
            stream has told its own, a bundled one. digest: for ``symbols_sha256``; copies symbols to the host.
        view: ``machine``, ``texture`` or ``human``. texture, fill, start, steps, seed, noise, tile: see ``Decoder``.
        caption: of starts ``slim`` and ``texture``: ``auto``, the stream's; a Caption; or ``none``. Detectors see
            frames of the host, and tell nothing here.
        pixel_format: ``rgb``, or ``nv12``, limited range in the matrix of the stream's source, BT.601 where it names
            none.
        strict: raise BitstreamError on damage instead of concealing. max_pixels: larger pictures are refused.

    Raises ValueError for values out of range, ProfileError for what the profile cannot make, BackendUnavailableError
    for a human view of a latent diffusion model.
    """

    def __init__(self, networks: DeviceNetworks | OpenNetworks, *, digest: bool = False, view: str = "machine",
                 texture: Depths | int | None = None, fill: str = "mean", start: str = "guided",
                 steps: int | None = 4, seed: int | None = None, noise: float | None = None, tile: int | None = None,
                 caption: str | Caption = "auto", pixel_format: str = "rgb", strict: bool = False,
                 max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        self._counted = digest
        self._views = _Views(networks, digest=digest, pixel_format=pixel_format, view=view, texture=texture, fill=fill,
                             start=start, steps=steps, seed=seed, noise=noise, tile=tile, caption=caption,
                             strict=strict, max_pixels=max_pixels)

    @property
    def networks(self) -> DeviceNetworks | None:
        """Those that it was given, or opened; None before the stream has told its profile."""
        return self._views.networks

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
        try:
            pictures = cast(list[DevicePicture], self._views.decode(packet, discard=discard))
            if pictures and self.networks is not None:
                self.networks.wait()
        except BaseException:
            if self.networks is not None:
                self.networks.leave()  # nobody waits for a stream that may be given up
            raise
        return pictures

    def close(self) -> None:
        """Give the stream up: batches of other streams wait for this one no more. May be called again."""
        self._views.close()

    def reset(self) -> None:
        """Forget the state after a seek; units are skipped until the next key frame."""
        self._views.reset()

    def symbols_sha256(self) -> str:
        """Digest of all integers decoded so far. ValueError without ``digest``."""
        if not self._counted:
            raise ValueError("this decoder counts no symbols; expected DeviceDecoder(..., digest=True)")
        return self._views.symbols_sha256()
