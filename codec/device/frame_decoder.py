"""``duoview.Decoder``'s calls, with a picture's whole way on a device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import av

from duoview.decoder_stats import DecoderStats
from duoview.device.decoder import DeviceDecoder, OpenNetworks
from duoview.device.hardware import HardwareFrames
from duoview.device.networks import DeviceNetworks
from duoview.device.nv12 import DEFAULT_MATRIX
from duoview.device.picture import DevicePicture
from duoview.picture import to_frame
from duoview.sequence import SequenceHeader


class DeviceFrameDecoder:
    """Decodes access units into frames of one view, whose pictures are made on a device.

    Args:
        networks: see DeviceDecoder. held: frames stay on the device, as NV12 that encoders of NVENC take, in the matrix
            of the stream's source (BT.601 of one that was RGB) and limited range. Else each picture is copied to the
            host, once: frames are those of ``duoview.Decoder``, where float networks agree.
        options: of DeviceDecoder, but ``pixel_format``.

    Raises as DeviceDecoder does.
    """

    def __init__(self, networks: DeviceNetworks | OpenNetworks, *, held: bool = False, **options: Any) -> None:
        self._decoder = DeviceDecoder(networks, digest=True, pixel_format="nv12" if held else "rgb", **options)
        self._held = held
        self._frames: tuple[DeviceNetworks | None, HardwareFrames | None] = (None, None)
        #: The picture that was copied last, and it on the host: one that is repeated is not copied again.
        self._copied: tuple[Any, Any] = (None, None)

    @property
    def stats(self) -> DecoderStats:
        """Counts of access units."""
        return self._decoder.stats

    @property
    def sequence(self) -> SequenceHeader | None:
        """Of the last key unit."""
        return self._decoder.sequence

    def decode(self, packet: av.Packet | bytes | None, *, discard: bool = False) -> list[av.VideoFrame]:
        """The frame of one access unit; None flushes and ends the stream.

        Raises as DeviceDecoder.decode does; ValueError for frames that stay on the device and have an odd side.
        """
        return [self._frame(shown) for shown in self._decoder.decode(packet, discard=discard)]

    def _frame(self, shown: DevicePicture) -> av.VideoFrame:
        networks = self._decoder.networks
        assert networks is not None and self.sequence is not None  # there is a picture
        if self._held:
            if self._frames[0] is not networks:  # which another profile brings
                self._frames = networks, HardwareFrames(networks)
            reader = self._frames[1]
            assert reader is not None
            colour = self.sequence.colour
            frame = reader.frame(shown, colour if colour.matrix else replace(colour, matrix=DEFAULT_MATRIX))
        else:
            if self._copied[0] is not shown.array:
                self._copied = shown.array, networks.get(shown.array)
            frame = to_frame(self._copied[1], shown.width, shown.height)
            if shown.time_base is not None:
                frame.time_base = shown.time_base
            frame.pts = shown.pts
        if shown.duration:
            frame.duration = shown.duration
        frame.opaque = shown.origin
        return frame

    def reset(self) -> None:
        """Forget the state after a seek; units are skipped until the next key frame."""
        self._decoder.reset()

    def close(self) -> None:
        """Give the stream up: batches of other streams wait for this one no more. May be called again."""
        self._decoder.close()

    def symbols_sha256(self) -> str:
        """Digest of all integers decoded so far."""
        return self._decoder.symbols_sha256()
