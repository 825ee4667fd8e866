"""``duoview.Encoder``'s calls, with a frame's whole way on a device."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np

from duoview.captions import Caption
from duoview.captions.telling import FrameCaptions
from duoview.decision import SymbolDecision
from duoview.device.encoder import DeviceEncoder
from duoview.device.hardware import is_held
from duoview.device.networks import DeviceNetworks
from duoview.errors import LimitError
from duoview.gain_map import GainMap
from duoview.inner.guide import Guide
from duoview.inner.regions import told_regions
from duoview.neural_settings import NeuralSettings
from duoview.picture import PictureReader, check_size
from duoview.region_gains import region_gains
from duoview.sequence import Colour
from duoview.texture import TextureSettings


class _Guided(DeviceEncoder):
    """An encoder whose gain maps follow what is told of a frame. Call ``see`` before ``encode``."""

    def __init__(self, *arguments: Any, guide: Guide, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._guide = guide
        self._frame: av.VideoFrame | None = None

    def see(self, frame: av.VideoFrame, *, host: bool) -> None:
        """The frame that comes next. host: its pictures are converted, and the stream tells of what they were."""
        self._frame, self._source = frame, None
        if host:
            colour = Colour(primaries=int(frame.color_primaries), transfer=int(frame.color_trc),
                            matrix=int(frame.colorspace), range=int(frame.color_range))
            self._source = colour, frame.format.name

    def _gains_of(self, given: GainMap | None, *, key: bool) -> GainMap | None:
        assert self._frame is not None
        frame, importance = self._frame, None
        told = told_regions(frame)
        if key or told:
            importance = self._guide.look(frame)
        else:
            self._guide.skip()
        gains = region_gains(importance, told, frame.width, frame.height, self.q)
        if not key and gains is not None and gains.levels.max() <= 0:
            return None  # a map in a P frame costs more than what is coarser there saves
        return gains


class DeviceFrameEncoder:
    """Encodes frames into packets of one access unit each; what ``duoview.Encoder`` decides is decided as it does.

    The neural machine layer, and texture: no seeds.

    Args:
        networks: of the device, shared with others. width, height, rate, q, gop, motion, texture, sample_aspect,
            max_pixels: as of DeviceEncoder.
        held: frames are those of ``open_hardware``, and stay where they are. Others are made RGB on the host, as
            ``duoview.Encoder`` does it, and copied to the device, once.
        neural: regions, the bit rate, and what tells which parts get fewer bits: ``detections`` that frames carry, or
            ``off``, which ``auto`` is. caption: as of ``duoview.Encoder``.
        decision: how symbols are rounded and what is not coded at all; None for the host's default, which copies
            latents and symbols of P frames, though no pixels, to the host.

    Raises as DeviceEncoder does; LimitError for a guide that looks at pictures of the host.
    """

    def __init__(self, networks: DeviceNetworks, width: int, height: int, *, held: bool,
                 rate: Fraction | int = Fraction(25), decision: SymbolDecision | None = None,
                 neural: NeuralSettings | None = None, texture: TextureSettings | int | None = None,
                 caption: str | Caption = "none", **options: Any) -> None:
        given = neural or NeuralSettings()
        if given.simplify == "saliency":
            raise LimitError("simplify=saliency: its network looks at frames of the host; expected off, detections, or "
                             "duoview.Encoder")
        self._captions, self._networks, self._held = FrameCaptions(caption), networks, held
        guide = Guide("off" if given.simplify == "auto" else given.simplify, given.roi, networks.profile,
                      rate=float(rate))
        self._encoder = _Guided(networks, width, height, rate=rate, decision=decision or SymbolDecision(),
                                bit_rate=given.bit_rate, texture=texture, guide=guide,
                                pixel_format="nv12" if held else "rgb", **options)
        self._reader = PictureReader()
        self._picture: tuple[tuple[int, ...], Any] = ((), None)
        self._count, self._closed = 0, False

    @property
    def q(self) -> int:
        """Quality index, as of DeviceEncoder."""
        return self._encoder.q

    def encode(self, frame: av.VideoFrame | None, *, key: bool = False) -> list[av.Packet]:
        """The packet of one frame, which is not altered; None ends the stream.

        Raises av.EOFError after the end, ValueError for a frame that lies elsewhere or that no picture can be made
        of, LimitError for impossible sizes and times; BackendUnavailableError or DeviceError where the device fails,
        after which the next frame is a key frame.
        """
        if self._closed:
            raise av.EOFError(541478725, "encode() after the encoder was flushed")
        if frame is None:
            self.close()
            return []
        if is_held(frame.format.name, self._networks) != self._held:
            raise ValueError(f"frame is of format {frame.format.name}; expected one of "
                             f"{'a hardware decoder' if self._held else 'the host'}, as the first one was")
        times: dict[str, Any] = {}
        if frame.pts is not None and frame.time_base:
            times = {"pts": frame.pts, "time_base": Fraction(frame.time_base), "duration": frame.duration or None}
        seconds = times["pts"] * times["time_base"] if times else self._count / self._encoder.rate
        caption = self._captions.of(frame, float(seconds))
        self._encoder.see(frame, host=not self._held)
        if self._held:
            packet = self._encoder.encode(frame, **times, key=key, caption=caption)
        else:
            check_size(frame.width, frame.height, self._encoder.max_pixels)
            packet = self._encoder.encode(self._copied(frame), **times, key=key, caption=caption)
        self._count += 1
        return [packet]

    def _copied(self, frame: av.VideoFrame) -> Any:
        """(3, H, W) uint8 RGB of a frame of the host, in memory of the device that the next one gets too."""
        picture = np.ascontiguousarray(self._reader.read(frame)[0, :, :frame.height, :frame.width])
        if self._picture[0] != picture.shape:
            self._picture = picture.shape, self._networks.empty(picture.shape, np.uint8)
        self._networks.put(picture, self._picture[1])
        return self._picture[1]

    def close(self) -> None:
        """The stream has ended: batches of other streams wait for it no more. May be called again."""
        self._closed = True
        self._encoder.close()
