"""How stages that run a profile's networks share them with the stages of other streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from duoview.backends.batching import DEFAULT_WINDOW


@dataclass(frozen=True)
class StreamBatch:
    """Streams whose networks run at once, at most, and the seconds that a frame waits for those of the others.

    A class of stages has one as ``stream_batch``; its options ``batch`` and ``window`` go before it.
    """

    batch: int = 1
    window: float = DEFAULT_WINDOW

    def given(self, options: Any) -> dict[str, Any]:
        """Arguments of an Encoder or a Decoder for a stage with these options."""
        return {"batch": options.batch or self.batch,
                "window": options.window if options.window >= 0 else self.window}
