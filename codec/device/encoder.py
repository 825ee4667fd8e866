"""Device pictures in, access units out."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast

import av

from duoview.access_unit import Section, SectionType
from duoview.captions import Caption
from duoview.decision import SymbolDecision
from duoview.device.hardware import HardwareFrames
from duoview.device.machine import DeviceMachineLayer
from duoview.device.networks import DeviceNetworks
from duoview.device.nv12 import Nv12, check_pixel_format
from duoview.device.texture import DeviceTextureView
from duoview.device.texture_encoder import DeviceTextureEncoder
from duoview.encoder import UnitWriter
from duoview.errors import LimitError
from duoview.gain_map import GainMap, grid
from duoview.inner.stream import FrameTimes
from duoview.machine import MAX_Q
from duoview.neural_settings import NeuralSettings
from duoview.picture import DEFAULT_MAX_PIXELS, check_size
from duoview.rate_control import RateControl
from duoview.sequence import Colour, MachineCodec, PaletteGeometry, SequenceHeader
from duoview.texture import Depths, TextureSettings
from duoview.texture.view import Seen

#: Of planar RGB: matrix 0 and full range (2), as ``duoview.picture.to_frame`` makes it.
_RGB = Colour(matrix=0, range=2)
#: What packets hold of times: numbers of a time base of 32 bits, times of 64, signed both.
_MOST_TICKS, _MOST_PTS = (1 << 31) - 1, 1 << 63


class DeviceEncoder:
    """Encodes pictures that lie on a device into packets of one access unit each, which every decoder reads.

    The neural machine layer, and texture: no seeds.

    Args:
        networks: of the device, shared with others. width, height: of the first pictures; one of another size begins a
            new sequence. rate: frames per second; times count frames where none are given.
        q: quality index 0..63, may be set later too. gop: frames from one key frame to the next.
        decision: how symbols are rounded; None codes everywhere, so that units of still scenes are larger than those of
            ``duoview.Encoder``. With ``SymbolDecision()`` they are the same, for which latents and symbols of P frames,
            though no pixels, are copied to the host. motion: look for motion, as ``duoview.Encoder`` does, in profiles
            that compensate for it; without, P frames say that nothing moves, which costs bits where something does.
            digest: for ``symbols_sha256``; copies symbols.
        bit_rate: bits per second on average, for which the quality index is chosen frame by frame, in place of ``q``;
            0 for none. Texture is not counted: it has a bit rate of its own.
        texture: how much texture, or its greatest depth, is coded beside the machine layer; None for none. What it is
            worth is decided on the host. Though no pixels, vectors of key frames are copied there, where palettes are
            adapted: not with ``palettes=False``; and squared errors of positions, of P frames and with a bit rate.
        pixel_format: of the pictures, ``rgb`` or ``nv12``. colour: of NV12 pictures; None where nothing is known, which
            is taken for BT.601 of limited range.
        sample_aspect: width to height of a sample, for the sequence header; 0 when it is not known.

    Raises ValueError for another pixel format, LimitError for values out of range and for texture with a guide or
    regions, ProfileError for a profile whose networks do not load, that has no texture, or whose latent has more
    channels than a device looks for motion in.
    """

    def __init__(self, networks: DeviceNetworks, width: int, height: int, *, rate: Fraction | int = Fraction(25),
                 q: int = 24, gop: int = 50, decision: SymbolDecision | None = None, motion: bool = True,
                 digest: bool = False, bit_rate: int = 0, texture: TextureSettings | int | None = None,
                 pixel_format: str = "rgb", colour: Colour | None = None, sample_aspect: Fraction | int = Fraction(0),
                 max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        check_size(width, height, max_pixels)
        check_pixel_format(pixel_format)
        if pixel_format == "rgb" and colour is not None:
            raise ValueError(f"colour={colour}: belongs to pixel_format='nv12', not 'rgb'")
        self._nv12 = Nv12(networks) if pixel_format == "nv12" else None
        self._colour, self._told_colour = _RGB if self._nv12 is None else colour or Colour(), colour is not None
        #: What the sequence header says of the source, where pictures were frames of another format before.
        self._source: tuple[Colour, str] | None = None
        self.sample_aspect = Fraction(sample_aspect)
        self._frames = HardwareFrames(networks)
        if gop < 1:
            raise LimitError(f"gop={gop}: expected 1 or more frames")
        self.rate, self.gop, self.max_pixels = Fraction(rate), gop, max_pixels
        if self.rate <= 0:
            raise LimitError(f"rate={rate}: expected a positive number of frames per second")
        self.q, self.networks = q, networks
        self._machine = DeviceMachineLayer(networks, decision, digest=digest, motion=motion)
        settings = TextureSettings(Depths(texture)) if isinstance(texture, int) else texture
        self._control: RateControl | None = None
        if NeuralSettings(bit_rate=bit_rate).bit_rate:
            self._control = RateControl(bit_rate, self.rate, gop, width * height, MAX_Q)
        self._texture: DeviceTextureEncoder | None = None
        if settings is not None and settings.depths.most():
            self._texture = DeviceTextureEncoder(networks, settings, rate=self.rate, gop=gop)
            self._view = DeviceTextureView(networks)
            #: z_m of the last frame with texture, and E of its machine view.
            self._base: tuple[Any, Any] = (None, None)
            self._machine.watched = self._texture.wants(False)
        self._size, self._units, self._count, self._restart = (width, height), UnitWriter(), 0, True

    @property
    def q(self) -> int:
        """Quality index of the next frame; with a bit rate, which chooses it, that of the last one.

        Setting one outside of 0..63 raises LimitError; with a bit rate one that is set counts for nothing.
        """
        return self._q

    @q.setter
    def q(self, value: int) -> None:
        if not 0 <= value <= MAX_Q:
            raise LimitError(f"q={value}: expected 0 to {MAX_Q}")
        self._q = value

    def encode(self, picture: Any, *, pts: int | None = None, time_base: Fraction | None = None,
               duration: int | None = None, key: bool = False, gains: GainMap | None = None,
               caption: Caption | None = None) -> av.Packet:
        """The packet of a picture, contiguous, in the memory of the device.

        It is (3, H, W) or (1, 3, H, W) uint8 RGB, or (3 H / 2, W) uint8 NV12 with even sides. Where NV12 is expected it
        may be a frame of ``open_hardware``, whose times and colour count where none were given.

        What fills the picture has to be done, or queued on the stream of the networks; it may change as soon as this
        returns. pts, time_base: both or none. duration: in the time base, None where frames come at the rate. gains:
        of this frame, as of ``duoview.region_gains``. caption: what is seen in it; the stream tells where that changes.

        Raises TypeError or ValueError for another array, LimitError for times that no packet holds, which leave the
        stream as it is; BackendUnavailableError or DeviceError where the device fails, after which the next frame is a
        key frame.
        """
        self.networks.begin()
        try:
            return self._encode(picture, pts, time_base, duration, key, gains, caption)
        except BaseException:
            self.networks.leave()  # nobody waits for a stream that may be given up
            raise

    def _encode(self, picture: Any, pts: int | None, time_base: Fraction | None, duration: int | None, key: bool,
                gains: GainMap | None, caption: Caption | None) -> av.Packet:
        if (pts is None) != (time_base is None):
            raise ValueError(f"pts={pts}, time_base={time_base}: expected both or none")
        if pts is not None and time_base is not None:
            time_base = Fraction(time_base)
            if time_base <= 0 or max(time_base.as_integer_ratio()) > _MOST_TICKS or not -_MOST_PTS <= pts < _MOST_PTS:
                raise LimitError(f"pts={pts}, time_base={time_base}: expected 64 bits, and seconds above 0 as a "
                                 f"fraction of numbers up to {_MOST_TICKS}")
        if duration is not None and duration >= _MOST_PTS:
            raise LimitError(f"duration={duration}: expected 64 bits")
        colour = self._colour
        if isinstance(picture, av.VideoFrame):
            if self._nv12 is None:
                raise ValueError(f"picture is a frame of format {picture.format.name}; expected "
                                 "DeviceEncoder(..., pixel_format='nv12'), which takes frames of a hardware decoder")
            if pts is None and picture.pts is not None and picture.time_base:
                pts, time_base, duration = picture.pts, Fraction(picture.time_base), picture.duration
            check_size(picture.width, picture.height, self.max_pixels)
            if not self._told_colour:
                colour = Colour(primaries=int(picture.color_primaries), transfer=int(picture.color_trc),
                                matrix=int(picture.colorspace), range=int(picture.color_range))
            picture = self._frames.picture(picture)
        if self._nv12 is not None:
            check_size(*self._nv12.size(picture), self.max_pixels)
            picture = self._nv12.picture(picture, colour)
        shape = self.networks.driver.array("picture", picture).shape
        if len(shape) < 2:
            raise ValueError(f"picture has shape {shape}; (3, height, width) is needed")
        width, height = int(shape[-1]), int(shape[-2])
        check_size(width, height, self.max_pixels)
        self._machine.checked(picture, width, height)  # before anything of the stream's state moves
        if gains is not None and gains.levels.shape != grid(width, height):
            raise ValueError(f"gains has {gains.levels.shape} levels; {grid(width, height)} are needed for a picture "
                             f"of {width}x{height}")
        changed = (width, height) != self._size
        is_key = key or self._restart or self._units.index + 1 >= self.gop or changed
        seconds = None if pts is None or time_base is None else float(pts * Fraction(time_base))
        if self._control is not None:
            if changed:
                self._control.resized(width * height)
            self._q = self._control.quality(key=is_key, seconds=seconds)
        self._size = width, height
        self._restart = True  # until this unit is out
        gains = self._gains_of(gains, key=is_key)
        payload = self._machine.encode(picture, key=is_key, q=self.q, width=width, height=height, gains=gains)
        texture = self._texture_of(is_key, seconds, width, height)
        geometry = self._texture.geometry if self._texture is not None else PaletteGeometry()
        colour, pixel_format = self._source or (colour, "gbrp" if self._nv12 is None else "nv12")
        sequence = SequenceHeader(width=width, height=height, rate=self.rate, profile=self.networks.profile.name,
                                  profile_hash=self.networks.profile.stream_hash, machine_codec=MachineCodec.NEURAL,
                                  colour=colour, sample_aspect_ratio=self.sample_aspect, pixel_format=pixel_format,
                                  palette=geometry)
        base = 1 / self.rate if time_base is None else Fraction(time_base)
        times = FrameTimes(self._count if pts is None else pts, duration or max(1, round(1 / self.rate / base)), base)
        packet = self._units.write(Section(SectionType.MACHINE, None, payload), key=is_key, q=self.q, sequence=sequence,
                                   times=times, dts=times.pts, texture=texture, caption=caption,
                                   gains=gains.write() if gains is not None and payload else b"")
        if self._control is not None:
            self._control.coded(8 * self._units.machine_size, key=is_key, q=self.q)
        self._count, self._restart = self._count + 1, False
        return packet

    def _gains_of(self, given: GainMap | None, *, key: bool) -> GainMap | None:
        """The gain map of the frame, whose quality index is settled, None for none; of a subclass another one."""
        return given if given is not None and given.levels.any() else None

    def _texture_of(self, key: bool, seconds: float | None, width: int, height: int) -> Sequence[Section]:
        """Sections of texture of the picture that the machine layer encoded last; seconds: its time."""
        if self._texture is None:
            return ()
        self._texture.tell(seconds)
        if not self._texture.wants(key):
            self._texture.skip()
            return ()
        machine = self._machine
        if self._base[0] is not machine.z_m:  # frames in which nothing is coded have that of the one before
            self._base = machine.z_m, self._view.latent(self._view.picture(machine.z_m))
        seen = Seen(key, machine.decoded, None, cast(Any, machine.moved), self.q)
        return self._texture.encode(machine.z, self._base[1], seen, width, height)

    def close(self) -> None:
        """The stream has ended, or pauses: batches of other streams need not wait for it, until its next picture."""
        self.networks.leave()

    def symbols_sha256(self) -> str:
        """Digest of all integers coded so far, which a decoder of the units has too. ValueError without ``digest``."""
        if not self._machine.counted:
            raise ValueError("this encoder counts no symbols; expected DeviceEncoder(..., digest=True)")
        return self._machine.digest.hexdigest()
