"""How stages that run a profile's networks share them with the stages of other streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duoview.backends.batching import DEFAULT_WINDOW
from duoview.device import DeviceNetworks
from duoview.plugins.device_streams import DeviceStreams
from duoview.plugins.hwaccel import OF_PROGRAM
from duoview.profile import Profile


@dataclass(frozen=True)
class StreamBatch:
    """Streams whose networks run at once, at most, and the seconds that a frame waits for those of the others.

    A class of stages has one as ``stream_batch``; its options ``batch`` and ``window`` go before it. hwaccel: of
    stages that do not say their own. devices: what stages with one share.
    """

    batch: int = 1
    window: float = DEFAULT_WINDOW
    hwaccel: str = "none"
    devices: DeviceStreams = field(default_factory=DeviceStreams, compare=False)

    def given(self, options: Any) -> dict[str, Any]:
        """Arguments of an Encoder or a Decoder for a stage with these options."""
        return {"batch": options.batch or self.batch,
                "window": options.window if options.window >= 0 else self.window}

    def where(self, options: Any) -> str:
        """The ``hwaccel`` of a stage with these options: ``none``, or a device."""
        return self.hwaccel if options.hwaccel == OF_PROGRAM else str(options.hwaccel)

    def open_device(self, profile: str | Path | Profile, options: Any) -> DeviceNetworks:
        """Networks of a profile on the device of a stage with these options, on a CUDA stream of its own."""
        return self.devices.open(profile, self.where(options), threads=options.threads, **self.given(options))


#: Of stages whose program shares nothing on purpose. It holds nothing: what no stage uses is not there.
UNSHARED = StreamBatch()
