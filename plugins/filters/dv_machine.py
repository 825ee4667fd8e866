"""``dv_machine``: access units in, the pictures that detectors see out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from duoview.batching import LARGEST_BATCH, LONGEST_WINDOW
from duoview.decoder import Decoder
from duoview.plugins.links import Link, LinkType
from duoview.plugins.options import option
from duoview.plugins.stage import Stage
from duoview.plugins.stream_batch import StreamBatch

#: What Decoder.restore is for each word.
RESTORE = {"auto": None, "on": True, "off": False}


class Machine(Stage):
    """Decode the machine view of access units."""

    name = "dv_machine"
    input = LinkType.ACCESS_UNITS
    output = LinkType.VIDEO
    stream_batch: ClassVar[StreamBatch] = StreamBatch()

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

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.decoder: Decoder | None = None
        #: Access units before this time (seconds) are decoded for those behind them and give no frame: after a seek.
        self.begin: Fraction | None = None

    def make_decoder(self) -> Decoder:
        """The decoder for the options; a subclass makes one of another view."""
        options = self.options
        return Decoder(
            profile=options.profile or None,
            device=options.device,
            threads=options.threads,
            view="machine",
            restore=RESTORE[options.restore],
            **self.stream_batch.given(options),
        )

    def configure(self, link: Link) -> Link:
        """Make the decoder at the first access unit; sizes are known only from the frames it gives."""
        if self.decoder is None:
            self.decoder = self.make_decoder()
        return dataclasses.replace(link, type=LinkType.VIDEO, format="gbrp")

    def filter(self, packet: Any) -> Iterable[Any]:
        """The frame of one access unit; none before the first key access unit."""
        assert self.decoder is not None  # configure comes first
        early = self.begin is not None and packet.pts is not None and packet.pts * packet.time_base < self.begin
        return self.decoder.decode(packet, discard=early)

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
