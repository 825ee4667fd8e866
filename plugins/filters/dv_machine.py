"""``dv_machine``: access units in, the pictures that detectors see out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from duoview.batching import LARGEST_BATCH, LONGEST_WINDOW
from duoview.decoder import Decoder
from duoview.device import DeviceFrameDecoder
from duoview.errors import Error
from duoview.plugins.errors import FrameError, OptionError
from duoview.plugins.hwaccel import HWACCEL_HELP, HWACCELS, OF_PROGRAM, OF_VIEWS, check_host_only
from duoview.plugins.links import Link, LinkType
from duoview.plugins.options import option
from duoview.plugins.stage import Stage
from duoview.plugins.stream_batch import UNSHARED, StreamBatch

#: What Decoder.restore is for each word.
RESTORE = {"auto": None, "on": True, "off": False}
#: Where frames of a view lie that was made on a device.
PLACES = ("host", "device")
PLACES_HELP = "with hwaccel: where frames come out, on the host as without it, or as NV12 on the device, for NVENC"


class Machine(Stage):
    """Decode the machine view of access units."""

    name = "dv_machine"
    input = LinkType.ACCESS_UNITS
    output = LinkType.VIDEO
    stream_batch: ClassVar[StreamBatch] = UNSHARED

    @dataclass(frozen=True)
    class Options:
        """Options of dv_machine."""

        device: str = option("cpu", choices=("auto", "cpu", "cuda", "tensorrt"), help="where the networks run")
        threads: int = option(0, min=0, max=1024, help="threads of the networks, 0 for one per core")
        profile: str = option("", help="folder of the profile, where it is not a bundled one")
        restore: str = option("auto", choices=tuple(RESTORE), help="inner streams: restoration; auto where it is")
        batch: int = option(0, min=0, max=LARGEST_BATCH, help="streams whose networks run at once, at most; 0: as the "
                            "program says, else 1")
        window: float = option(-1.0, min=-1.0, max=LONGEST_WINDOW, help="seconds that a frame waits for those of other "
                               "streams, at most; -1: as the program says, else 0.002")
        hwaccel: str = option(OF_PROGRAM, choices=HWACCELS, help=HWACCEL_HELP)
        frames: str = option("host", choices=PLACES, help=PLACES_HELP)

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        options = self.options
        self._on_device = self.stream_batch.where(options) != "none"
        if self._on_device:
            check_host_only(vars(options), OF_VIEWS, lambda name, value: f"{self.name}: {name}={value}", "hwaccel=none")
        elif options.frames != "host":
            raise OptionError(f"{self.name}: frames={options.frames}: belongs to views that are made there; expected "
                             "hwaccel=cuda with it")
        self.decoder: Decoder | DeviceFrameDecoder | None = None
        #: Access units before this time (seconds) are decoded for those behind them and give no frame: after a seek.
        self.begin: Fraction | None = None

    def view(self) -> dict[str, Any]:
        """What a decoder is told of the view, on the host or on a device; a subclass tells of another one."""
        return {"view": "machine"}

    def host_view(self) -> dict[str, Any]:
        """What one on the host is told besides."""
        return {"restore": RESTORE[self.options.restore]}

    def make_decoder(self) -> Decoder | DeviceFrameDecoder:
        """The decoder for the options."""
        options = self.options
        if self._on_device:
            networks = self.stream_batch.open_device(options.profile, options) if options.profile else (
                lambda profile: self.stream_batch.open_device(profile, options))
            return DeviceFrameDecoder(networks, held=options.frames == "device", **self.view())
        return Decoder(
            profile=options.profile or None,
            device=options.device,
            threads=options.threads,
            **self.view(),
            **self.host_view(),
            **self.stream_batch.given(options),
        )

    def configure(self, link: Link) -> Link:
        """Make the decoder at the first access unit; sizes are known only from the frames it gives."""
        if self.decoder is None:
            self.decoder = self.make_decoder()
        pixels = "gbrp" if self.options.frames == "host" else (
            "cuda" if self.stream_batch.where(self.options) == "cuda" else "nv12")
        return dataclasses.replace(link, type=LinkType.VIDEO, format=pixels)

    def filter(self, packet: Any) -> Iterable[Any]:
        """The frame of one access unit; none before the first key access unit."""
        assert self.decoder is not None  # configure comes first
        early = self.begin is not None and packet.pts is not None and packet.pts * packet.time_base < self.begin
        try:
            return self.decoder.decode(packet, discard=early)
        except ValueError as error:
            if isinstance(error, Error) or self.options.frames == "host":
                raise
            raise FrameError(f"{self.label}: {error}; expected frames=host, on the command line -pix_fmt yuv420p"
                             ) from error

    def drain(self) -> Iterable[Any]:
        """What the decoder still holds."""
        return self.decoder.decode(None) if self.decoder is not None else ()

    def reset(self) -> None:
        """After a seek: wait for the next key access unit."""
        super().reset()
        if self.decoder is not None:
            self.decoder.reset()

    def close(self) -> None:
        """Drop the decoder and its networks."""
        if self.decoder is not None:
            self.decoder.close()
        self.decoder = None
